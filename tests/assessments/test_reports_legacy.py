"""The result of the older services: exactly its keys, numbers that agree, and nothing good that was not judged."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from autocoder_components.assessments.model import Assessment, CheckKind, Outcome, Severity, Status
from autocoder_components.assessments.reports.legacy import legacy_document, render_legacy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assessments import examples
from tests.assessments.controls.made import assessed, assessments, clean, outcome, target, waiver, written
from tests.assessments.test_reports_json import shuffled

EITHER = st.one_of(assessments, examples.assessments())


@settings(max_examples=60)
@given(EITHER)
def test_the_keys_are_exactly_these_and_of_these_types(one: Assessment) -> None:
    document = json.loads(render_legacy(one))
    assert {name: type(value) for name, value in document.items() if name != "overallScore"} == {
        "timestamp": str,
        "totalServers": int,
        "compliantServers": int,
        "nonCompliantServers": int,
        "missingServers": list,
        "configurationIssues": list,
        "serverStatuses": list,
        "summary": dict,
    }
    assert set(document) == {
        *("timestamp", "totalServers", "compliantServers", "nonCompliantServers", "missingServers"),
        *("configurationIssues", "serverStatuses", "overallScore", "summary"),
    }
    assert set(document["summary"]) == {"criticalIssues", "highIssues", "mediumIssues", "lowIssues"}
    for each in document["configurationIssues"]:
        assert set(each) == {"serverName", "severity", "issue", "recommendation", "rule", "file", "line"}
    for each in document["serverStatuses"]:
        assert set(each) == {"serverName", "file", "status", "issues", "checks"}


@settings(max_examples=60)
@given(EITHER)
def test_its_numbers_agree(one: Assessment) -> None:
    document = legacy_document(one)
    statuses = Counter(each["status"] for each in document["serverStatuses"])
    assert document["totalServers"] == document["compliantServers"] + document["nonCompliantServers"]
    assert document["totalServers"] == len(document["serverStatuses"]) == statuses.total()
    assert document["compliantServers"] == statuses["compliant"]
    severities = Counter(each["severity"] for each in document["configurationIssues"])
    assert document["summary"] == {f"{each}Issues": severities[each] for each in list(Severity)[:4]}
    assert len(document["configurationIssues"]) == len(one.findings)
    assert document["overallScore"] == one.score.value
    assert set(statuses) <= {"compliant", "non_compliant", "unknown"}


@settings(max_examples=60)
@given(EITHER, st.data())
def test_order_does_not_matter(one: Assessment, data: st.DataObject) -> None:
    assert render_legacy(shuffled(one, data)) == render_legacy(one)


def status(*outcomes: Outcome) -> str:
    (found,) = [each for each in legacy_document(assessed(outcomes))["serverStatuses"] if each["serverName"] == "b"]
    return str(found["status"])


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([outcome(target("b"), CheckKind.CONFIG)], "compliant"),
        ([outcome(target("b"), CheckKind.SECURITY, "AC-301")], "non_compliant"),
        ([outcome(target("b"), CheckKind.CONFIG, "AC-210")], "compliant"),
        (
            [outcome(target("b"), CheckKind.CONFIG), outcome(target("b"), CheckKind.STATUS, status=Status.ERROR)],
            "unknown",
        ),
        (
            [outcome(target("b"), CheckKind.CONFIG), outcome(target("b"), CheckKind.STATUS, status=Status.MANUAL)],
            "unknown",
        ),
        (
            [outcome(target("b"), CheckKind.CONFIG), outcome(target("b"), CheckKind.STATUS, status=Status.SKIPPED)],
            "compliant",
        ),
        ([outcome(target("b"), CheckKind.CONFIG, status=Status.SKIPPED)], "unknown"),
    ],
)
def test_a_server_is_compliant_where_something_was_judged_and_nothing_speaks_against_it(
    outcomes: list[Outcome], said: str
) -> None:
    assert status(*outcomes) == said


def test_what_is_waived_is_no_issue() -> None:
    one = assessed([outcome(target("b"), CheckKind.SECURITY, "AC-301")], written(waiver("AC-301")))
    document = legacy_document(one)
    assert (document["compliantServers"], document["configurationIssues"]) == (1, [])


def test_a_server_that_was_asked_for_and_is_not_there_is_missing() -> None:
    one = assessed(clean("notes"), server_filter=("NO*", "gone", "tickets-*"))
    assert legacy_document(one)["missingServers"] == ["gone", "tickets-*"]


def test_two_servers_of_one_name_are_two() -> None:
    one = assessed([*clean("a"), *clean("a", file="other.json")])
    assert [each["file"] for each in legacy_document(one)["serverStatuses"]] == [".mcp.json", "other.json"]
