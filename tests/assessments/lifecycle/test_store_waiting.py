"""Waiting for a verdict, on both databases."""

from __future__ import annotations

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import WaitTimeoutError
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from tests.assessments.lifecycle.trails import RESULT

pytestmark = pytest.mark.anyio


async def test_a_waiter_gets_the_verdict_that_another_process_reached(store: AssessmentStore, url: str) -> None:
    made = await store.create({})
    await store.start_processing(made)
    seen: list[AssessmentState] = []

    async def wait() -> None:
        seen.append(await store.wait_for_completion(made, 60))

    from autocoder_components.assessments.lifecycle.store import open_store

    async with open_store(url) as other, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await other.complete(made, RESULT)
    assert [each.result for each in seen] == [RESULT] * 3
    assert (await store.wait_for_completion(made, 0)).state is State.COMPLETED


async def test_to_stop_waiting_changes_nothing(store: AssessmentStore) -> None:
    made = await store.create({})
    with pytest.raises(WaitTimeoutError, match=r"is still pending after 0\.01 s; it goes on"):
        await store.wait_for_completion(made, 0.01)
    assert (await store.get_state(made, fresh=True)).version == 1
    with anyio.move_on_after(0.05):
        await store.wait_for_completion(made, None)
    assert (await store.cancel(made)).state is State.CANCELLED


async def test_many_wait_for_different_ones(store: AssessmentStore) -> None:
    ids = await store.batch_create([{} for _ in range(30)])
    ended: list[str] = []

    async def wait(assessment_id: str) -> None:
        ended.append((await store.wait_for_completion(assessment_id, 60)).assessment_id)

    async with anyio.create_task_group() as tasks:
        for each in ids:
            tasks.start_soon(wait, each)
        for each in ids:
            await store.cancel(each)
    assert sorted(ended) == sorted(ids)


async def test_a_waiter_whose_connection_broke_is_woken_all_the_same(
    store: AssessmentStore, database: Database
) -> None:
    made = await store.create({})
    seen: list[AssessmentState] = []

    async def wait() -> None:
        seen.append(await store.wait_for_completion(made, 60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if not database.is_sqlite:
            listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            broken = 0
            while not broken:  # until it listens
                async with database.transaction() as connection:
                    ended = await connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) {listening}"))
                    broken = len(ended.all())
        await store.cancel(made)
    assert [each.state for each in seen] == [State.CANCELLED]
