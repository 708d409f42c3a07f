"""The service deletes what ended long ago, where it is said how long it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from autocoder_components.assessments.lifecycle.components import RetryDue
from autocoder_components.assessments.lifecycle.store import open_store

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


def test_a_trail_is_not_deleted_alone() -> None:
    with pytest.raises(ValueError, match="say keep_days, too"):
        RetryDue(keep_audit_days=1)
