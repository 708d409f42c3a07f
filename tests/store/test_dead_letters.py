"""Dead letters: found, replayed once, mended, discarded; on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Batch, Condition, Pipeline, Rejected, Source, send
from autocoder.database import Database, open_database
from autocoder.runtime import keeping
from autocoder.store.dead_letters import DeadLetters, Selection, Unjudged
from autocoder.store.identity import message_id, seq_in
from autocoder.store.store import Store
from autocoder.store.tables import port_messages
from tests.store.jobs import Done, Job, Jobs, SlowWork, Work, every_letter, until

pytestmark = pytest.mark.anyio
SEQS = st.integers(1, (1 << 60) - 1)


async def failed(url: str, *numbers: int, good: int = 0) -> Jobs:
    """A run in which these failed, besides `good` others from 1,000 on."""
    jobs = Jobs(set(numbers))
    sent = [*(Job(number, token="hush") for number in numbers), *(Job(1000 + number) for number in range(good))]
    await send(url, jobs.pipeline, "requests", sent)
    await jobs.pipeline.run_async(database=url)
    return jobs


async def statuses(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        query = sa.select(port_messages.c.status, sa.func.count()).group_by(port_messages.c.status)
        return {row[0]: row[1] for row in await connection.execute(query)}


@given(SEQS, st.text(), st.text(), st.datetimes(min_value=datetime(1970, 1, 2)))
def test_an_id_holds_its_seq_and_is_a_uuid_of_version_8(seq: int, pipeline: str, port: str, moment: datetime) -> None:
    identity = message_id(seq, pipeline, "work", port, moment.replace(tzinfo=UTC))
    assert (identity.version, identity.variant) == (8, "specified in RFC 4122")
    assert seq_in(identity) == seq
    assert seq_in(UUID(str(identity))) == seq


@given(SEQS, SEQS)
def test_ids_sort_as_rows_do(one: int, other: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [message_id(seq, "p", "c", "in", moment) for seq in (one, other)]
    assert (ids[0] < ids[1]) == (one < other)


async def test_a_dead_letter_is_found_by_its_id_and_by_no_other(url: str, database: Database) -> None:
    await failed(url, 1, 2)
    letters = DeadLetters(database)
    first, second = await every_letter(database)
    assert (first.payload, first.component, first.port, first.attempts) == (
        {"number": 1, "token": "hush"},
        "work",
        "in",
        1,
    )
    assert first.error_type == "TimeoutError" and "no answer for 1" in first.error
    assert await letters.find(first.id) == first
    assert await letters.find(uuid4()) is None
    foreign = message_id(first.seq, "jobs", "work", "in", second.created_at.replace(year=2001))
    assert await letters.find(foreign) is None and await letters.status(foreign) is None
    assert await letters.status(first.id) == "dead_letter"


async def test_filters_hold_together(url: str, database: Database) -> None:
    await failed(url, 1, 2, 3, -4)
    numbers = {
        "all": Selection(),
        "type": Selection(error_types=("ValueError",)),
        "where": Selection(where=Condition("payload.number >= 2 && attempts == 1 && age < 3600.0")),
        "both": Selection(error_types=("TimeoutError",), where=Condition("payload.number > 2")),
        "old": Selection(older_than=3600.0),
        "new": Selection(newer_than=3600.0, pipeline="jobs", components=("work",)),
        "nowhere": Selection(components=("done",)),
    }
    found = {
        name: [each.payload["number"] for each in await every_letter(database, selection)]
        for name, selection in numbers.items()
    }
    assert found["type"] == []  # -4 is in `broken`, too, so it timed out
    assert found["all"] == found["new"] == [1, 2, 3, -4]
    assert (found["where"], found["both"], found["old"], found["nowhere"]) == ([2, 3], [3], [], [])
    pages = [page async for page in DeadLetters(database).matching(Selection(), limit=3)]
    assert [each.payload["number"] for page in pages for each in page] == [1, 2, 3]
    rest = await every_letter(database, after=pages[-1][-1].seq)
    assert [each.payload["number"] for each in rest] == [-4]


async def test_a_predicate_that_cannot_be_evaluated_leaves_the_message_out_and_is_told(
    url: str, database: Database
) -> None:
    await failed(url, 1, 2)
    unjudged = Unjudged()
    assert await every_letter(database, Selection(where=Condition("payload.nmber > 1")), unjudged=unjudged) == []
    assert unjudged.count == 2
    assert "hush" not in str(unjudged.reasons)


async def test_groups_are_counted_in_the_database_as_they_are_by_a_predicate(url: str, database: Database) -> None:
    await failed(url, 1, 2)
    jobs = Jobs()
    await send(url, jobs.pipeline, "requests", [Job(-5)])
    await jobs.pipeline.run_async(database=url)
    letters = DeadLetters(database)
    groups = await letters.groups(Selection())
    assert [(each.component, each.error_type, each.count) for each in groups] == [
        ("work", "TimeoutError", 2),
        ("work", "ValueError", 1),
    ]
    assert groups == await letters.groups(Selection(where=Condition("true")))
    assert groups[0].oldest <= groups[1].newest


async def test_a_replay_happens_once(url: str, database: Database) -> None:
    jobs = await failed(url, 1, 2, good=1)
    letters = await every_letter(database)
    store = DeadLetters(database)
    assert await store.replay(letters) == letters
    assert await store.replay(letters) == []
    assert await statuses(database) == {"pending": 2, "completed": 1 + 2}
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [1, 2]
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == []
    assert await store.replay(letters) == []


async def test_of_many_replays_at_the_same_time_one_takes_effect(url: str, database: Database) -> None:
    await failed(url, *range(20))
    letters = await every_letter(database)
    replayed: list[int] = []

    async def replay() -> None:
        async with open_database(url) as own:
            for letter in letters:
                replayed.extend(each.seq for each in await DeadLetters(own).replay([letter]))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(replay)
    assert sorted(replayed) == [each.seq for each in letters]


async def test_a_message_that_fails_again_returns_to_its_row_with_its_history(url: str, database: Database) -> None:
    await failed(url, 1)
    (before,) = await every_letter(database)
    for _ in range(2):
        await DeadLetters(database).replay(await every_letter(database))
        jobs = Jobs({1})
        await jobs.pipeline.run_async(database=url)
    (after,) = await every_letter(database)
    assert (after.id, after.replayed, after.attempts) == (before.id, 2, 1)
    assert [each["error_type"] for each in after.history] == ["TimeoutError", "TimeoutError"]
    assert after.history[0]["failed_at"] == before.failed_at.isoformat()
    assert after.payload == before.payload


@pytest.mark.parametrize("worker", [Work, SlowWork])
async def test_replayed_messages_come_in_their_order(
    url: str, database: Database, worker: type[Work] | type[SlowWork]
) -> None:
    numbers = list(range(50))
    await failed(url, *numbers)
    await DeadLetters(database).replay(list(reversed(await every_letter(database))))
    jobs = Jobs(worker=worker)
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == numbers


@pytest.mark.parametrize("worker", [Work, SlowWork])
async def test_a_replay_is_taken_by_the_running_pipeline(
    url: str, database: Database, worker: type[Work] | type[SlowWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, parked = 0, Store.parked

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal looks
        rows = await parked(*given, **named)
        looks += not rows
        return rows

    monkeypatch.setattr(Store, "parked", counted)
    monkeypatch.setattr(keeping, "REPLAY_POLL_SECONDS", 0.02)
    jobs = Jobs({1, 2}, until_empty=False, worker=worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: jobs.pipeline.run_async(database=url))
        await send(url, jobs.pipeline, "requests", [Job(1), Job(2), Job(3)])

        async def both_failed() -> bool:
            return len(await every_letter(database)) == 2

        await until(both_failed)
        jobs.work.broken = {2}
        await DeadLetters(database).replay(await every_letter(database))
        await until(lambda: 1 in jobs.done.got)

        async def one_failed_again() -> bool:
            return [each.payload["number"] for each in await every_letter(database)] == [2]

        await until(one_failed_again)
        jobs.work.broken = set()
        await DeadLetters(database).replay(await every_letter(database))
        await until(lambda: 2 in jobs.done.got)
        seen = looks
        await until(lambda: looks > seen + 2)  # two more whole looks for replays: none is taken twice
        jobs.pipeline.drain()
    assert sorted(jobs.done.got) == [1, 2, 3]
    assert "dead_letter" not in await statuses(database)
    assert "pending" not in await statuses(database)


async def test_a_row_edited_to_garbage_is_a_dead_letter_again_and_the_others_go_on(
    url: str, database: Database
) -> None:
    await failed(url, 1, 2, 3)
    letters = await every_letter(database)
    async with database.transaction() as connection:
        await connection.execute(
            sa.update(port_messages).where(port_messages.c.seq == letters[1].seq).values(message_data='{"numb": []}')
        )
    await DeadLetters(database).replay(await every_letter(database))
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [1, 3]
    (garbage,) = await every_letter(database)
    assert garbage.id == letters[1].id
    assert garbage.payload == {"numb": []}
    assert "number" in garbage.error


async def test_a_waiting_row_edited_to_garbage_is_a_dead_letter_and_the_others_go_on(
    url: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs()
    ids = await send(url, jobs.pipeline, "requests", [Job(number) for number in range(3)])
    async with database.transaction() as connection:
        await connection.execute(
            sa.update(port_messages).where(port_messages.c.seq == seq_in(ids[1])).values(message_data="[7]")
        )
    with caplog.at_level("WARNING"):
        summary = await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [0, 2]
    assert summary.dead_letters == 1
    assert "component 'requests', port 'in': dead letter after 1 attempt: UnreadablePayload" in caplog.text
    (garbage,) = await every_letter(database)
    assert (garbage.id, garbage.component, garbage.error_type) == (ids[1], "requests", "UnreadablePayload")


async def test_a_mended_payload_is_what_the_component_gets(url: str, database: Database) -> None:
    await failed(url, 1)
    store = DeadLetters(database)
    (letter,) = await every_letter(database)
    assert await store.edit(letter, json.dumps({"number": 10}), who="ann")
    assert not await store.edit(letter, json.dumps({"number": 20}), who="bob"), "it was edited meanwhile"
    assert await store.replay([letter]) == [], "it is not what was looked at"
    (edited,) = await every_letter(database)
    assert json.loads(edited.notes or "")["edited"][0]["by"] == "ann"
    await store.replay([edited])
    jobs = Jobs({1})
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [10]
    assert not await store.edit(edited, "{}", who="ann"), "it is no dead letter any more"


async def test_a_discarded_message_is_resolved_and_not_deleted(url: str, database: Database) -> None:
    await failed(url, 1, 2)
    store = DeadLetters(database)
    letter, other = await every_letter(database)
    before = sum((await statuses(database)).values())
    assert await store.discard([letter], who="ann", why="a test") == [letter]
    assert await store.discard([letter], who="ann", why="again") == []
    assert await store.replay([letter]) == []
    assert await every_letter(database) == [other]
    assert sum((await statuses(database)).values()) == before
    async with database.reading() as connection:
        row = (await connection.execute(sa.select(port_messages).where(port_messages.c.seq == letter.seq))).one()
    note = json.loads(row.message_metadata)["resolved"]
    assert (note["by"], note["why"], row.status) == ("ann", "a test", "completed")
    assert row.completed_at.isoformat() == note["at"]


async def test_without_payload_nothing_is_replayed(url: str, database: Database) -> None:
    await failed(url, 1)
    async with database.transaction() as connection:
        await connection.execute(sa.update(port_messages).values(message_data=None))
    (letter,) = await every_letter(database)
    with pytest.raises(ValueError, match="without payload"):
        await DeadLetters(database).replay([letter])
    assert await every_letter(database) == [letter]


class Torn(Source[Job]):
    """One payload, and two pieces of input that are none."""

    def read(self, resume: int | None, /) -> Iterator[Batch[Job]]:
        if resume is None:
            rejected = [Rejected("not json", ValueError("no"), "in:2"), Rejected(b"\xff{", ValueError("no"))]
            yield Batch([Job(1)], resume=1, rejected=rejected)


async def test_input_that_is_no_payload_is_kept_as_it_was_read(url: str, database: Database) -> None:
    pipeline = Pipeline("torn")
    pipeline.add("done", Done(), after=pipeline.add("torn", Torn()))
    await pipeline.run_async(database=url)
    letters = await every_letter(database)
    assert [each.details for each in letters] == [
        {"raw": "not json", "place": "in:2"},
        {"raw": "\\xff{", "place": None},
    ]
    assert [(each.component, each.port, each.data) for each in letters] == [("torn", "out", None)] * 2
