"""Assessments of very much: the service does them, or says what it left out, and goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from autocoder_components.assessments import JoinOutcomes
from autocoder_components.assessments.discover import discover
from autocoder_components.assessments.joining import TOO_MUCH, Arrived
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.model import (
    Candidate,
    CheckKind,
    Finding,
    Outcome,
    Place,
    Request,
    Severity,
    Status,
    Target,
)
from pydantic import TypeAdapter

from autocoder import Database, Pipeline
from autocoder.errors import Place as YamlPlace
from autocoder.yaml_document import from_python
from tests.assessments.lifecycle.shipped import ENDS, SHIPPED

pytestmark = pytest.mark.anyio


async def test_a_large_inline_configuration_does_not_stop_the_service(
    machine: Path, url: str, database: Database
) -> None:
    many = json.dumps({"mcpServers": {f"s{n}": {"command": "npx"} for n in range(1500)}})
    store = AssessmentStore(database)
    await store.create({"id": "large", "candidates": [{"text": many, "name": "many.json"}]})
    often = Pipeline.from_yaml(
        SHIPPED,
        overrides=from_python({"commit": {"every": "100ms"}, "components": ENDS | {"overdue": {}}}, YamlPlace("test")),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(partial(often.run_async, database=url))
        state = await store.wait_for_completion("large", timeout=60)
        group.cancel_scope.cancel()
    assert state.state is State.COMPLETED
    assert state.result is not None
    assert {each["server"] for each in state.result["targets"]} >= {"s0", "s1499"}


@pytest.mark.parametrize("number", [30_000, 2], ids=["many", "each too large by itself"])
def test_what_is_more_than_can_be_kept_is_an_error_of_its_own(number: int) -> None:
    request = Request("a", candidates=(Candidate("x" * 1_000_000),), attempt=0)
    place = Place("f")
    findings = [Finding("AC-511", Severity.LOW, "m" * (1000 if number > 2 else 20_000_000), "r", place, "p")]
    join, given = JoinOutcomes(), []
    for n in range(number):
        target = Target("a", "f", "", "", "", "", "", server=f"s{n}", candidate=request.candidates[0])
        outcome = Outcome(request, target, CheckKind.CONFIG, Status.FAIL, number, tuple(findings))
        join.arrived.begin(join.key(outcome))
        given.append(join.on_config(outcome))
        if n == number - 2:
            stored = TypeAdapter(Arrived).dump_json(join.arrived.value)
            assert len(stored) < 16 * 1024 * 1024
            assert join.arrived.value == TypeAdapter(Arrived).validate_json(stored)
    assert given[:-1] == [None] * (number - 1)
    joined = given[-1]
    assert joined is not None
    assert len(joined.outcomes) == number
    assert {each.request.assessment_id for each in joined.outcomes} == {"a"}
    lost = [each for each in joined.outcomes if each.status is Status.ERROR]
    assert {each.reason for each in lost} == {TOO_MUCH}
    assert number == 2 or 5_000 < number - len(lost) < 15_000


def test_of_too_many_servers_the_first_are_assessed_and_the_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocoder_components.assessments.discover.MAX_TARGETS", 7)
    texts = [json.dumps({"mcpServers": {f"s{n}": {"command": "npx"} for n in range(4)}})] * 3
    request = Request("a", candidates=tuple(Candidate(text, f"{n}.json") for n, text in enumerate(texts)), attempt=0)
    found = discover(request).targets
    assert [(each.file, each.server) for each in found] == [
        *(("0.json", each) for each in (None, "s0", "s1", "s2", "s3")),
        *(("1.json", each) for each in (None, "s0", None)),
    ]
    assert [each.problem for each in found[:-1]] == [None] * 7
    assert found[-1].problem is not None
    assert "of 15 files and servers only the first 7 are assessed" in found[-1].problem
    assert len(discover(replace(request, server_filter=("s1",))).targets) == 6
    assert len(discover(replace(request, attempt=None)).targets) == 15, "whoever runs it alone keeps nobody waiting"
