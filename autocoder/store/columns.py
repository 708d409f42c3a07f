"""Column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def now() -> datetime:
    """The time, as rows carry it."""
    return datetime.now(UTC)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """A moment: `timestamptz` on PostgreSQL, microseconds since 1970 in UTC on SQLite, where text of two forms mis-sorts."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        try:
            return _EPOCH + int(value) * _MICROSECOND
        except (
            ValueError,
            OverflowError,
        ):  # a hand wrote it, and one row must not stop the others; `db verify` finds it
            return _EPOCH


_MICROSECOND: Final = datetime.resolution


class JsonText(TypeDecorator[str]):
    """JSON that was encoded already and is given back as it was: `json` on PostgreSQL (which keeps the text), TEXT on SQLite.

    Not `jsonb`: it refuses the escape for NUL, reorders keys and rewrites numbers; a durable hop must change nothing.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(_VerbatimJson())
        return dialect.type_descriptor(sa.Text())


class _VerbatimJson(postgresql.JSON):
    """PostgreSQL's `json` without SQLAlchemy's own encoding and decoding."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class Stamp(FunctionElement[datetime]):
    """The moment by the database's clock, in the form of an `Instant`: the default of a column."""

    inherit_cache = True


@compiles(Stamp, "postgresql")
def _stamp_of_postgresql(_element: Stamp, _compiler: Any, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(Stamp, "sqlite")
def _stamp_of_sqlite(_element: Stamp, _compiler: Any, **_options: Any) -> str:
    return "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))"


class Spare(FunctionElement[str]):
    """What a column holds until the row is changed for good, of the size of what is added then: its default.

    SQLite changes a row in its place where its size stays the same, and of a long one writes only the pages that differ;
    else all of it is written anew. PostgreSQL writes rows anew in any case, but for what is long.
    """

    inherit_cache = True


SPARE_BYTES: Final = len("completed") - len("pending") + 2 * 8
"""What the completion of a message adds: a longer word, and two moments where there was NULL."""


@compiles(Spare, "postgresql")
def _spare_of_postgresql(_element: Spare, _compiler: Any, **_options: Any) -> str:
    return "NULL"


@compiles(Spare, "sqlite")
def _spare_of_sqlite(_element: Spare, _compiler: Any, **_options: Any) -> str:
    return f"'{'-' * SPARE_BYTES}'"


BigKey: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
