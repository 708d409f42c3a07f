"""Opening a database: every option reaches the server or the file, and what cannot be opened says why."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa

from autocoder.database import open_database
from autocoder.database_engines import parse_url
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError, UsageError

pytestmark = pytest.mark.anyio


async def shown(options: DatabaseOptions, *names: str) -> list[str]:
    """Settings of the writing connection."""
    async with open_database(options) as database, database.transaction() as connection:
        prefix = "PRAGMA" if database.is_sqlite else "SHOW"
        return [str((await connection.execute(sa.text(f"{prefix} {name}"))).scalar_one()) for name in names]


async def test_sqlite_is_opened_safe_and_with_its_options(tmp_path: Path) -> None:
    options = DatabaseOptions(f"sqlite:///{tmp_path}/deep/folder/x.db", busy_timeout=1.5)
    found = await shown(options, "busy_timeout", "journal_mode", "synchronous", "foreign_keys", "cache_spill")
    assert found == ["1500", "wal", "2", "1", "8000"]


async def test_readers_of_sqlite_cannot_write(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/x.db") as database:
        async with database.transaction() as connection:
            await connection.execute(sa.text("CREATE TABLE t (n INTEGER)"))
        async with database.reading() as connection:
            with pytest.raises(sa.exc.OperationalError, match="readonly"):
                await connection.execute(sa.text("INSERT INTO t VALUES (1)"))


async def test_postgresql_gets_its_timeouts(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = DatabaseOptions(url, statement_timeout=12, lock_timeout=3.5, idle_in_transaction_timeout=0)
    found = await shown(options, "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert found == ["12s", "3500ms", "0"]


async def test_postgresql_is_to_find_a_client_gone_within_a_lease(postgres_url: str) -> None:
    """What a session was asked for; over a Unix socket it does not come to that."""
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    query = sa.text("SELECT name, reset_val FROM pg_settings WHERE name LIKE 'tcp\\_%'")
    async with open_database(DatabaseOptions(url, lease=30.0)) as database, database.reading() as connection:
        found = {row.name: row.reset_val for row in await connection.execute(query)}
    assert found == {
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_user_timeout": "30000",
    }


async def test_postgresql_that_is_not_there_is_tried_and_then_said(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as held:  # bound, and nobody listens: every connection is refused
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        url = f"postgresql://me:pass-word@127.0.0.1:{port}/nothing"
        with pytest.raises(UnreachableError, match=r"cannot be opened: .*; check the address") as caught:
            async with open_database(DatabaseOptions(url, retry_attempts=2, retry_backoff=0.001)):
                raise AssertionError
    assert "pass-word" not in str(caught.value)
    assert caught.value.exit_code == 69


async def test_a_certificate_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    options = DatabaseOptions(
        "postgresql://me@127.0.0.1/x", ssl_mode="verify-full", ssl_root_cert=str(tmp_path / "ca.pem")
    )
    with pytest.raises(UnreachableError, match=r"the certificates in .*ca\.pem cannot be read"):
        async with open_database(options):
            raise AssertionError


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UnreachableError, match="cannot be"):
        async with open_database(f"sqlite:///{tmp_path}/x/x.db"):
            raise AssertionError


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "cannot be read"),
        ("mysql://h/x", "'mysql' is not supported"),
        ("sqlite://", "lost with the process"),
        ("sqlite:///:memory:", "lost with the process"),
    ],
)
async def test_urls_that_make_no_sense_are_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_url(url)
