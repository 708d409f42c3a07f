"""INSERT ... ON CONFLICT as one statement for both databases: which dialect it is shows when it is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert


class Upsert(Insert):
    """Insert rows, or update the row of equal `key`; `columns` are those that the rows have.

    Both dialects have an `insert()` of their own for that, but a sink makes its statements before it knows the dialect.
    Each row is a statement of its own to both drivers, so a batch may hold the same key twice: the last one stays.
    """

    inherit_cache = False  # the key and columns are no part of an Insert's cache key; compiling is once a batch

    def __init__(self, table: sa.TableClause, key: Sequence[str], columns: Sequence[str]) -> None:
        super().__init__(table)
        self.key = tuple(key)
        self.others = tuple(name for name in columns if name not in self.key)


@compiles(Upsert)
def _compile_upsert(upsert: Upsert, compiler: SQLCompiler, **options: Any) -> str:
    quote = compiler.preparer.quote
    key = ", ".join(quote(name) for name in upsert.key)
    action = "NOTHING"
    if upsert.others:
        action = "UPDATE SET " + ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in upsert.others)
    insert: str = compiler.visit_insert(upsert, **options)  # type: ignore[no-untyped-call]
    return f"{insert} ON CONFLICT ({key}) DO {action}"
