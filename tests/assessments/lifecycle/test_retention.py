"""The service deletes what ended long ago, where it is said how long it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from autocoder_components.assessments import Overdue
from autocoder_components.assessments.lifecycle.components import RetryDue
from autocoder_components.assessments.lifecycle.store import open_store

from autocoder.database import in_use
from tests.assessments.lifecycle.shipped import serve, states

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("kept", "left", "trails"),
    [
        ({}, ["old", "young"], ["old", "young"]),
        ({"keep_days": 30}, ["young"], ["old", "young"]),
        ({"keep_days": 30, "keep_audit_days": 60}, ["young"], ["young"]),
        ({"keep_days": 0, "keep_audit_days": 100}, [], ["old", "young"]),
    ],
)
@pytest.mark.usefixtures("machine")  # the service keeps its key in the working folder
async def test_what_ended_long_ago_is_deleted_where_it_is_said_how_long_it_is_kept(
    url: str, kept: dict[str, float], left: list[str], trails: list[str]
) -> None:
    for name, days in (("old", 90), ("young", 1)):
        moment = datetime.now(UTC) - timedelta(days=days)
        async with open_store(url, clock=partial(lambda at: at, moment)) as store:
            await store.create({"id": name})
            await store.cancel(name)
    await serve(url, due={"with": {"once": True, **kept}})
    async with open_store(url) as store:
        assert sorted(await states(store)) == left
        assert sorted({each.assessment_id for each in await store.audit()}) == trails


async def test_a_trail_goes_as_a_whole_behind_its_last_entry(url: str) -> None:
    """Whoever forgets what is left of attempts counts them by it."""
    moment = datetime.now(UTC) - timedelta(hours=2)
    async with open_store(url, clock=lambda: moment) as store:
        await store.create({"id": "a"})
        await store.start_processing("a")
        await store.fail("a", "no")
        await store.retry("a")
        moment = datetime.now(UTC) - timedelta(minutes=20)
        await store.cancel("a")
        whole = [each.change_action for each in await store.audit()]
        moment = datetime.now(UTC)
        assert await store.cleanup(0, audit_days=0) == 1
        assert [each.change_action for each in await store.audit()] == whole
        with in_use(store.database):
            (batch,) = [each async for each in Overdue(once=True).read(None)]
        assert [(each.assessment_id, each.attempt) for each in batch.payloads] == [("a", 0), ("a", 1)]
        moment += timedelta(hours=1)
        assert await store.cleanup(0, audit_days=0) == 0
        assert await store.audit() == []


def test_a_trail_is_not_deleted_alone() -> None:
    with pytest.raises(ValueError, match="say keep_days, too"):
        RetryDue(keep_audit_days=1)
