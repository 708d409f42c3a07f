"""Savepoints on both databases: what is in one, that it is one cut over all regions, and what restoring does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from autocoder import Batch, Keyed, Pipeline, Sink, Source, Statement, Transformer
from autocoder.database import Database, open_database
from autocoder.declaration import ChannelOptions
from autocoder.errors import UsageError
from autocoder.store.columns import now
from autocoder.store.inbox import insert_messages
from autocoder.store.ownership import OwnedElsewhereError, owning
from autocoder.store.retention import Retention, clean_up
from autocoder.store.savepoints import Savepoints, list_savepoints
from autocoder.store.schema import prepare
from autocoder.store.tables import (
    checkpoints,
    component_state,
    port_messages,
    regions,
    savepoint_messages,
    savepoint_state,
)
from tests.support import Numbers

pytestmark = pytest.mark.anyio
DURABLE = ChannelOptions(durable=True)
rows_written = sa.table("rows_written", sa.column("number"))


class Sum(Transformer[int, int]):
    """Totals by the last digit; `fails` on one number."""

    fails: int = -1
    total = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number % 10)

    def process(self, number: int, /) -> int:
        if number == self.fails:
            raise ValueError("this one fails")
        self.total.value += number
        return number


class Unhurried(Source[int]):
    """Forty numbers, a pause, and so on: time for others to look."""

    upto: int

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, 40):
            await anyio.sleep(0.01)
            yield Batch(list(range(at, at + 40)), resume=at + 40)


class Rows(Sink[int]):
    """A row for each number."""

    def statements(self, batch: Sequence[int], /) -> Iterable[Statement]:
        create = sa.text("CREATE TABLE IF NOT EXISTS rows_written (number BIGINT)")
        yield Statement(create)
        yield Statement(sa.insert(rows_written), [{"number": number} for number in batch])


class Inbox(Transformer[int, int]):
    """Takes what is sent to it."""

    def inbox_until(self) -> Any:
        return "empty"

    def process(self, number: int, /) -> int:
        return number


@pytest.fixture(autouse=True)
async def tables(database: Database) -> None:
    await prepare(database)


def pipeline(upto: int, *, fails: int = -1, source: type[Numbers] | type[Unhurried] = Numbers) -> Pipeline:
    """Two regions: numbers, and behind a durable channel sums and rows."""
    made = Pipeline("sums", every=0.01, messages=20)
    total = made.add("sum", Sum(fails=fails), after=made.add("numbers", source(upto=upto)), channel=DURABLE)
    made.add("rows", Rows(), after=total)
    return made


async def all_of(database: Database, table: sa.Table, *columns: str) -> list[Any]:
    async with database.reading() as connection:
        query = sa.select(*(table.c[name] for name in columns))
        return sorted(tuple(each) for each in await connection.execute(query))


async def kept(database: Database) -> tuple[Any, ...]:
    """Positions, state and waiting messages, as the next run would find them."""
    positions = await all_of(database, checkpoints, "checkpoint_name", "component_name", "checkpoint_data")
    state = await all_of(database, component_state, "component_name", "state_name", "state_key", "state_data")
    messages = await all_of(database, port_messages, "status", "target_component", "port_name", "message_data", "seq")
    waiting = [each for each in messages if each[0] in ("pending", "processing", "failed")]
    return [each[1:] for each in positions if each[0] == ""], state, waiting


async def send(database: Database, component: str, *payloads: str) -> None:
    async with database.transaction() as connection:
        await insert_messages(connection, "sums", component, "in", payloads)


async def test_state_positions_and_messages_come_back_together(url: str, database: Database) -> None:
    await pipeline(50).run_async(database=url)
    await send(database, "sum", "7", "8")
    savepoints = Savepoints(database, "sums")
    saved = await savepoints.save("before")
    assert (saved.positions, saved.values, saved.messages, saved.expires_at) == (1, 10, 2, None)
    before = await kept(database)
    assert len(before[2]) == 2
    await pipeline(100).run_async(database=url)
    assert await kept(database) != before
    restored = await savepoints.restore("before")
    assert restored == saved
    assert await kept(database) == before
    content = await savepoints.content("before")
    assert content == await savepoints.content("")
    assert content.positions == {"numbers": 50}
    assert content.values == {("sum", "total"): 10}
    assert content.messages == {("sum", "in"): 2}


async def test_a_run_goes_on_from_a_restored_savepoint_and_outputs_are_not_undone(url: str, database: Database) -> None:
    await pipeline(50).run_async(database=url)
    await Savepoints(database, "sums").save("half")
    await pipeline(100).run_async(database=url)
    whole = await kept(database)
    await Savepoints(database, "sums").restore("half")
    summary = await pipeline(100).run_async(database=url)
    assert summary.components["numbers"].given == 50
    assert (await kept(database))[:2] == whole[:2]
    async with database.reading() as connection:
        written = sorted((await connection.execute(sa.select(rows_written.c.number))).scalars())
    assert written == sorted([*range(100), *range(50, 100)])


async def test_a_savepoint_of_a_running_pipeline_is_one_cut_over_its_regions(url: str, database: Database) -> None:
    """Each number before the position of the source is either in the sum or waits for it, whenever it is taken."""
    running = pipeline(4000, source=Unhurried)
    savepoints = Savepoints(database, "sums")
    taken: list[str] = []

    async def take() -> None:
        while running.progress is None or not running.progress.messages_in:
            await anyio.sleep(0)
        while running.progress is not None:
            name = f"s{len(taken)}"
            await savepoints.save(name)
            taken.append(name)
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await running.run_async(database=url)
    moving = set()
    for name in taken:
        await savepoints.restore(name)
        positions, state, waiting = await kept(database)
        position = int(positions[0][1]) if positions else 0
        total = sum(int(data) for _, cell, _, data in state if cell == "total")
        assert total + sum(int(each[3]) for each in waiting) == sum(range(position)), name
        moving.add(position)
    assert len(moving) > 2, "no savepoint was taken while the pipeline ran"


async def test_what_was_sent_from_outside_since_is_not_lost(url: str, database: Database) -> None:
    made = Pipeline("sums")
    made.add("rows", Rows(), after=made.add("sum", Sum(), after=made.add("inbox", Inbox(), after=())))
    await send(database, "inbox", "1")
    await made.run_async(database=url)
    await Savepoints(database, "sums").save("one")
    await send(database, "inbox", "2")
    await made.run_async(database=url)
    await send(database, "inbox", "3")
    await Savepoints(database, "sums").restore("one")
    assert [each[3] for each in (await kept(database))[2]] == ["2", "3"]
    await made.run_async(database=url)
    totals = [row for row in (await kept(database))[1] if row[1] == "total"]
    assert totals == [("sum", "total", "1", "1"), ("sum", "total", "2", "2"), ("sum", "total", "3", "3")]


async def test_dead_letters_stay_unless_their_replay_is_undone(url: str, database: Database) -> None:
    await pipeline(50, fails=13).run_async(database=url)
    await Savepoints(database, "sums").save("dead")
    await send(database, "sum", "99")
    await pipeline(50, fails=99).run_async(database=url)
    dead = port_messages.c.status == "dead_letter"
    replayed = {"status": "pending", "parked": True, "replayed": 1, "error_type": None, "retry_count": 0}
    async with database.transaction() as connection:
        await connection.execute(sa.update(port_messages).where(dead, port_messages.c.seq < 40).values(replayed))
    await pipeline(50, fails=99).run_async(database=url)
    assert [
        each[1] for each in await all_of(database, port_messages, "status", "message_data") if each[0] == "dead_letter"
    ] == ["99"]
    await Savepoints(database, "sums").restore("dead")
    letters = [
        each
        for each in await all_of(database, port_messages, "status", "message_data", "replayed")
        if each[0] == "dead_letter"
    ]
    assert letters == [("dead_letter", "13", 1), ("dead_letter", "99", 0)]


async def test_restoring_is_refused_while_an_instance_owns_the_pipeline(url: str, database: Database) -> None:
    await pipeline(20).run_async(database=url)
    savepoints = Savepoints(database, "sums")
    await savepoints.save("here")
    before = await all_of(database, regions, "region", "token")
    async with owning(database, "sums", ["numbers", "sum"], wait=False), open_database(url) as other:
        with pytest.raises(OwnedElsewhereError, match="running already"):
            await Savepoints(other, "sums").restore("here")
    await savepoints.restore("here")
    after = await all_of(database, regions, "region", "token")
    assert [token for _, token in after] == [token + 2 for _, token in before], "who owned it before can commit no more"


async def test_names_expiry_and_deletion(url: str, database: Database) -> None:
    savepoints = Savepoints(database, "sums")
    with pytest.raises(UsageError, match="keeps nothing"):
        await savepoints.save("empty")
    await pipeline(20).run_async(database=url)
    await savepoints.save("first")
    brief = await savepoints.save("brief", expires=timedelta(hours=1))
    assert brief.expires_at is not None and brief.expires_at - brief.created_at == timedelta(hours=1)
    with pytest.raises(UsageError, match="already"):
        await savepoints.save("first")
    for missing in (savepoints.restore, savepoints.delete, savepoints.content, savepoints.find):
        with pytest.raises(UsageError, match="no savepoint 'frist'"):
            await missing("frist")
    assert [each.name for each in await list_savepoints(database)] == ["first", "brief"]
    later = now() + timedelta(hours=2)
    for keep, moment, deleted in ((0, now(), 0), (1, later, 0), (0, later, 1)):
        assert (await clean_up(database, Retention(checkpoints=keep), moment=moment))["checkpoints"] == deleted
    await savepoints.delete("first")
    assert await savepoints.all() == []
    for table in (savepoint_messages, savepoint_state):
        assert await all_of(database, table, "checkpoint_name") == []
    assert len(await all_of(database, checkpoints, "checkpoint_name")) == 1
