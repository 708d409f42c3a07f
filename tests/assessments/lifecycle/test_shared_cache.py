"""Redis as the shared level: what one process read others are told, and a stale entry never wins."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.lifecycle.shared_cache import MOST_BYTES, RedisLevel, open_redis, space_of
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.settings import ServiceSettings
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Database, open_database
from tests.assessments.lifecycle.redis_server import own_server, read
from tests.assessments.lifecycle.test_cache import NOW, state
from tests.store.fresh import fresh_sqlite

redis = pytest.importorskip("redis.asyncio", reason="needs redis (pip install -e '.[redis]')")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patience")]
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of AUTOCODER_TEST_REDIS_URL, or one of our own."""
    given = os.environ.get("AUTOCODER_TEST_REDIS_URL")
    if given:
        yield given
        return
    with own_server(tmp_path_factory.mktemp("redis")) as made:
        yield made.url


@pytest.fixture
async def levels(redis_url: str, tmp_path: Path) -> AsyncIterator[list[RedisLevel]]:
    """The shared level as two processes have it, with a space of its own."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(fresh_sqlite(tmp_path)))
        yield [await stack.enter_async_context(open_redis(redis_url, database)) for _ in range(2)]


async def test_what_one_process_read_another_is_told(levels: list[RedisLevel]) -> None:
    one, other = levels
    found, moment = await one.get("a")
    assert found is None and moment is not None
    ended = state(state=State.COMPLETED, completed_at=NOW, result={"findings": [{"text": "é \0 \u2028"}]})
    await one.put(ended, moment)
    assert await read(other) == ended
    assert await read(other, "b") is None
    assert (one.hits, one.misses, other.hits, other.misses) == (0, 1, 1, 1)


async def test_an_older_one_never_wins(levels: list[RedisLevel]) -> None:
    one, other = levels
    _, moment = await one.get("a")
    final = {"state": State.COMPLETED, "completed_at": NOW, "result": {}}
    await one.put(state(version=3, **final), moment)
    for older in (state(version=2), state(version=3, updated_at=NOW), state(version=9, created_at=NOW - timedelta(1))):
        await other.put(replace(older, **final), moment)
        found = await read(one)
        assert found is not None and found.version == 3 and found.updated_at > NOW
    await other.put(replace(state(version=1, created_at=NOW + timedelta(1)), **final), moment)
    found = await read(one)
    assert found is not None and found.version == 1, "it was deleted and made anew"


@given(st.permutations(range(1, 7)))
async def test_in_whatever_order_they_come_the_newest_is_told(redis_url: str, order: list[int]) -> None:
    client = redis.Redis.from_url(redis_url)
    level = RedisLevel(client, redis_url, "autocoder", os.urandom(8).hex())
    try:
        _, moment = await level.get("a")
        newest = 0
        for each in order:
            await level.put(state(version=each, state=State.CANCELLED, completed_at=NOW), moment)
            newest = max(newest, each)
            found = await read(level)
            assert found is not None and found.version == newest
    finally:
        await client.aclose()


async def test_who_changed_it_leaves_its_age_behind(levels: list[RedisLevel]) -> None:
    one, other = levels
    _, moment = await other.get("a")  # reads version 1, and is slow
    await one.changed(state(version=2))
    await other.put(state(version=1), moment)
    assert await read(one) is None
    await other.put(state(version=2), moment)
    found = await read(one)
    assert found is not None and found.version == 2
    await one.created(NOW + timedelta(1), "a")
    await other.put(state(version=2), moment)
    assert await read(one) is None, "it was deleted and made anew"
    await one.forget("a", "b")
    await other.put(state(version=99), moment)
    assert await read(other) is None, "it is not known what it was changed to"


async def test_it_is_told_for_so_long_from_the_moment_of_the_reading(levels: list[RedisLevel]) -> None:
    one, _ = levels
    _, moment = await one.get("a")
    assert moment is not None
    await one.put(state(), moment - 60_001)
    assert await read(one) is None, "whoever read it was stopped for too long"
    await one.put(state(state=State.COMPLETED, completed_at=NOW, result={}), moment - 60_001)
    assert await read(one) is not None
    left = await one._client.pttl(one._key("a"))
    assert 0 < left <= 300_000 - 60_001
    await one.put(state("b"), moment)
    left = await one._client.pttl(one._key("b"))
    assert left <= 60_000, "what can change is soon forgotten"


async def test_what_holds_credentials_or_is_too_long_is_not_shared(levels: list[RedisLevel]) -> None:
    one, _ = levels
    _, moment = await one.get("a")
    for kept_back in (
        state(request={"candidates": [{"text": "sk-secret"}]}),
        state(message="x" * MOST_BYTES),
        state(message="\ud800"),
    ):
        await one.put(kept_back, moment)
        assert await read(one) is None
    await one.put(state(), None)
    assert await read(one) is None


@pytest.mark.parametrize("left", [b"", b"x", b"1:2:3\n{}", b"1:2:3\nnonsense", b"\xff\n\xff"])
async def test_what_another_left_there_is_passed_over_and_replaced(levels: list[RedisLevel], left: bytes) -> None:
    one, _ = levels
    await one._client.set(one._key("a"), left)
    found, moment = await one.get("a")
    assert found is None
    await one.put(state(), moment)
    assert await read(one) == state()


async def test_other_databases_are_other_spaces(redis_url: str, url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(open_database(each)) for each in (url, fresh_sqlite(tmp_path, "b"))
        ]
        assert len({await space_of(each) for each in databases}) == 2
        assert await space_of(databases[0]) == await space_of(databases[0])
        one, other = [await stack.enter_async_context(open_redis(redis_url, each)) for each in databases]
        elsewhere = await stack.enter_async_context(open_redis(redis_url, databases[0], "staging"))
        _, moment = await one.get("a")
        await one.put(state(), moment)
        assert await read(one) is not None
        assert await read(other) is None and await read(elsewhere) is None


# -- the store above it --------------------------------------------------------------------------------------------


async def test_the_stores_of_two_processes_share_what_they_know(redis_url: str, url: str) -> None:
    settings = ServiceSettings.model_validate({"redis": redis_url, "redis_prefix": os.urandom(8).hex()})
    async with open_store(url, service=settings) as one, open_store(url, service=settings) as other:
        made = await one.create({})
        begun = await one.start_processing(made)
        await one.complete(made, {"score": 1}, attempt=begun.retry_count)
        ended = await other.get_state(made)
        shared: Any = one._writer.cache.shared
        one._writer.cache.forget(made)
        assert await one.get_state(made) == ended
        assert shared.hits == 1
        assert await one.cleanup(0) == 1
        with pytest.raises(Exception, match="there is no assessment"):
            await one.get_state(made)


async def test_what_a_store_changed_it_sees_whatever_others_remember(redis_url: str, url: str) -> None:
    settings = ServiceSettings.model_validate({"redis": redis_url, "redis_prefix": os.urandom(8).hex()})
    async with open_store(url, service=settings) as one, open_store(url, service=settings) as other:
        for number in range(10):
            made = await one.create({"id": f"a-{number}"})
            old = await other.get_state(made)
            shared: Any = one._writer.cache.shared
            _, moment = await shared.get(made)
            cancelled = await one.cancel(made)
            await shared.put(old, moment)
            for each in (other, one):
                each._writer.cache._kept[made].until = 0.0  # its time is over
                assert await each.get_state(made) == cancelled


@SQLITE
async def test_a_state_from_the_shared_level_older_than_what_is_known_is_not_told(
    redis_url: str, database: Database
) -> None:
    class Lagging:
        async def get(self, assessment_id: str) -> tuple[AssessmentState | None, int | None]:
            return old, None

        async def put(self, state: AssessmentState, moment: int | None) -> None: ...
        async def changed(self, *states: AssessmentState) -> None: ...
        async def created(self, moment: datetime, *assessment_ids: str) -> None: ...
        async def forget(self, *assessment_ids: str) -> None: ...

    store = AssessmentStore(database, shared=Lagging())
    made = await AssessmentStore(database).create({})
    old = await AssessmentStore(database).get_state(made)
    assert await store.get_state(made) == old
    cancelled = await store.cancel(made)
    store._writer.cache._kept[made].until = 0.0
    assert await store.get_state(made) == cancelled
