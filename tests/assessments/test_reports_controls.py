"""Controls and waivers in the reports that have more to tell: JSON, HTML, SARIF and the table of a terminal."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any

import pytest
from autocoder_components.assessments.model import Assessment, CheckKind, ControlStatus
from autocoder_components.assessments.reports.html import render_html
from autocoder_components.assessments.reports.json_report import json_document, json_schema, render_json
from autocoder_components.assessments.reports.sarif import sarif_document
from autocoder_components.assessments.reports.table import render_table
from autocoder_components.assessments.rules import CATALOGUE
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from tests.assessments.controls.made import assessed, assessments, clean, outcome, target, waiver, written
from tests.assessments.test_reports_html import Page
from tests.assessments.test_reports_sarif import VALIDATOR as SARIF

JSON = Draft202012Validator(json_schema())
MADE = (*clean("a"), outcome(target("b"), CheckKind.SECURITY, "AC-301", "AC-511"))
WAIVERS = written(
    waiver("AC-301", justification="a test key", owner="Ada"),
    waiver("AC-511", days=-1, owner="Bob"),
    waiver("AC-601", owner="Cy"),
)
ONE = assessed(MADE, WAIVERS)


@settings(max_examples=40)
@given(assessments)
def test_json_fits_its_schema_and_counts_what_it_lists(one: Assessment) -> None:
    document = json.loads(render_json(one))
    JSON.validate(document)
    compliance = document["compliance"]
    assert one.compliance is not None
    assert sum(compliance["counts"].values()) == len(one.compliance.controls)
    listed = [each["status"] for each in compliance["controls"]]
    if one.request.include_details:
        assert {status: listed.count(status) for status in compliance["counts"]} == compliance["counts"]
    assert [each["waived"] for each in document["findings"]] == [
        each["waiver"] is not None for each in document["findings"]
    ]
    assert sum(not each["waived"] for each in document["findings"]) == sum(document["score"]["counts"].values())
    for control in compliance["controls"]:
        if control["status"] == "satisfied":
            assert (control["failed"], control["missing"], control["waived"]) == (0, 0, 0)


def test_json_tells_of_every_waiver() -> None:
    assert [(each["covers"], each["state"], each["owner"]) for each in json_document(ONE)["waivers"]] == [
        ("AC-301", "applied", "Ada"),
        ("AC-511", "expired", "Bob"),
        ("AC-601", "unmatched", "Cy"),
    ]


@settings(max_examples=40)
@given(assessments)
def test_sarif_fits_its_schema_and_suppresses_what_is_waived(one: Assessment) -> None:
    document = sarif_document(one, CATALOGUE)
    SARIF.validate(document)
    results = document["runs"][0]["results"]
    suppressed = [each["partialFingerprints"]["autocoderFinding/v1"] for each in results if "suppressions" in each]
    assert sorted(suppressed) == sorted(each.fingerprint for each in one.waived)
    assert len(results) == len(one.findings) + len(one.waived)


def test_a_suppression_says_why_by_whom_and_until_when() -> None:
    (found,) = [each for each in sarif_document(ONE, CATALOGUE)["runs"][0]["results"] if "suppressions" in each]
    assert found["ruleId"] == "AC-301"
    (suppression,) = found["suppressions"]
    assert suppression["justification"].startswith("a test key (Ada, until 2026-11-22T")


def page_of(one: Assessment) -> tuple[str, Page]:
    text = render_html(one, CATALOGUE)
    return html.unescape(text), Page(text)


@settings(max_examples=40)
@given(assessments)
def test_a_page_with_controls_is_well_formed_and_holds_no_markup_of_others(one: Assessment) -> None:
    _, page = page_of(one)
    names = [tag for tag, _ in page.elements]
    assert names.count("script") == names.count("style") == 1
    assert not {"img", "iframe", "object", "i"} & set(names)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "controls" in ids


def test_a_page_tells_each_control_its_evidence_and_each_waiver() -> None:
    text, _ = page_of(ONE)
    assert ONE.compliance is not None
    for control in ONE.compliance.controls:
        assert control.title in text
        assert control.reason in text
    assert target().sha256 in text
    assert text.count("not assessed</span>") >= 1
    for said in ("a test key", "Ada", "Bob", ">expired</span>", ">unmatched</span>", "Waived, and not counted:"):
        assert said in text


def test_a_page_of_an_assessment_without_them_has_no_such_parts() -> None:
    text, _ = page_of(assessed(MADE, check_compliance=False))
    assert 'id="controls"' not in text
    assert 'id="waivers"' not in text


def test_hostile_words_in_waivers_and_controls_are_shown_as_they_were_written() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    one = assessed(MADE, written(waiver("AC-301", justification=hostile, owner=hostile)))
    assert one.compliance is not None
    control = replace(one.compliance.controls[0], title=hostile, reason=hostile, status=ControlStatus.NOT_ASSESSED)
    one = replace(one, compliance=replace(one.compliance, controls=(control, *one.compliance.controls[1:])))
    text = render_html(one, CATALOGUE)
    assert "<img" not in text
    assert text.count(html.escape(hostile)) >= 4


@settings(max_examples=40)
@given(assessments)
def test_no_line_of_the_table_is_too_wide(one: Assessment) -> None:
    for width in (40, 100, 160):
        assert max((len(line) for line in render_table(one, width=width).splitlines()), default=0) <= width


@pytest.mark.parametrize(
    "said",
    [
        "AC-301 waived",
        "1 finding waived, not counted",
        "waiver waivers.yaml:3 (AC-511) expired on 2026-11-20T12:00:00+00:00, 1 finding counts again",
        "waiver waivers.yaml:4 (AC-601) matches nothing",
        "all controls: 25 satisfied, 1 not satisfied, 1 waived, 1 not assessed",
        "waived: secrets-kept-out: 1 verdict against it, all waived",
        "not satisfied: containers-are-closed: 1 verdict of 8 against it",
        "not assessed: activity-is-recorded: no rule judges it",
    ],
)
def test_the_table_tells_what_a_person_has_to_know(said: str) -> None:
    assert said in " ".join(render_table(ONE, width=140).split())


def test_reports_agree_on_how_many_findings_count() -> None:
    document: dict[str, Any] = json_document(ONE)
    assert sum(document["score"]["counts"].values()) == len(ONE.findings) == 1
    assert document["score"]["value"] == 80
