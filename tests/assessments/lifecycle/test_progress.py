"""Who looks at an assessment while it goes on sees how far it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from autocoder_components.assessments import CountProgress
from autocoder_components.assessments.lifecycle import epochs
from autocoder_components.assessments.lifecycle.progress import Progress
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.model import CheckKind, Outcome, Request, Status, TimeOver
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Database
from tests.assessments.conftest import servers, write
from tests.assessments.lifecycle.conftest import Clock
from tests.assessments.lifecycle.shipped import serve
from tests.assessments.lifecycle.test_probes import STATUS
from tests.assessments.probes.test_stdio import DEAF, STAY

pytestmark = pytest.mark.anyio
ONE = Outcome(Request("a", attempt=1), None, CheckKind.CONFIG, Status.PASS, planned=4)


def counted(*messages: Outcome | TimeOver, step: int = 10) -> tuple[list[Progress], CountProgress]:
    """What the component says, driven as the runtime does, and the component."""
    component, said = CountProgress(step=step), []
    for each in messages:
        component.arrived.begin(component.key(each))
        told = component.process(each)
        said += [told] if told is not None else []
    return said, component


def test_each_attempt_is_counted_by_itself_and_the_last_outcome_is_the_verdict_s() -> None:
    other = replace(ONE, request=Request("a", attempt=2))
    said, component = counted(ONE, ONE, other, ONE, ONE)
    assert [(each.attempt, each.percent, each.message) for each in said] == [
        (1, 24, "1 of 4 checks"),
        (1, 49, "2 of 4 checks"),
        (2, 24, "1 of 4 checks"),
        (1, 74, "3 of 4 checks"),
    ]
    assert component.arrived.keys() == ["a#2"]


def test_nothing_is_kept_of_what_is_over_and_nothing_said_of_what_has_no_row() -> None:
    said, component = counted(ONE, TimeOver("a", 1, wanted=False), replace(ONE, request=Request("b")))
    assert ([each.assessment_id for each in said], component.arrived.keys()) == (["a"], ["b"])


@given(st.integers(1, 300), st.integers(1, 100))
def test_it_only_grows_and_is_said_no_more_often_than_its_steps(planned: int, step: int) -> None:
    said, component = counted(*[replace(ONE, planned=planned)] * planned, step=step)
    percents = [each.percent for each in said]
    assert percents == sorted(set(percents)) and len(percents) <= 99 // step
    assert all(0 < each < 100 for each in percents)
    assert list(component.arrived.keys()) == []


async def test_a_row_takes_what_is_further_in_its_own_attempt_while_it_goes_on(
    store: AssessmentStore, database: Database, clock: Clock
) -> None:
    made = await store.create({})

    async def tell(percent: int, attempt: int = 0) -> tuple[int, str | None]:
        row = {"of_id": made, "of_attempt": attempt, "moment": clock(), "percent": percent, "said": f"at {percent}"}
        async with database.transaction() as connection:
            for each in epochs.progress([row], postgres=not database.is_sqlite):
                await connection.execute(each.statement, each.rows or None)
        state = await store.get_state(made, fresh=True)
        return state.progress, state.message

    assert await tell(10) == (0, None)
    await store.start_processing(made)
    assert [await tell(30), await tell(20), await tell(60, attempt=1)] == [(30, "at 30")] * 3
    await store.complete(made, {})
    assert await tell(70) == (100, None)


async def test_who_looks_while_a_server_does_not_answer_sees_how_far_it_is(machine: Path, url: str) -> None:
    write(machine / "it.py", DEAF + STAY)
    write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py", str(machine / "pids")]}))
    async with open_store(url) as store:
        await store.create({"id": "it", "type": "health", "paths": ["."], "timeout": 600})
        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: serve(url, status=STATUS))
                while not (state := await store.get_state("it", fresh=True)).progress:
                    await anyio.sleep(0.02)
                assert (state.state, state.message) == (
                    State.PROCESSING,
                    f"{state.progress // 33} of 3 checks",
                )
                await store.cancel("it")
