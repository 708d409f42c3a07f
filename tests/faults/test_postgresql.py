"""PostgreSQL fails in mid run: the pipeline waits, goes on where it was, loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import anyio.to_thread
import pytest
import sqlalchemy as sa

from autocoder.database_options import DatabaseOptions
from tests.faults.proxy import Proxy, proxied
from tests.faults.scene import Scene, make_tables
from tests.faults.servers import Server

pytestmark = pytest.mark.anyio
PATIENT = {
    "retry_backoff": 0.05,
    "retry_cap": 0.2,
    "connect_timeout": 2.0,
    "statement_timeout": 1.0,
    "idle_in_transaction_timeout": 1.0,  # a session whose client is behind a black hole keeps what it has locked
}


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxied(server.socket) as made:
        yield made


def through(proxy: Proxy, url: str) -> DatabaseOptions:
    """The way to a database through the proxy."""
    name = sa.make_url(url).database
    return DatabaseOptions(f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}", **PATIENT)


async def test_a_restart(postgres: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await make_tables(postgres)
    scene = Scene(postgres, DatabaseOptions(postgres, **PATIENT), "chain", caplog, messages=1500)
    async with scene.running():
        await scene.under_way()
        await anyio.to_thread.run_sync(server.restart)
        await scene.troubled()
        await anyio.to_thread.run_sync(server.stop)
        await scene.troubled()
        await anyio.to_thread.run_sync(server.start)
    assert await scene.judged() == []


@pytest.mark.parametrize(
    ("fault", "topology"),
    [(Proxy.drop, "chain"), (Proxy.reset, "splitter"), (Proxy.reset, "pool"), (Proxy.drop, "keyed")],
)
async def test_connections_that_break(
    postgres: str, proxy: Proxy, fault: Callable[[Proxy], None], topology: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_tables(postgres)
    scene = Scene(postgres, through(proxy, postgres), topology, caplog)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with scene.running():
        for _ in range(4):
            await scene.under_way()
            fault(proxy)
    assert await scene.judged() == []
    # asyncpg answers a request once more where the connection breaks as its answer arrives: the loop tells of it, no more.
    assert [each for each in told if not isinstance(each.get("exception"), asyncio.InvalidStateError)] == []


@pytest.mark.parametrize("within", [b"", b'"n":'], ids=["between messages", "in the middle of an INSERT"])
async def test_a_black_hole(postgres: str, proxy: Proxy, within: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A session that has part of a message waits for the rest, minds no timeout, and holds its locks, until it is ended."""
    await make_tables(postgres)
    scene = Scene(postgres, through(proxy, postgres), "chain", caplog)
    async with scene.running():
        await scene.under_way()
        if within:
            proxy.black_hole_within(within)
        else:
            proxy.black_hole()
        await scene.troubled()
        proxy.heal()
    assert proxy.swallowed
    assert await scene.judged() == []


@pytest.mark.parametrize("topology", ["chain", "fanout"])
async def test_a_commit_whose_answer_is_lost(
    postgres: str, proxy: Proxy, topology: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_tables(postgres)
    scene = Scene(postgres, through(proxy, postgres), topology, caplog)
    async with scene.running():
        for _ in range(4):
            await scene.under_way()
            proxy.cut_commits(1)
    assert proxy.commits_cut
    assert await scene.judged() == []


async def test_a_server_that_refuses_for_a_while(postgres: str, proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    await make_tables(postgres)
    scene = Scene(postgres, through(proxy, postgres), "chain", caplog)
    async with scene.running():
        await scene.under_way()
        proxy.refuse()
        await scene.troubled()
        proxy.heal()
    assert await scene.judged() == []
