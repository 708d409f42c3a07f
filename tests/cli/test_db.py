"""`autocoder db`: the schema, backups, verification and cleaning, from the command line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from autocoder.store.migrate import heads, held_by
from tests.cli.answer import Run, Write

PIPELINE = """
pipeline: short
components:
  numbers: {use: parts:Numbers, with: {upto: 30}}
  double: {use: parts:Double, from: numbers}
  show: {use: parts:Show, from: double}
"""
HERE = ("--database", "sqlite:///own.db")
# What a database has a row for: a revision on which that of a pack depends has none of its own.
ROWS = [each for each in sorted(heads()) if not any(each in held_by(frozenset({other})) for other in heads() - {each})]


@pytest.fixture
def own(cli: Run, write: Write) -> Path:
    """A database that a run has made, with a dead letter in it."""
    write("short.yaml", PIPELINE)
    assert cli("run", "short.yaml", *HERE).code == 0
    return Path("own.db").absolute()


def test_what_a_run_made_is_current(cli: Run, own: Path) -> None:
    assert cli("db", "current", *HERE).out == f"{', '.join(ROWS)} (current)\n"
    answer = cli("db", "history", *HERE)
    assert answer.out.splitlines()[1].split()[:2] == ["0001", "autocoder"]
    assert cli("db", "check", *HERE).code == 0
    assert "already" in cli("db", "upgrade", *HERE).err


def test_as_json(cli: Run, own: Path) -> None:
    assert json.loads(cli("db", "current", "--json", *HERE).out) == {
        "revisions": ROWS,
        "newest": sorted(heads()),
        "standing": "current",
    }
    step, *packs = json.loads(cli("db", "history", "--json", *HERE).out)
    assert all(each["applied"] for each in packs)
    assert step["revision"] == "0001" and step["applied"] is True
    assert json.loads(cli("db", "check", "--json", *HERE).out) == {"findings": []}
    assert json.loads(cli("db", "cleanup", "--dry-run", "--json", *HERE).out)["deleted"]["port_messages"] == 0


def test_one_step_down(cli: Run, own: Path) -> None:
    answer = cli("db", "downgrade", "-1", "--yes", *HERE)
    assert (answer.code, "from " in answer.err) == (0, True)
    assert cli("db", "downgrade", "--stepz", "--yes", *HERE).code != 0
    assert cli("db", "upgrade", *HERE).code == 0
    assert cli("db", "check", *HERE).code == 0


def test_down_and_up_again(cli: Run, own: Path) -> None:
    assert cli("db", "downgrade", "base", *HERE).code == 2
    answer = cli("db", "downgrade", "base", "--yes", *HERE)
    assert answer.code == 0 and f"from {', '.join(ROWS)} to nothing" in answer.err
    (copy,) = own.parent.glob(f"own.db.{'-'.join(ROWS)}.*.backup")
    assert cli("db", "verify", str(copy), *HERE).code == 0
    assert cli("db", "check", *HERE).code == 69
    assert f"from nothing to {', '.join(ROWS)}" in cli("db", "upgrade", *HERE).err
    assert cli("db", "restore", str(copy), *HERE).code == 2
    assert cli("db", "restore", str(copy), "--force", *HERE).code == 0
    with closing(sqlite3.connect(own)) as read:
        assert read.execute("SELECT count(*) FROM dead_letter_queue").fetchone() == (1,)


@pytest.mark.parametrize("name", ["copy.db", "dump.jsonl.gz"])
def test_a_backup_comes_back_elsewhere(cli: Run, own: Path, name: str) -> None:
    assert cli("db", "backup", name, *HERE).code == 0
    assert "nothing wrong" in cli("db", "verify", name, *HERE).err
    there = ("--database", "sqlite:///there.db")
    assert cli("db", "restore", name, *there).code == 0
    assert cli("db", "verify", *there).code == 0
    with closing(sqlite3.connect(own.with_name("there.db"))) as read:
        assert read.execute("SELECT count(*) FROM dead_letter_queue").fetchone() == (1,)


def test_a_schema_that_was_changed_by_hand_is_found(cli: Run, own: Path) -> None:
    with closing(sqlite3.connect(own)) as connection:
        connection.execute("DROP INDEX ix_port_messages_channel")
        connection.commit()
    answer = cli("db", "check", *HERE)
    assert answer.code == 78
    assert "ix_port_messages_channel" in answer.out


def test_garbage_in_a_row_is_found(cli: Run, own: Path) -> None:
    with closing(sqlite3.connect(own)) as connection:
        connection.execute("UPDATE port_messages SET message_data = 'garbage', created_at = 'long ago'")
        connection.commit()
    answer = cli("db", "verify", *HERE)
    assert answer.code == 1
    assert "message_data is no JSON" in answer.out and "created_at is no moment" in answer.out
    listed = cli("dlq", "list", *HERE)
    assert listed.code == 0, listed.err


def test_looking_makes_no_database(cli: Run, tmp_path: Path) -> None:
    for name in ("current", "history", "check", "verify", "cleanup"):
        answer = cli("db", name, "--database", "sqlite:///none.db")
        assert answer.code == 69
        assert "there is no database" in answer.err
    assert not Path("none.db").exists()


def test_a_newer_schema_stops_a_run(cli: Run, own: Path) -> None:
    with closing(sqlite3.connect(own)) as connection:
        connection.execute("UPDATE autocoder_schema SET version_num = '9999'")
        connection.commit()
    for command in (("run", "short.yaml"), ("db", "check"), ("db", "upgrade")):
        answer = cli(*command, *HERE)
        assert answer.code == 78
        assert "does not know (9999)" in answer.err


def test_the_password_of_a_server_is_never_shown(cli: Run) -> None:
    url = "postgresql://me:hunter22@127.0.0.1:1/nothing"
    for name in ("current", "upgrade", "verify"):
        answer = cli("db", name, "--database", url)
        assert answer.code == 69
        assert "hunter22" not in answer.out + answer.err


def test_a_server_is_looked_after_too(cli: Run, postgres_url: str, write: Write) -> None:
    at = ("--database", postgres_url.replace("postgresql+asyncpg", "postgresql"))
    assert cli("db", "upgrade", *at).code == 0
    try:
        assert cli("db", "check", *at).code == 0
        assert cli("db", "current", *at).out == f"{', '.join(ROWS)} (current)\n"
        write("short.yaml", PIPELINE)
        assert cli("run", "short.yaml", *at).code == 0
        assert cli("db", "backup", "copy.db", *at).code == 2
        assert cli("db", "backup", "dump.jsonl.gz", *at).code == 0
        assert cli("db", "verify", *at).code == 0
        assert cli("db", "cleanup", *at).code == 0
        assert cli("db", "restore", "dump.jsonl.gz", "--force", *at).code == 0
    finally:
        assert cli("db", "downgrade", "base", "--yes", *at).code == 0
