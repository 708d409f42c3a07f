"""What a run asks of the messages is found by an index: their number, most of them completed, costs a start nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder import ErrorPolicy, Keyed, Pipeline, RetryPolicy, Transformer
from autocoder.compatibility import IncompatibleError
from autocoder.database import open_database
from autocoder.declaration import ChannelOptions
from autocoder.store.columns import now
from autocoder.store.retention import Retention, clean_up
from autocoder.store.store import Store
from autocoder.store.tables import port_messages
from tests.store.filled import message
from tests.store.statements import Asked, asked
from tests.support import Collect, Numbers

pytestmark = pytest.mark.anyio


class Shaky(Transformer[int, int]):
    """Counts; some numbers fail, and one of them for good."""

    seen = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number)

    def process(self, number: int, /) -> int:
        self.seen.value += 1
        if number == 13 or (number % 7 == 0 and self.seen.value == 1):
            raise TimeoutError("no answer")
        return number


def pipeline(name: str = "shaky", *, old: str | None = None) -> Pipeline:
    made: Any = Pipeline("planned", every=0.05)
    numbers = made.add("numbers", Numbers(upto=30))
    options: dict[str, Any] = {"channel": ChannelOptions(durable=True), "renamed_from": old}
    policy = ErrorPolicy(RetryPolicy(attempts=2, backoff=0.01))
    made.add("out", Collect(), after=made.add(name, Shaky(), after=numbers, on_error=policy, **options))
    return made  # type: ignore[no-any-return]


def scans(file: Path, statements: Sequence[Asked]) -> list[str]:
    """The statements for which SQLite reads every row of the messages."""
    found = []
    with sqlite3.connect(file) as connection:
        for each in statements:
            if "port_messages" not in each.sql or not each.sql.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                continue
            values = each.values[0] if each.many else each.values
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {each.sql}", values):
                if step.startswith("SCAN port_messages"):
                    found.append(f"{step}: {each.sql}")
    connection.close()
    return found


async def test_no_run_reads_through_the_messages(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    url = f"sqlite:///{file}"
    await pipeline().run_async(database=url)
    async with open_database(url) as database, database.transaction() as connection:
        for status in ("pending", "failed", "processing"):
            row = message(status, pipeline="planned", target_component="shaky", message_data="8")
            await connection.execute(sa.insert(port_messages).values(row))
        await connection.execute(sa.insert(port_messages).values(message("completed", completed_at=now())))
    with asked() as statements:
        await pipeline().run_async(database=url)
    assert sum("port_messages" in each.sql for each in statements) > 5
    assert scans(file, statements) == []


async def test_nor_does_a_start_that_forgets(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    url = f"sqlite:///{file}"
    await pipeline().run_async(database=url)
    with asked() as statements:
        await pipeline().run_async(database=url, restart=True)
    assert (
        sum(each.sql.startswith("DELETE FROM port_messages") for each in statements) >= 2
    )  # and one of the clean-up at the end
    assert scans(file, statements) == []


async def test_neither_does_a_rename_that_was_done_nor_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    url = f"sqlite:///{file}"
    await pipeline().run_async(database=url)
    await pipeline("new", old="shaky").run_async(database=url)
    with asked() as statements:
        await pipeline("new", old="shaky").run_async(database=url)
        with pytest.raises(IncompatibleError):
            await pipeline("third").run_async(database=url)
    assert scans(file, statements) == []


async def test_nor_does_the_clean_up(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    await pipeline().run_async(database=f"sqlite:///{file}")
    async with open_database(f"sqlite:///{file}") as database:
        with asked() as statements:
            for dry_run in (True, False):
                await clean_up(database, Retention(), moment=now() + timedelta(days=30), dry_run=dry_run)
    assert any(each.sql.startswith("DELETE FROM port_messages") for each in statements)
    assert scans(file, statements) == []


async def test_nor_do_waiting_and_parked(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    await pipeline().run_async(database=f"sqlite:///{file}")
    async with open_database(f"sqlite:///{file}") as database:
        store = Store(database, "planned")
        with asked() as statements:
            await store.waiting("shaky", "in", 0, 10)
            await store.backlog("shaky", "in")
            for only_pending in (True, False):
                await store.parked(after=0, components=["shaky"], only_pending=only_pending)
    assert len([each for each in statements if "port_messages" in each.sql]) == 4
    assert scans(file, statements) == []
