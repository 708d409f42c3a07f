"""SARIF: valid by the published schema, stable, with what code-scanning services look for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.model import Assessment, Severity, Status
from autocoder_components.assessments.reports.sarif import FINGERPRINT, render_sarif, sarif_document
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, FormatChecker

from tests.assessments.examples import RULES, assessment, assessments, example, finding, outcome, target
from tests.assessments.test_reports_json import shuffled

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0.schema.json").read_text(encoding="utf-8"))
FORMATS = FormatChecker()
assert {"date-time", "uri", "uri-reference"} <= FORMATS.checkers.keys(), "what is missing is not looked at"
VALIDATOR = Draft4Validator(SCHEMA, format_checker=FORMATS)


def run_of(one: Assessment) -> Any:
    document = sarif_document(one, RULES, tool_version="1.2.3")
    VALIDATOR.validate(document)
    return document["runs"][0]


def result_for(message: str, file: str = "a.json") -> Any:
    where = target(file, "s")
    return run_of(assessment(outcome(where, finding("AC-SEC-001", where, message=message))))["results"][0]


def test_the_validator_refuses_what_is_no_sarif() -> None:
    assert not VALIDATOR.is_valid({"version": "2.1.0", "runs": [{"results": []}]})


@given(assessments())
def test_every_log_fits_the_published_schema(one: Assessment) -> None:
    text = render_sarif(one, RULES)
    document = json.loads(text)
    VALIDATOR.validate(document)
    text.encode("utf-8")
    # The schema of errata 01, which the log names, wants this besides.
    places = [place["physicalLocation"] for each in document["runs"][0]["results"] for place in each["locations"]]
    assert all("startLine" in each["region"] for each in places if "region" in each)


@given(assessments(), st.data())
def test_order_does_not_matter(one: Assessment, data: st.DataObject) -> None:
    rules = dict(data.draw(st.permutations(list(RULES.items()))))
    assert render_sarif(shuffled(one, data), rules) == render_sarif(one, RULES)


def test_each_rule_is_described_with_help_level_and_security_severity() -> None:
    driver = run_of(example())["tool"]["driver"]
    rule = next(rule for rule in driver["rules"] if rule["id"] == "AC-SEC-001")
    assert driver["version"] == "1.2.3"
    assert [rule["id"] for rule in driver["rules"]] == sorted(RULES)
    assert rule["name"] == "LiteralSecret"
    assert rule["shortDescription"]["text"] == "A credential stands in the file"
    assert "**Remedy:** Move the value" in rule["help"]["markdown"]
    assert "Remedy: Move the value" in rule["help"]["text"]
    assert rule["defaultConfiguration"] == {"level": "error"}
    assert rule["properties"]["security-severity"] == "9.5"
    assert "external/owasp/mcp01:2025" in rule["properties"]["tags"]


@pytest.mark.parametrize(
    ("severity", "level", "at_least", "below"),
    [
        (Severity.CRITICAL, "error", 9.0, 10.1),
        (Severity.HIGH, "error", 7.0, 9.0),
        (Severity.MEDIUM, "warning", 4.0, 7.0),
        (Severity.LOW, "note", 0.1, 4.0),
        (Severity.INFO, "note", 0.0, 0.1),
    ],
)
def test_severities_map_to_levels_and_to_the_bands_of_code_scanning(
    severity: Severity, level: str, at_least: float, below: float
) -> None:
    where = target("a.json", "s")
    result = run_of(assessment(outcome(where, finding("AC-SEC-001", where, severity=severity))))["results"][0]
    assert result["level"] == level
    assert at_least <= float(result["properties"]["security-severity"]) < below


def test_a_result_names_its_rule_place_server_and_fingerprint() -> None:
    run = run_of(example())
    result = run["results"][0]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "AC-SEC-001"
    physical = result["locations"][0]["physicalLocation"]
    assert physical["region"] == {"startLine": 7, "startColumn": 9}
    assert physical["artifactLocation"]["uri"] == "desktop/config.json"
    assert physical["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
    assert run["artifacts"][physical["artifactLocation"]["index"]]["location"]["uri"] == "desktop/config.json"
    assert result["locations"][0]["logicalLocations"] == [
        {"name": "notes", "fullyQualifiedName": "/mcpServers/notes/args/7"}
    ]
    assert result["partialFingerprints"] == {FINGERPRINT: example().findings[1].fingerprint}
    assert result["properties"]["owasp"] == "MCP01:2025"
    assert run["columnKind"] == "unicodeCodePoints"


def test_what_is_new_is_told_only_against_a_baseline() -> None:
    states = {result["ruleId"]: result["baselineState"] for result in run_of(example())["results"]}
    assert states["AC-SEC-001"] == "new"
    assert states["AC-SEC-002"] == "unchanged"
    assert "baselineState" not in run_of(replace(example(), baseline=None))["results"][0]


def test_errors_and_skipped_checks_are_notifications() -> None:
    invocation = run_of(example())["invocations"][0]
    assert invocation["executionSuccessful"] is False
    (error,) = invocation["toolExecutionNotifications"]
    assert (error["level"], error["message"]["text"]) == (
        "error",
        "config check: error: the file changed while it was read",
    )
    assert error["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "broken.json"
    assert len(invocation["toolConfigurationNotifications"]) == 2
    assert run_of(assessment())["invocations"][0]["executionSuccessful"] is True


def test_a_waived_finding_is_suppressed_with_its_justification() -> None:
    where = target("a.json", "s")
    waived = outcome(where, finding("AC-SEC-001", where), status=Status.WAIVED, reason="accepted by Ada")
    (suppression,) = run_of(assessment(waived))["results"][0]["suppressions"]
    assert suppression == {"kind": "external", "status": "accepted", "justification": "accepted by Ada"}


@pytest.mark.parametrize(
    ("file", "uri", "base"),
    [
        (".mcp.json", ".mcp.json", "%SRCROOT%"),
        ("a b/100%/#1?.json", "a%20b/100%25/%231%3F.json", "%SRCROOT%"),
        ("a:b.json", "a%3Ab.json", "%SRCROOT%"),
        ("./x.json", "x.json", "%SRCROOT%"),
        ("日.json", "%E6%97%A5.json", "%SRCROOT%"),
        ("caf\udce9.json", "caf%E9.json", "%SRCROOT%"),
        ("<inline>", "%3Cinline%3E", "%SRCROOT%"),
        ("~/.cursor/mcp.json", ".cursor/mcp.json", "%HOME%"),
        ("/etc/my mcp.json", "file:///etc/my%20mcp.json", None),
        ("C:\\Users\\Ada\\mcp.json", "file:///C:/Users/Ada/mcp.json", None),
    ],
)
def test_files_become_percent_encoded_uris_with_their_base(file: str, uri: str, base: str | None) -> None:
    location = result_for("x", file)["locations"][0]["physicalLocation"]["artifactLocation"]
    assert (location["uri"], location.get("uriBaseId")) == (uri, base)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("see [here](http://example.com)", r"see \[here](http://example.com)"),
        ("args[0] is fine (really)", "args[0] is fine (really)"),
        ("${TOKEN} is unset", "${TOKEN} is unset"),
        ("a {0} b", "a {{0}} b"),
        ("\x1b[31m", "\\x1b[31m"),
        ("", "AC-SEC-001"),
    ],
)
def test_a_message_can_plant_neither_link_nor_placeholder(message: str, text: str) -> None:
    where = target("a.json", "s")
    found = replace(finding("AC-SEC-001", where), message=message)
    assert run_of(assessment(outcome(where, found)))["results"][0]["message"]["text"] == text


def test_a_rule_nobody_described_still_has_its_place_in_the_index() -> None:
    where = target("a.json", "s")
    run = sarif_document(assessment(outcome(where, finding("AC-SEC-001", where))), {})["runs"][0]
    assert run["tool"]["driver"]["rules"] == [{"id": "AC-SEC-001"}]


def test_without_details_there_is_no_evidence() -> None:
    one = example()
    brief = run_of(replace(one, request=replace(one.request, include_details=False)))
    assert all("evidence" not in result["properties"] for result in brief["results"])
    assert any("evidence" in result["properties"] for result in run_of(one)["results"])


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="has no offset from UTC: end it with Z"):
        sarif_document(replace(example(), started_at="2026-11-21T08:00:00"), RULES)
