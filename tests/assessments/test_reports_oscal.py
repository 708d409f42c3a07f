"""OSCAL assessment results: valid by the published schema, stable to the byte, and never satisfied by what was not judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from autocoder_components.assessments.model import Assessment, CheckKind, ControlStatus, Status
from autocoder_components.assessments.reports.oscal import OSCAL_VERSION, oscal_document, render_oscal
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

from tests.assessments import examples
from tests.assessments.controls.made import assessed, assessments, clean, outcome, target, waiver, written
from tests.assessments.test_reports_json import shuffled

SCHEMA = json.loads(
    (Path(__file__).parent / "data" / "oscal-assessment-results-1.2.3.schema.json").read_text(encoding="utf-8")
)
TOKEN = SCHEMA["definitions"]["TokenDatatype"]
# Python's expressions know no classes by Unicode property; this is the same, but for a few signs that \w has besides.
assert TOKEN["pattern"] == r"^(\p{L}|_)(\p{L}|\p{N}|[.\-_])*$"
TOKEN["pattern"] = r"^[^\W\d][\w.\-]*$"
FORMATS = FormatChecker()
assert {"date-time", "uri", "uri-reference"} <= FORMATS.checkers.keys(), "what is missing is not looked at"
VALIDATOR = Draft7Validator(SCHEMA, format_checker=FORMATS)
MADE = (*clean("a"), outcome(target("b"), CheckKind.SECURITY, "AC-301", "AC-401"))
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def results(one: Assessment) -> list[dict[str, Any]]:
    document = oscal_document(one)
    VALIDATOR.validate(document)
    found: list[dict[str, Any]] = document["assessment-results"]["results"]
    return found


def result_of(one: Assessment, framework: str) -> dict[str, Any]:
    return next(each for each in results(one) if each["props"][0]["value"] == framework)


def finding_of(result: dict[str, Any], label: str) -> dict[str, Any]:
    (found,) = [
        each
        for each in result.get("findings", ())
        if {"name": "label", "ns": "urn:autocoder:oscal", "value": label} in each["props"]
    ]
    return found


def everything(value: Any, name: str) -> Iterator[Any]:
    """Every member of this name, however deep."""
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == name)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from everything(each, name)


def test_the_validator_refuses_what_is_no_oscal() -> None:
    document = oscal_document(assessed(MADE))
    VALIDATOR.validate(document)
    assert document["assessment-results"]["metadata"]["oscal-version"] == OSCAL_VERSION
    assert f"/{OSCAL_VERSION}/" in SCHEMA["$id"]
    document["assessment-results"]["results"][0]["findings"][0]["target"]["status"]["state"] = "not-assessed"
    assert not VALIDATOR.is_valid(document)


@settings(max_examples=40)
@given(assessments)
def test_every_document_fits_the_published_schema(one: Assessment) -> None:
    document = json.loads(render_oscal(one))
    VALIDATOR.validate(document)
    ids = list(everything(document, "uuid"))
    assert len(ids) == len(set(ids))
    assert all(UUID.fullmatch(each) for each in ids)
    for name in ("observation-uuid", "risk-uuid", "subject-uuid"):
        assert set(everything(document, name)) <= set(ids)
    for href in everything(document, "href"):
        assert not href.startswith("#") or href[1:] in ids


@settings(max_examples=40)
@given(examples.assessments())
def test_an_assessment_without_controls_is_mapped_to_those_that_come_with_the_pack(one: Assessment) -> None:
    VALIDATOR.validate(oscal_document(one))


@settings(max_examples=40)
@given(assessments)
def test_only_what_is_satisfied_is_called_so(one: Assessment) -> None:
    assert one.compliance is not None
    statuses = {each.id: {r.id: r.status for r in each.requirements} for each in one.compliance.frameworks}
    statuses["autocoder-controls"] = {each.id: each.status for each in one.compliance.controls}
    for result in results(one):
        known = statuses[result["props"][0]["value"]]
        said = {}
        for each in result.get("findings", ()):
            label = next(prop["value"] for prop in each["props"] if prop["name"] == "label")
            said[label] = each["target"]["status"]["state"] == "satisfied"
        judged = (ControlStatus.SATISFIED, ControlStatus.NOT_SATISFIED, ControlStatus.WAIVED)
        assert said == {name: status is ControlStatus.SATISFIED for name, status in known.items() if status in judged}
        (selection,) = result["reviewed-controls"]["control-selections"]
        left = selection.get("exclude-controls", [])
        assert len(selection["include-controls"]) - len(left) == len(said)


@settings(max_examples=40)
@given(assessments, st.data())
def test_the_same_result_gives_the_same_bytes(one: Assessment, data: st.DataObject) -> None:
    assert render_oscal(shuffled(one, data)) == render_oscal(one)


def test_another_result_has_another_document_but_the_same_subjects() -> None:
    first, second = assessed(clean("a")), assessed(MADE)
    one, other = oscal_document(first)["assessment-results"], oscal_document(second)["assessment-results"]
    assert one["uuid"] != other["uuid"]
    subjects = [{each["uuid"] for each in everything(doc, "inventory-items") for each in each} for doc in (one, other)]
    assert subjects[0] < subjects[1]


def test_what_fails_leads_to_its_observation_with_place_and_hash() -> None:
    one = assessed(MADE)
    finding = finding_of(result_of(one, "nist-800-53"), "IA-5(7)")
    assert finding["target"]["target-id"] == "ia-5.7"
    assert finding["target"]["status"] == {"state": "not-satisfied", "reason": "fail"}
    own = result_of(one, "autocoder-controls")
    wanted = [each["observation-uuid"] for each in finding["related-observations"]]
    against = [each for each in own["observations"] if each["uuid"] in wanted and each["types"] == ["finding"]]
    (evidence,) = against[0]["relevant-evidence"]
    assert evidence["description"] == ".mcp.json:3:1 /mcpServers/b: seen 0"
    assert evidence["props"][0]["value"] == target().sha256
    (resource,) = [
        each
        for each in oscal_document(one)["assessment-results"]["back-matter"]["resources"]
        if f"#{each['uuid']}" == evidence["href"]
    ]
    assert resource["rlinks"] == [{"href": ".mcp.json", "hashes": [{"algorithm": "SHA-256", "value": target().sha256}]}]


def test_what_is_waived_is_not_satisfied_and_has_an_approved_risk() -> None:
    one = assessed(MADE, written(waiver("AC-301", justification="a test key", expires="2027-01-01")))
    own = result_of(one, "autocoder-controls")
    finding = finding_of(own, "secrets-kept-out")
    assert finding["target"]["status"]["state"] == "not-satisfied"
    assert finding["target"]["status"]["reason"] == "other"
    (risk,) = own["risks"]
    assert finding["related-risks"] == [{"risk-uuid": risk["uuid"]}]
    assert (risk["statement"], risk["status"]) == ("a test key", "deviation-approved")
    assert risk["deadline"] == "2027-01-02T00:00:00.000000Z"


def test_what_was_not_assessed_is_excluded_and_named_with_its_reason() -> None:
    skipped = [
        each if each.kind is not CheckKind.STATUS else replace(each, status=Status.SKIPPED) for each in clean("a")
    ]
    result = result_of(assessed(skipped), "owasp-mcp-top-10")
    named = {each["value"]: each["remarks"] for each in result["props"] if each["name"] == "not-assessed"}
    assert named == {
        "MCP07:2025": "servers-prove-who-they-are: not assessed",
        "MCP08:2025": "activity-is-recorded: not assessed",
    }
    (selection,) = result["reviewed-controls"]["control-selections"]
    assert [each["control-id"] for each in selection["exclude-controls"]] == ["mcp07-2025", "mcp08-2025"]


def test_with_nothing_judged_the_document_is_valid_and_says_nothing_good() -> None:
    lost = outcome(None, CheckKind.SKIPPED, status=Status.NOT_APPLICABLE, reason="no client configuration was found")
    for result in results(assessed([lost])):
        assert "findings" not in result


def test_without_details_there_is_no_evidence() -> None:
    document = oscal_document(assessed(MADE, include_details=False))
    VALIDATOR.validate(document)
    assert list(everything(document, "relevant-evidence")) == []
    assert "seen 0" not in json.dumps(document)


def test_a_text_of_others_is_no_markup() -> None:
    where = target("[x](http://evil)<b>`*")
    made = [*clean("a"), outcome(where, CheckKind.SECURITY, "AC-301")]
    (item,) = [
        each
        for each in result_of(assessed(made), "autocoder-controls")["local-definitions"]["inventory-items"]
        if "evil" in each["description"]
    ]
    assert item["description"].startswith(r"The server \[x\](http://evil)\<b\>\`\*, ")
