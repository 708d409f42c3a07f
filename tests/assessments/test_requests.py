"""What a request may ask for: refused by name where it cannot be done, understood in the older spelling, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments import Requests
from autocoder_components.assessments.model import Candidate
from autocoder_components.assessments.requests import RequestSpec
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autocoder import ConfigurationError, Pipeline

NOW = "2026-11-21T08:00:00+00:00"


def refused(**written: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        RequestSpec.model_validate(written)
    return " ".join(each["msg"] for each in caught.value.errors())


def test_an_empty_request_asks_for_everything_that_can_be_done_on_this_machine() -> None:
    request = RequestSpec().request(NOW)
    assert (request.paths, request.candidates, request.server_filter) == ((), (), ())
    assert request.assessment_type == "security"
    assert request.validate_config
    assert request.check_security
    assert request.include_details
    assert request.requested_at == NOW
    assert request.assessment_id != RequestSpec().request(NOW).assessment_id


@pytest.mark.parametrize(
    ("older", "value", "field", "held"),
    [
        ("assessmentType", "security", "assessment_type", "security"),
        ("serverFilter", ["a*"], "server_filter", ("a*",)),
        ("serverName", "notes", "server_filter", ("notes",)),
        ("server_name", "notes", "server_filter", ("notes",)),
        ("includeDetails", False, "include_details", False),
        ("validateConfig", False, "validate_config", False),
        ("checkSecurity", False, "check_security", False),
        ("checkCompliance", True, "check_compliance", True),
        ("generateReport", ["oscal", "html", "oscal"], "generate_report", ("oscal", "html")),
        ("generateReport", "html", "generate_report", ("html",)),
        ("generateReport", True, "generate_report", True),
        ("generateReport", "no", "generate_report", False),
        ("saveResults", False, "save_results", False),
    ],
)
def test_the_names_of_the_older_services_are_understood(older: str, value: object, field: str, held: object) -> None:
    assert getattr(RequestSpec.model_validate({older: value}).request(NOW), field) == held


@pytest.mark.parametrize("name", ["deepScan", "deep_scan"])
def test_a_deep_scan_has_to_be_asked_for_in_either_spelling(name: str) -> None:
    for kind in ("security", "health", "compliance"):
        assert not RequestSpec.model_validate({"type": kind}).request(NOW).deep_scan
    assert RequestSpec.model_validate({name: True}).request(NOW).deep_scan
    assert RequestSpec.model_validate({name: True, "timeout": 5}).request(NOW).timeout == 5


@pytest.mark.parametrize("value", [5, "pdf", ["pdf"], ["html", 3], {"format": "html"}, [["html"]]])
def test_a_report_is_a_form_that_there_is_or_a_truth(value: object) -> None:
    assert refused(generateReport=value) == (
        "Value error, must be true, false, or formats out of html, json, sarif, oscal, legacy"
    )


@pytest.mark.parametrize(
    ("written", "controls"),
    [
        ({}, False),
        ({"type": "compliance"}, True),
        ({"type": "compliance", "checkCompliance": False}, False),
        ({"check_compliance": True}, True),
        ({"type": "health", "check_compliance": True}, True),
        ({"generateReport": "oscal"}, True),
        ({"generateReport": ["html", "sarif"]}, False),
    ],
)
def test_controls_are_judged_for_compliance_and_where_a_report_shows_them(
    written: dict[str, Any], controls: bool
) -> None:
    assert RequestSpec.model_validate(written).request(NOW).check_compliance is controls


def test_a_report_on_controls_without_controls_is_refused() -> None:
    assert "generateReport: oscal shows controls" in refused(generateReport="oscal", checkCompliance=False)


@pytest.mark.parametrize(
    ("written", "config", "security", "status"),
    [
        ({}, True, True, False),
        ({"type": "health"}, True, False, True),
        ({"checkServerStatus": True}, True, True, True),
        ({"check_server_status": True, "validate_config": False, "check_security": False}, False, False, True),
        ({"type": "health", "check_server_status": False}, True, False, False),
        ({"type": "health", "checkSecurity": True}, True, True, True),
        ({"type": "compliance"}, True, True, True),
        ({"type": "compliance", "check_server_status": False}, True, True, False),
    ],
)
def test_the_type_decides_what_is_checked_and_the_options_change_it(
    written: dict[str, Any], config: bool, security: bool, status: bool
) -> None:
    request = RequestSpec.model_validate(written).request(NOW)
    assert (request.validate_config, request.check_security, request.check_server_status) == (config, security, status)


def test_a_timeout_is_for_asking_servers() -> None:
    assert RequestSpec.model_validate({"type": "health", "timeout": 2.5}).request(NOW).timeout == 2.5
    assert "which this request does not" in refused(timeout=5)
    for wrong in (0, -1, 86_401, float("inf"), float("nan"), "soon"):
        refused(type="health", timeout=wrong)


def test_what_is_unknown_or_said_twice_is_refused() -> None:
    assert "Extra inputs" in refused(depth=3)
    assert "Input should be 'security'" in refused(type="audit")
    assert "server_filter and serverName say the same" in refused(server_filter=["a"], serverName="b")
    assert "include_details and includeDetails say the same" in refused(include_details=True, includeDetails=True)
    assert "nothing would be judged" in refused(validateConfig=False, checkSecurity=False)
    assert "nothing would be judged" in refused(type="health", validateConfig=False, checkServerStatus=False)
    assert "a path must not be empty" in refused(paths=[""])


@pytest.mark.parametrize(
    "text", ["x" * 300, "x" * 256, "", " ", "a\nb", "a\x00b", "a\x1b[31m", "a\x85b", "a\u202eb", "\ud800"]
)
def test_an_id_that_no_table_or_terminal_holds_is_refused(text: str) -> None:
    refused(id=text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=255))
def test_any_visible_id_is_kept_as_it_is(text: str) -> None:
    assert RequestSpec(id=text).request(NOW).assessment_id == text


def test_a_candidate_is_taken_as_it_is_and_refused_without_quoting_it() -> None:
    (candidate,) = (
        RequestSpec.model_validate({"candidates": [{"text": "{}", "client": "Cursor"}]}).request(NOW).candidates
    )
    assert candidate == Candidate("{}", "<inline>", "Cursor")
    for wrong in ({"txt": "hunter2-hunter2"}, {"text": ["hunter2-hunter2"]}, {"text": "{}", "nmae": "hunter2-hunter2"}):
        with pytest.raises(ValidationError) as caught:
            RequestSpec.model_validate({"candidates": [wrong]})
        assert "hunter2" not in str(caught.value)


def test_requests_of_one_id_could_not_be_told_apart_and_are_refused() -> None:
    with pytest.raises(ValueError, match="two requests have the id 'a'"):
        Requests(requests=[RequestSpec(id="a"), RequestSpec(id="a")])
    Requests(requests=[RequestSpec(), RequestSpec()])


def test_the_source_gives_each_request_once_and_goes_on_from_its_position() -> None:
    source = Requests(requests=[RequestSpec(id="a"), RequestSpec(id="b")], now="2026-11-21T09:00:00+01:00")
    batches = list(source.read(None))
    assert [each.payloads[0].assessment_id for each in batches] == ["a", "b"]
    assert batches[0].payloads[0].requested_at == "2026-11-21T08:00:00.000000+00:00"
    assert [each.payloads[0].assessment_id for each in source.read(batches[0].resume)] == ["b"]
    assert list(source.read(batches[1].resume)) == []


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21T08:00:00", ""])
def test_a_fixed_time_names_an_instant(text: str) -> None:
    with pytest.raises(ValidationError):
        Requests(requests=[], now=text)


NOT_YET = """\
pipeline: service
components:
  requests:
    use: assessments.Requests
    with:
      requests:
        - {paths: ["."], checkServerStatus: 7, deepScan: 7, check_compliance: perhaps}
        - type: compliant
          timeout: 0
          generateReport: {format: sk-never-shown}
          save_results: 7
          includeDetials: sk-never-shown
          include_details: true
          includeDetails: false
          candidates: [{text: "{}", tokne: sk-never-shown}, {name: b}]
        - {id: "", paths: [""]}
  show: {use: flow.Discard, from: requests}
"""


def test_everything_that_is_refused_stands_at_its_own_place_and_all_of_it_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(NOT_YET)
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(tmp_path / "service.yaml")
    found = [(each.place.line, each.place.column, each.what, each.cure) for each in caught.value.problems]
    told = [(line, column, what.removeprefix("requests: requests.")) for line, column, what, _ in found]
    assert told == [
        (7, 45, "0.checkServerStatus: must be true or false"),
        (7, 58, "0.deepScan: must be true or false"),
        (7, 79, "0.check_compliance: must be true or false"),
        (8, 17, "1.type: must be 'security', 'health' or 'compliance'"),
        (9, 20, "1.timeout: must be greater than or equal to 0.01"),
        (10, 27, "1.generateReport: must be true, false, or formats out of html, json, sarif, oscal, legacy"),
        (11, 25, "1.save_results: must be true or false"),
        (12, 11, "1 has no field 'includeDetials'"),
        (13, 28, "1.include_details: include_details and includeDetails say the same; write one of them"),
        (15, 37, "1.candidates.0 has no field 'tokne'"),
        (15, 61, "1.candidates.1.text is missing"),
        (16, 16, "2.id: must have at least 1 character"),
        (16, 28, "2.paths.0: a path must not be empty; write . for the working folder"),
    ]  # fmt: skip
    cures = {what.rpartition(" ")[2]: cure for _, _, what, cure in found}
    assert cures["'includeDetials'"] == "did you mean 'includeDetails' or 'include_details'?"
    assert "sk-never-shown" not in str(caught.value)
