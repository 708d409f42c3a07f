"""What a run says of a database that it cannot use, and the code with which it leaves: 69, or 78 where a schema is wrong."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.cli.answer import Answer, Run
from tests.cli.conftest import cli, project, unmarked_process, write
from tests.faults.servers import Server, own_server

__all__ = ["cli", "project", "unmarked_process", "write"]
SECRET = "hush-hush-5"


def refused(answer: Answer, code: int, *said: str) -> None:
    """The code, and every word; no traceback, no secret, no data."""
    assert answer.code == code, answer
    assert all(each in answer.err for each in said), answer.err
    assert answer.out == "" and "Traceback" not in answer.err and "mistake in autocoder" not in answer.err
    assert SECRET not in answer.err


@pytest.fixture
def broken(cli: Run, project: Path) -> Path:
    """A database in which the pipeline has run, to be broken."""
    assert cli("run", "demo.yaml", "--database", "sqlite:///run.db").code == 0
    return project / "run.db"


def test_a_file_whose_beginning_is_garbage(cli: Run, broken: Path) -> None:
    with broken.open("r+b") as file:
        file.write(b"garbage " * 20)
    before = broken.read_bytes()
    refused(cli("run", "demo.yaml", "--database", "sqlite:///run.db"), 69, "is not an SQLite database", "db restore")
    assert broken.read_bytes() == before


def test_a_file_whose_pages_are_garbage(cli: Run, broken: Path) -> None:
    with closing(sqlite3.connect(broken)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with broken.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(broken.stat().st_size - 100))
    for arguments in (("run", "demo.yaml"), ("dlq", "list"), ("checkpoint", "list"), ("send", "demo", "double", "1")):
        refused(cli(*arguments, "--database", "sqlite:///run.db"), 69, "it is damaged; move it away", "db restore")


def test_a_file_of_another_program(cli: Run, project: Path) -> None:
    with closing(sqlite3.connect(project / "run.db")) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    refused(cli("run", "demo.yaml", "--database", "sqlite:///run.db"), 78, "belongs to another program", "songs")


def test_a_path_below_a_file_and_a_folder(cli: Run, project: Path) -> None:
    refused(cli("run", "demo.yaml", "--database", "sqlite:///demo.yaml/run.db"), 69, "its folder cannot be made")
    (project / "run.db").mkdir()
    refused(cli("run", "demo.yaml", "--database", "sqlite:///run.db"), 69, "it is a folder")


@pytest.fixture
def read_only(project: Path, broken: Path) -> Iterator[Path]:
    """A folder with a database in it that nobody may write, not even root."""
    folder = project / "fixed"
    folder.mkdir()
    broken.rename(folder / "run.db")
    bind = ["mount", "--bind", str(folder), str(folder)]
    if os.geteuid() != 0 or subprocess.run(bind, check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount a file system")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_folder(cli: Run, read_only: Path) -> None:
    for name in ("run.db", "new.db"):
        refused(cli("run", "demo.yaml", "--database", f"sqlite:///fixed/{name}"), 69, "fixed", "--database")


def test_a_file_that_another_program_locks(cli: Run, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCODER_DATABASE__BUSY_TIMEOUT", "50ms")
    with closing(sqlite3.connect(broken, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for arguments in (("run", "demo.yaml"), ("dlq", "replay", "--all"), ("send", "demo", "double", "1")):
            refused(
                cli(*arguments, "--database", "sqlite:///run.db"), 69, "database is locked; another program holds it"
            )


def test_a_newer_schema(cli: Run, broken: Path) -> None:
    with closing(sqlite3.connect(broken)) as database, database:
        database.execute("UPDATE autocoder_schema SET version_num = '9999'")
    refused(
        cli("run", "demo.yaml", "--database", "sqlite:///run.db"),
        78,
        "9999",
        "a newer autocoder",
        "autocoder db downgrade",
    )


def test_a_server_that_is_not_there(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCODER_DATABASE__RETRY__ATTEMPTS", "2")
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        address = f"postgresql://me:{SECRET}@127.0.0.1:{held.getsockname()[1]}/nothing"
        refused(cli("run", "demo.yaml", "--database", address), 69, "check the address", "me:***@")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that asks for passwords."""
    with own_server(access="local all postgres trust\nlocal all all scram-sha-256\n") as server:
        yield server


def test_a_wrong_password_and_an_unknown_database(cli: Run, guarded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKOFF", "CAP"):  # who tried again would not come back
        monkeypatch.setenv(f"AUTOCODER_DATABASE__RETRY__{name}", "1h")
    url = sa.make_url(guarded.url)
    for user, name, said in (
        ("nobody", "postgres", "check the user and the password"),
        ("postgres", "nothing", "check the name of the database"),
    ):
        address = url.set(username=user, password=SECRET, database=name).render_as_string(hide_password=False)
        refused(cli("run", "demo.yaml", "--database", address), 69, said, "***")
