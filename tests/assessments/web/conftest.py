"""The service on a socket of this machine: a real server in the event loop of the test, over a real database."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.web.app import make_app
from autocoder_components.assessments.web.options import WebOptions
from autocoder_components.assessments.web.service import Service
from autocoder_components.assessments.web.serving import make_server

from tests.store.fresh import fresh

TOKEN = "correct-horse-battery-staple"
PREFIX = "/api/v1/assessments"


@pytest.fixture(params=["sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A new database with every table: an SQLite file, unless a test asks for both kinds."""
    async with fresh(request, tmp_path, tables=True) as made:
        yield made


@pytest.fixture
async def store(url: str) -> AsyncIterator[AssessmentStore]:
    """The store of that database, open."""
    async with open_store(url) as opened:
        yield opened


@dataclass(frozen=True)
class Served:
    """A service that answers. `client` asks it, and follows no redirects; `connections` are those that it has."""

    url: str
    client: httpx2.AsyncClient
    service: Service
    stop: Callable[[], None]
    connections: Set[Any]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def raw(self, sent: bytes, *, until_closed: bool = False, seconds: float = 10.0) -> bytes:
        """What comes back for bytes as they are: the head and what is read with it, or all until it is closed."""
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        got = b""
        async with stream:
            await stream.send(sent)
            with anyio.fail_after(seconds):
                while until_closed or b"\r\n\r\n" not in got:
                    try:
                        got += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        break
        return got


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(store: AssessmentStore, **options: Any) -> AsyncIterator[Served]:
    """The service on a free port, for the length of a block; whoever still waits at its end is told so."""
    app = make_app(store, WebOptions(**options))
    server = make_server(app)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def stop() -> None:
            app.state.service.stopping.set()
            server.should_exit = True

        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            # Nothing here is encrypted: what could check certificates takes long to make.
            async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False, verify=False) as client:
                yield Served(url, client, app.state.service, stop, server.server_state.connections)
        finally:
            stopped = server.should_exit
            stop()
            if not stopped:
                await _end(server, task)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


async def _end(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    """What uvicorn does at its end, without the 0.2 seconds that it sleeps there: whoever waits for an answer gets it."""
    while not (server.started or task.done()):
        await asyncio.sleep(0.001)
    if task.done():
        return
    for each in server.servers:
        each.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    while server.server_state.connections or server.server_state.tasks:
        await asyncio.sleep(0.001)
    task.cancel()


@pytest.fixture
async def served(store: AssessmentStore) -> AsyncIterator[Served]:
    """The service as it is on loopback, without a token."""
    async with serving(store) as made:
        yield made


def problem(answer: httpx2.Response, status: int, code: str, *fields: str) -> str:
    """Fails unless the answer is exactly this problem; returns its words."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told = answer.json()
    assert (told["type"], told["status"], told["code"], told.get("fields", [])) == (
        "about:blank",
        status,
        code,
        [*fields],
    )
    assert answer.headers["cache-control"] == "no-store"
    detail = told["detail"]
    assert isinstance(detail, str)
    return detail


async def completed(store: AssessmentStore, assessment_id: str, result: dict[str, Any]) -> None:
    """An assessment with a verdict."""
    await store.create({"id": assessment_id})
    await store.start_processing(assessment_id)
    await store.complete(assessment_id, result)
