"""A Redis that is away, hangs, refuses or is none costs one line of the log, and never shows its password."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from autocoder_components.assessments.lifecycle import shared_cache
from autocoder_components.assessments.lifecycle.shared_cache import AGAIN_SECONDS, open_redis, shown_url
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.settings import ServiceSettings

from autocoder import UsageError, open_database
from tests.assessments.lifecycle.redis_server import PASSWORD, Server, own_server, read
from tests.assessments.lifecycle.test_cache import state
from tests.store.fresh import fresh_sqlite

redis = pytest.importorskip("redis.asyncio", reason="needs redis (pip install -e '.[redis]')")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patience")]
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with own_server(tmp_path) as made:
        yield made


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno >= logging.INFO and "shared cache" in each.message]


async def test_a_redis_that_is_away_costs_one_line_and_is_used_when_it_is_back(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    async with open_database(fresh_sqlite(tmp_path)) as database, open_redis(server.url, database) as level:
        level._clock = clock
        assert (await level.get("a"))[1] is not None
        server.stop()
        for _ in range(20):
            assert await level.get("a") == (None, None)
            await level.changed(state())
            await level.forget("a")
            await level.put(state(), 1)
        clock.now += AGAIN_SECONDS + 1
        assert await level.get("a") == (None, None)
        (line,) = told(caplog)
        assert f"the shared cache redis://:***@127.0.0.1:{server.port}/0 cannot be used" in line
        assert PASSWORD not in caplog.text
        server.start()
        assert await level.get("a") == (None, None), "it is left alone for a while"
        clock.now += AGAIN_SECONDS + 1
        _, moment = await level.get("a")
        await level.put(state(), moment)
        assert await read(level) == state()
        assert told(caplog)[1:] == [f"the shared cache redis://:***@127.0.0.1:{server.port}/0 is back"]


async def test_one_that_takes_everything_and_says_nothing_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_cache, "TIMEOUT_SECONDS", 0.25)

    async def swallow(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, swallow)
        port = listener.extra(SocketAttribute.local_port)
        async with (
            open_database(fresh_sqlite(tmp_path)) as database,
            open_redis(f"redis://127.0.0.1:{port}", database) as level,
        ):
            with anyio.fail_after(60):
                for _ in range(1000):
                    assert await level.get("a") == (None, None)
        tasks.cancel_scope.cancel()
    assert len(told(caplog)) == 1


@SQLITE
@pytest.mark.parametrize(
    "answer",
    [
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*1\r\n:5\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"*1\r\n" * 2000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_what_is_no_redis_costs_no_more(url: str, answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                while await stream.receive():
                    await stream.send(answer * 3)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        settings = ServiceSettings.model_validate(
            {"redis": f"redis://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"}
        )
        async with open_store(url, service=settings) as store:
            shared: Any = store._writer.cache.shared
            shared._clock = Clock()
            for operation in (store.create({"id": "a"}), store.get_state("a"), store.cancel("a"), store.cleanup(0)):
                await operation
                store._writer.cache.forget("a")
                shared._clock.now += AGAIN_SECONDS + 1
        tasks.cancel_scope.cancel()
    assert len(told(caplog)) == 1


@pytest.mark.parametrize("wrong", ["password", "memory"])
async def test_a_redis_that_refuses_costs_no_more(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    url = server.url
    if wrong == "password":
        url = url.replace(PASSWORD, "other%20secret")
    else:
        async with redis.Redis.from_url(url) as client:
            await client.config_set("maxmemory", 1)
    async with open_database(fresh_sqlite(tmp_path)) as database, open_redis(url, database) as level:
        await level.changed(state())
        assert await level.get("a") == (None, None)
    assert len(told(caplog)) == 1 and "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter22@h:6379/0", "redis://:***@h:6379/0"),
        ("rediss://user:p@ss@h/0?password=hunter22", "rediss://user:***@h/0"),
        ("unix://:hunter22@/run/redis.sock?db=1", "unix://:***@/run/redis.sock"),
        ("redis://h", "redis://h"),
    ],
)
def test_the_password_is_masked(url: str, shown: str) -> None:
    assert shown_url(url) == shown


async def test_a_url_that_cannot_be_read_is_refused_without_it(tmp_path: Path) -> None:
    async with open_database(fresh_sqlite(tmp_path)) as database:
        for wrong in (
            "redis://:hunter22@h:port",
            "http://:hunter22@h",
            "redis://h/0?max_connections=hunter22",
            "redis://h?hunter22=1",
        ):
            with pytest.raises(UsageError, match="cannot be read") as caught:
                async with open_redis(wrong, database):
                    pass
            assert "hunter22" not in str(caught.value)
