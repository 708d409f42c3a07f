"""The report for programs: it fits its published schema, says everything once, and holds no secret text."""

from __future__ import annotations

import json
from dataclasses import replace

from autocoder_components.assessments.model import Assessment, Candidate
from autocoder_components.assessments.reports.json_report import json_document, json_schema, render_json
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.assessments.examples import assessments, example

VALIDATOR = Draft202012Validator(json_schema())


def shuffled(one: Assessment, data: st.DataObject) -> Assessment:
    outcomes = [replace(o, findings=tuple(data.draw(st.permutations(o.findings)))) for o in one.outcomes]
    return replace(
        one,
        targets=tuple(data.draw(st.permutations(one.targets))),
        outcomes=tuple(data.draw(st.permutations(outcomes))),
        findings=tuple(data.draw(st.permutations(one.findings))),
    )


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


@given(assessments())
def test_every_report_fits_the_schema_and_reads_back(one: Assessment) -> None:
    text = render_json(one)
    VALIDATOR.validate(json.loads(text))
    assert json.loads(text) == json_document(one)
    text.encode("utf-8")


@given(assessments(), st.data())
def test_order_does_not_matter(one: Assessment, data: st.DataObject) -> None:
    assert render_json(shuffled(one, data)) == render_json(one)


def test_findings_stand_worst_first_with_everything_known_of_them() -> None:
    first = json_document(example())["findings"][0]
    assert (first["rule"], first["severity"], first["owasp"]) == ("AC-SEC-001", "critical", "MCP01:2025")
    assert (first["file"], first["line"], first["column"]) == ("desktop/config.json", 7, 9)
    assert (first["pointer"], first["server"]) == ("/mcpServers/notes/args/7", "notes")
    assert (first["new"], first["waived"]) == (True, False)
    assert first["evidence"] is not None


def test_score_baseline_and_unjudged_checks_are_told() -> None:
    document = json_document(example())
    assert document["score"]["value"] == 30
    assert (document["score"]["judged"], document["score"]["planned"]) == (4, 7)
    assert document["baseline"] == {"name": "baseline.json", "new": 4}
    reasons = {outcome["reason"] for outcome in document["outcomes"] if outcome["status"] == "error"}
    assert reasons == {"the file changed while it was read"}


def test_without_a_baseline_nothing_is_called_new() -> None:
    document = json_document(replace(example(), baseline=None))
    assert document["baseline"] is None
    assert {finding["new"] for finding in document["findings"]} == {None}


def test_without_details_there_is_no_evidence_and_no_passed_check() -> None:
    one = example()
    brief = json_document(replace(one, request=replace(one.request, include_details=False)))
    assert {finding["evidence"] for finding in brief["findings"]} == {None}
    assert "pass" not in {outcome["status"] for outcome in brief["outcomes"]}
    assert brief["score"] == json_document(one)["score"]


def test_neither_inline_text_nor_paths_of_this_machine_are_in_it() -> None:
    one = example()
    inline = replace(one, request=replace(one.request, candidates=(Candidate("{'token': 'hush'}", "<inline>"),)))
    assert "hush" not in render_json(inline)
    assert "/home/ada" not in render_json(inline)
