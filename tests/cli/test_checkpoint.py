"""`autocoder checkpoint`: savepoints from the command line; and a start on a pipeline that was changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.cli.answer import Run, Write

SUMS = """
    from autocoder import Transformer, Value


    class Sum(Transformer[int, int]):
        \"\"\"The total so far.\"\"\"

        total = Value(int, default=0)

        def process(self, number: int, /) -> int:
            self.total.value += number
            return self.total.value
"""
PIPELINE = """
    pipeline: sums
    components:
      numbers: {use: parts:Numbers, with: {upto: 30}}
      sum: {use: sums:Sum, from: numbers}
      show: {use: parts:Show, from: sum}
"""


@pytest.fixture(params=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest, project: Path) -> Iterator[list[str]]:
    """The option that names an empty database: none for the project's own file."""
    if request.param == "sqlite":
        yield []
        return
    server, name = make_url(request.getfixturevalue("postgres_url")), f"test_{uuid4().hex[:12]}"
    anyio.run(execute, server, f"CREATE DATABASE {name}")
    url = server.set(drivername="postgresql", database=name)
    yield ["--database", url.render_as_string(hide_password=False)]
    anyio.run(execute, server, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(server: URL, statement: str) -> None:
    """One statement, outside of a transaction."""
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


def test_there_and_back(cli: Run, write: Write, database: list[str]) -> None:
    write("sums.py", SUMS)
    write("sums.yaml", PIPELINE)
    assert cli("run", "sums.yaml", *database).code == 0
    saved = cli("checkpoint", "save", "first", "--expires", "7d", "--json", *database)
    data = json.loads(saved.out)
    assert (saved.code, data["name"], data["positions"], data["values"]) == (0, "first", 1, 1)
    write("sums.yaml", PIPELINE.replace("30", "40"))
    assert cli("run", "sums.yaml", *database).out.split()[-1] == str(sum(range(40)))
    asked = cli("checkpoint", "restore", "first", *database)
    assert asked.code == 2 and "--yes" in asked.err
    restored = cli("checkpoint", "restore", "first", "--yes", "--pipeline", "sums.yaml", *database)
    assert restored.code == 0 and "not undone" in restored.err
    shown = json.loads(cli("checkpoint", "show", "first", "--json", *database).out)
    assert (shown["positions"], shown["state"]) == ({"numbers": 30}, {"sum.total": 1})
    now = json.loads(cli("checkpoint", "show", "--json", *database).out)
    assert now == {**shown, "savepoint": None}
    assert cli("run", "sums.yaml", *database).out.split()[-1] == str(sum(range(40)))
    assert "first" in cli("checkpoint", "list", *database).out
    assert cli("checkpoint", "save", "for-ever", "--expires", "99999999999999d", *database).code == 0
    assert "for-ever" in cli("checkpoint", "list", *database).out
    assert cli("checkpoint", "delete", "for-ever", "--yes", *database).code == 0
    broken = cli("checkpoint", "save", os.fsdecode(b"fir\xffst"), *database)
    assert broken.code == 2 and "holds what is no character" in broken.err
    assert cli("checkpoint", "delete", "first", "--yes", *database).code == 0
    assert json.loads(cli("checkpoint", "list", "--json", *database).out) == {"savepoints": []}


def test_what_is_not_there(cli: Run) -> None:
    assert cli("checkpoint", "list").code == 69
    cli("run", "demo.yaml")
    missing = cli("checkpoint", "restore", "nothing", "--yes")
    assert missing.code == 2 and "has no savepoint 'nothing'" in missing.err
    unknown = cli("checkpoint", "save", "x", "--pipeline", "dmo")
    assert unknown.code == 2 and "did you mean 'demo'?" in unknown.err


def test_an_incompatible_start_is_refused_with_what_changed(cli: Run, write: Write) -> None:
    write("sums.py", SUMS)
    write("sums.yaml", PIPELINE)
    cli("run", "sums.yaml")
    write("sums.yaml", PIPELINE.replace("sum:", "total:").replace("from: sum}", "from: total}"))
    refused = cli("run", "sums.yaml")
    assert refused.code == 78
    assert "component 'sum' is gone" in refused.err and "renamed_from: sum" in refused.err
    assert "cannot go on with what the database holds of it: 1 problem" in refused.err
    renamed = PIPELINE.replace("sum: {", "total: {renamed_from: sum, ").replace("from: sum}", "from: total}")
    write("sums.yaml", renamed.replace("30", "40"))
    assert cli("run", "sums.yaml").out.split()[-1] == str(sum(range(40)))
