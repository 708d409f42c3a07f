"""Every command reaches the database as a run does: by all options of the settings, not by its URL alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal

from tests.cli.answer import Run, Write
from tests.cli.conftest import cli, project, unmarked_process, write
from tests.cli.jobs import BATCH, PARTS
from tests.faults.proxy import proxied
from tests.faults.servers import Server
from tests.store.fresh import fresh_postgres

__all__ = ["cli", "project", "unmarked_process", "write"]
COMMANDS = (
    ("run", "jobs.yaml"),
    ("send", "jobs.yaml", "requests", '{"number": 1}'),
    ("dlq", "list"),
    ("dlq", "replay", "--all"),
    ("checkpoint", "list"),
    ("db", "current"),
)


@pytest.fixture
def address(server: Server) -> Iterator[str]:
    """The URL of an empty database behind TCP: a Unix socket knows no TLS."""
    with start_blocking_portal() as portal:
        fresh, proxy = fresh_postgres(server.driver_url), proxied(server.socket)
        with portal.wrap_async_context_manager(fresh) as url, portal.wrap_async_context_manager(proxy) as opened:
            yield f"postgresql://postgres:hush-hush@127.0.0.1:{opened.port}/{sa.make_url(url).database}"


@pytest.fixture(autouse=True)
def pipeline(write: Write) -> None:
    write("jobparts.py", PARTS)
    write("jobs.yaml", BATCH)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: "-".join(each[:2]))
def test_a_server_without_tls_is_refused_where_it_is_required(
    arguments: tuple[str, ...], cli: Run, address: str, write: Write
) -> None:
    write("config/production.yaml", "database: {url: '${DATABASE_URL}', ssl_mode: require, retry: {attempts: 1}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", address)
        answer = cli(*arguments, "--env", "production")
    assert answer.code == 69, answer
    assert "SSL" in answer.err and "hush-hush" not in answer.out + answer.err
    assert cli("run", "jobs.yaml", "--database", address).code == 0
