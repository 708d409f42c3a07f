"""Columns and values: what the fields of a payload become in a table, on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import types
import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import sqlalchemy as sa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

NATIVE: Final = (
    bool,
    int,
    float,
    str,
    bytes,
    datetime.datetime,
    datetime.date,
    datetime.time,
    decimal.Decimal,
    uuid.UUID,
    type(None),
)


class UtcDateTime(TypeDecorator[datetime.datetime]):
    """A moment, kept in UTC: SQLite has no time zones. A datetime without zone is taken as UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        if not isinstance(value, datetime.datetime):
            return value
        return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


class _TextOnSqlite(TypeDecorator[Any]):
    """A type of PostgreSQL that SQLite keeps as text, exactly."""

    impl = sa.Text
    cache_ok = True
    native: TypeEngine[Any]

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else self.native)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return str(value) if value is not None and dialect.name == "sqlite" else value


class ExactDecimal(_TextOnSqlite):
    """A number with all its digits; SQLite would make a float of it."""

    cache_ok = True
    native = sa.Numeric()


class PlainUuid(_TextOnSqlite):
    """A UUID, with its dashes."""

    cache_ok = True
    native = sa.Uuid()


class AsItIs(TypeDecorator[Any]):
    """A value for a column of a table that we did not make: given in the form that its driver takes."""

    impl = sa.types.NullType
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        if isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=False)
        if dialect.name != "sqlite":
            return value
        if isinstance(value, datetime.datetime):
            if value.tzinfo is not None:
                value = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return value.isoformat(" ", "microseconds")
        if isinstance(value, datetime.date | datetime.time | decimal.Decimal | uuid.UUID):
            return str(value)
        return value


JSON: Final = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


@dataclasses.dataclass(frozen=True, slots=True)
class ColumnKind:
    """How a field is kept: the type of its column, and the Python types of the values that it takes."""

    name: str
    sql: TypeEngine[Any]
    takes: tuple[type, ...]


INTEGER: Final = ColumnKind("a whole number", sa.BigInteger(), (int,))
_FLOAT: Final = ColumnKind("a number", sa.Double(), (float, int))
_JSON: Final = ColumnKind("JSON", JSON, (dict, list, str, int, float, bool))
_KINDS: Final[dict[type, ColumnKind]] = {
    bool: ColumnKind("true or false", sa.Boolean(), (bool,)),
    int: INTEGER,
    float: _FLOAT,
    str: ColumnKind("text", sa.Text(), (str,)),
    bytes: ColumnKind("bytes", sa.LargeBinary(), (bytes,)),
    datetime.datetime: ColumnKind("a moment", UtcDateTime(), (datetime.datetime,)),
    datetime.date: ColumnKind("a date", sa.Date(), (datetime.date,)),
    datetime.time: ColumnKind("a time of day", sa.Time(), (datetime.time,)),
    decimal.Decimal: ColumnKind("a decimal", ExactDecimal(), (decimal.Decimal, int)),
    uuid.UUID: ColumnKind("a UUID", PlainUuid(), (uuid.UUID,)),
    pathlib.PurePath: ColumnKind("text", sa.Text(), (str,)),
    datetime.timedelta: ColumnKind("seconds", sa.Double(), (float,)),
}


def row_of(payload: Any, only: Sequence[str] | None = None) -> dict[str, Any]:
    """A payload as a row: values that a driver knows, and JSON data for everything nested; raises ValueError.

    With `only` the other fields are not looked at: they may hold what no table takes.
    """
    if isinstance(payload, Mapping):
        fields: Iterable[tuple[str, Any]] = payload.items()
    else:
        names = field_names(type(payload))
        if not names:
            raise ValueError(
                f"a payload of type {type(payload).__name__} has no fields to make a row of; "
                f"put a component in front that makes a dict of it, such as flow.Map"
            )
        fields = ((name, getattr(payload, name)) for name in names)
    if only is not None:
        fields = [(name, value) for name, value in fields if name in only]
    return {str(name): value if type(value) in NATIVE else _native(name, value) for name, value in fields}


def _native(name: str, value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _native(name, value.value)
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, NATIVE):
        return value
    if hasattr(value, "get_secret_value"):
        raise ValueError(f"field {name!r} is a secret and is not written to a table; leave it out with columns: [...]")
    try:
        return to_jsonable_python(value, bytes_mode="base64")
    except Exception:  # whatever it says, it may quote the value
        raise ValueError(f"field {name!r} holds a {type(value).__name__}, which is no JSON") from None


def field_names(kind: type) -> tuple[str, ...]:
    """The fields of a payload type; none where it has no fields of its own, as a dict."""
    if issubclass(kind, BaseModel):
        return tuple(kind.model_fields)
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    return tuple(getattr(kind, "_fields", ())) if issubclass(kind, tuple) else ()


def kinds_of(payloads: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, ColumnKind]:
    """A column for each field of these payloads: by the annotations of their class, or by the values of dicts.

    Raises ValueError for a field that holds values of several types.
    """
    kind = type(payloads[0])
    names = field_names(kind)
    hints = typing.get_type_hints(kind) if names else {}
    found: dict[str, ColumnKind] = {}
    for name in dict.fromkeys([*names, *(name for row in rows for name in row)]):
        by_hint = _kind_of_hint(hints[name]) if name in hints else None
        found[name] = by_hint or _kind_of_values(name, [row[name] for row in rows if row.get(name) is not None])
    return found


def _kind_of_hint(hint: Any) -> ColumnKind | None:
    """The column for an annotation; None where it says nothing (Any, object)."""
    if get_origin(hint) is Annotated:
        return _kind_of_hint(get_args(hint)[0])
    if isinstance(hint, typing.NewType):
        return _kind_of_hint(hint.__supertype__)
    if get_origin(hint) in (Union, types.UnionType, Literal):
        is_literal = get_origin(hint) is Literal
        members = [type(each) if is_literal else each for each in get_args(hint) if each not in (None, type(None))]
        kinds = [_kind_of_hint(each) for each in members]
        return _united(kinds) or _JSON
    if hint in (Any, object) or isinstance(hint, typing.TypeVar):
        return None
    if not isinstance(hint, type):
        return _JSON
    if issubclass(hint, enum.Enum):
        return _united([_kind_of_hint(type(member.value)) for member in hint]) or _JSON
    return next((_KINDS[base] for base in hint.__mro__ if base in _KINDS), _JSON)


def _kind_of_values(name: str, values: Sequence[Any]) -> ColumnKind:
    if not values:
        return _KINDS[str]
    kind = _united([_kind_of_hint(type(value)) for value in values])
    if kind is None:
        found = " and ".join(sorted({type(value).__name__ for value in values}))
        raise ValueError(f"field {name!r} holds {found}, so its column has no type; create the table yourself")
    return kind


def _united(kinds: Sequence[ColumnKind | None]) -> ColumnKind | None:
    """The one kind that takes the values of all of these, or None."""
    different = list(dict.fromkeys(kinds))
    if len(different) == 1:
        return different[0]
    return _FLOAT if set(different) == {INTEGER, _FLOAT} else None
