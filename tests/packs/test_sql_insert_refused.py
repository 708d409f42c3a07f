"""sql.Insert and values that a database cannot take: what happens to the message, to the others and to the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.sql import DatabaseError, Insert
from pydantic import SecretStr

from autocoder import Batch, Pipeline, Source
from autocoder.database import Database, open_database

pytestmark = pytest.mark.anyio


class Words(Source[Any]):
    """Words in batches as they are given, each with its number."""

    batches: list[list[str]]

    def read(self, resume: int | None, /) -> Iterator[Batch[Any]]:
        number = 0
        for words in self.batches:
            rows = [{"id": number + at, "word": word} for at, word in enumerate(words)]
            number += len(words)
            yield Batch(rows, resume=number)


@pytest.mark.parametrize("batches", [[["\ud800", "good", "better"]], [["\ud800"], ["good"], ["better"]]])
async def test_a_table_is_made_though_the_first_rows_for_it_are_refused(
    database: Database, batches: list[list[str]]
) -> None:
    pipeline = Pipeline("words", messages=1)
    words = pipeline.add("words", Words(batches=batches))
    pipeline.add("table", Insert(table="t", key="id", create_table=True), after=words)
    summary = await pipeline.run_async(database=database.options)
    assert summary.components["table"].dead_letters == 1
    async with database.reading() as connection:
        found = await connection.execute(sa.text("SELECT word FROM t ORDER BY id"))
        assert [row[0] for row in found] == ["good", "better"]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_whole_number_of_more_than_64_bits_is_its_messages_fault(number: int) -> None:
    insert = Insert(table="t", create_table=True, database="sqlite:///other.db")
    insert.statements([{"n": 2**63 - 1}, {"n": -(2**63)}, {"n": None}])
    with pytest.raises(ValueError, match="column 'n' of table 't' takes a whole number of 64 bits, found a larger one"):
        insert.statements([{"n": number}])


@pytest.mark.parametrize("value", [2**63, "\ud800"])
async def test_what_the_driver_of_another_database_refuses_names_the_table(tmp_path: Path, value: Any) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    async with open_database(url) as other, other.transaction() as connection:
        await connection.execute(sa.text("CREATE TABLE t (n)"))
    insert = Insert(table="t", database=url)
    await insert.open()
    insert.statements([{"n": value}])
    with pytest.raises(DatabaseError, match="table 't' of sqlite:"):
        await insert.flush()
    await insert.close()


@dataclass
class Account:
    id: int
    note: Any
    password: SecretStr


def test_columns_leave_a_secret_out(tmp_path: Path) -> None:
    account = Account(1, object(), SecretStr("hunter2"))
    with pytest.raises(ValueError, match=r"is a secret .* leave it out with columns: \[...\]"):
        Insert(table="t").statements([Account(1, None, SecretStr("hunter2"))])
    made = list(Insert(table="t", columns=["id"], create_table=True).statements([account]))
    assert made[-1].rows == [{"id": 1}]
