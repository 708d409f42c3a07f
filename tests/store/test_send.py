"""Messages sent from outside: none lost, none doubled, in the caller's transaction where it likes; on both databases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.flow import Discard, Generate, Inbox
from sqlalchemy.ext.asyncio import create_async_engine

from autocoder import ChannelOptions, ConfigurationError, Pipeline, UsageError, send
from autocoder.database import Database, open_database
from autocoder.database_engines import parse_url
from autocoder.store.schema import prepare
from autocoder.store.tables import port_messages
from tests.store.jobs import Job, Jobs, Work, every_letter, until

pytestmark = pytest.mark.anyio
OTHER_PROCESS = """
import sys, anyio
from autocoder import send

async def main(url, first, count):
    for at in range(first, first + count, 20):
        await send(url, "jobs", "requests", [{"number": n} for n in range(at, min(at + 20, first + count))])

anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


async def test_what_is_sent_is_taken_in_order_and_once(url: str) -> None:
    jobs = Jobs()
    ids = await send(url, jobs.pipeline, "requests", [Job(number) for number in range(2500)])
    assert len(set(ids)) == 2500 and ids == sorted(ids)
    summary = await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == list(range(2500))
    assert (summary.messages_in, summary.components["requests"].kind) == (2500, "inbox")
    again = Jobs()
    await again.pipeline.run_async(database=url)
    assert again.done.got == []


async def test_the_name_of_a_pipeline_suffices(url: str) -> None:
    await send(url, "jobs", "requests", [{"number": 7}])
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [7]


async def test_other_processes_send_while_the_pipeline_runs(url: str) -> None:
    jobs = Jobs(until_empty=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: jobs.pipeline.run_async(database=url))
        async with anyio.create_task_group() as senders:
            for number in range(3):
                command = [sys.executable, "-c", OTHER_PROCESS, url, str(1000 * number), "400"]
                senders.start_soon(lambda command=command: anyio.run_process(command))
        await until(lambda: len(jobs.done.got) >= 1200)
        await anyio.sleep(1.2)  # long enough for another look at what waits
        jobs.pipeline.drain()
    expected = [1000 * sender + number for sender in range(3) for number in range(400)]
    assert sorted(jobs.done.got) == expected
    for sender in range(3):
        assert [each for each in jobs.done.got if each // 1000 == sender] == expected[400 * sender : 400 * (sender + 1)]


async def test_an_inbox_without_end_ends_with_a_drain_and_what_comes_later_waits(url: str) -> None:
    jobs = Jobs(until_empty=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: jobs.pipeline.run_async(database=url))
        await send(url, jobs.pipeline, "requests", [Job(1)])
        await until(lambda: jobs.done.got == [1])
        jobs.pipeline.drain()
    await send(url, jobs.pipeline, "requests", [Job(2)])
    again = Jobs()
    await again.pipeline.run_async(database=url)
    assert again.done.got == [2]


@pytest.mark.parametrize("kept", [True, False])
async def test_messages_are_part_of_the_callers_transaction(url: str, database: Database, kept: bool) -> None:
    await prepare(database)
    engine = create_async_engine(parse_url(url))
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text("CREATE TABLE orders (number INTEGER)"))
            await connection.commit()
            await connection.execute(sa.text("INSERT INTO orders VALUES (1)"))
            ids = await send(connection, "jobs", "requests", [{"number": 1}])
            assert len(ids) == 1
            await (connection.commit() if kept else connection.rollback())
            orders = (await connection.execute(sa.text("SELECT count(*) FROM orders"))).scalar_one()
    finally:
        await engine.dispose()
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert (jobs.done.got, orders) == (([1], 1) if kept else ([], 0))


async def test_all_payloads_are_sent_or_none(url: str, database: Database) -> None:
    jobs = Jobs()
    with pytest.raises(ValueError, match="cannot be encoded"):
        await send(url, jobs.pipeline, "requests", [Job(1), "no job"])
    await prepare(database)
    async with database.reading() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(port_messages))).scalar_one() == 0


async def test_what_does_not_fit_and_was_sent_by_name_is_a_dead_letter(url: str) -> None:
    await send(url, "jobs", "requests", [{"number": 1}, {"nmber": 2}, {"number": 3}])
    jobs = Jobs()
    await jobs.pipeline.run_async(database=url)
    assert jobs.done.got == [1, 3]
    async with open_database(url) as database:
        (letter,) = await every_letter(database)
    assert (letter.component, letter.payload) == ("requests", {"nmber": 2})


def with_channel(options: ChannelOptions) -> Pipeline:
    pipeline = Pipeline("numbers")
    numbers = pipeline.add("numbers", Generate(count=3, value="{'number': i}"))
    pipeline.add("done", Discard(), after=numbers, channel=options)
    return pipeline


async def test_any_durable_input_takes_messages(url: str) -> None:
    pipeline = with_channel(ChannelOptions(durable=True))
    await send(url, pipeline, "done", [{"number": 10}, {"number": 11}])
    summary = await pipeline.run_async(database=url)
    assert summary.messages_out == 5


@pytest.mark.parametrize(
    ("component", "port", "said"),
    [
        ("done", None, "not durable.*durable: true"),
        ("numbers", None, "a source and takes no input.*flow.Inbox"),
        ("dne", None, "no component 'dne'; did you mean 'done'"),
        ("done", "on", "no input 'on'"),
    ],
)
async def test_what_cannot_be_sent_to_is_refused_with_the_cure(component: str, port: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await send("sqlite:///never.db", with_channel(ChannelOptions()), component, [1], port=port)
    assert not Path("never.db").exists()


@pytest.mark.parametrize("payloads", ["text", b"bytes", {"number": 1}])
async def test_a_single_payload_is_not_taken_for_many(payloads: Any) -> None:
    with pytest.raises(UsageError, match="put it in a list"):
        await send("sqlite:///never.db", "jobs", "requests", payloads)


def test_an_inbox_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Jobs().pipeline.run()
    assert "--database" in str(refused.value.problems[0])


def test_an_inbox_takes_from_nobody() -> None:
    pipeline = Pipeline("both")
    numbers = pipeline.add("numbers", Generate(count=3))
    requests = pipeline.add("requests", Inbox(payload=int), after=numbers)
    pipeline.add("done", Discard(), after=requests)
    with pytest.raises(ConfigurationError) as refused:
        pipeline.compile()
    assert any("come from `autocoder send` alone" in str(each) for each in refused.value.problems)


def test_an_inbox_carries_its_type_on() -> None:
    pipeline = Pipeline("typed")
    requests = pipeline.add("requests", Inbox(payload=int))
    pipeline.add("done", Discard(), after=pipeline.add("work", Work(), after=requests))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as refused:
        pipeline.compile()
    assert any("int where Job is wanted" in str(each) for each in refused.value.problems)
