"""Expressions of a pipeline: text in CEL, checked when the pipeline is configured, evaluated over one payload a time.

Knows CEL and payloads, nothing of components. Nothing here is Python code to evaluate: CEL has no side effects, no
loops and no access to anything but the payload.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import difflib
import enum
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping, Set
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from autocoder.expression_text import compile_source, extension_functions, is_no_condition, written_maps

WHOLE: Final = "payload"

_BARE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOLDERS: Final = (dict, list)
_LITERALS: Final = frozenset(("true", "false", "null"))
_UNDEFINED: Final = re.compile(r"Undefined variable or function: '([^']*)'")
_FAILED_FUNCTION: Final = re.compile(r"Function '([A-Za-z0-9_.]+)'")


class ExpressionError(ValueError):
    """An expression could not be evaluated over a payload: names the expression and the fields, never their values."""


class Expression:
    """A CEL expression over a payload: `amount > 100.0 && currency == 'EUR'`.

    The fields of the payload (dict keys, or the fields of a dataclass, pydantic model or named tuple) are variables;
    `payload` is the payload as a whole. Enums stand for their values; Decimal is read as double; UUIDs, paths, dates
    and times of day are strings; sets are lists. An expression that is nothing but a field name gives the field as it
    is. Maps have their keys in the order in which they are written, or in that of the payload; where neither tells (a key
    that is computed), they are sorted, for CEL itself keeps no order. Beyond CEL's own functions there are those of the
    `strings`, `math`, `sets`, `lists` and `base64` extensions (`lowerAscii`, `split`, `math.greatest`, ...). CEL mixes no
    int with double in arithmetic: write `double(n) * 1.5`.

    Raises ValueError with line, column and what was expected when `source` is no valid expression, and ImportError with
    the cure when the extra `cel` is not installed.
    """

    __slots__ = ("_bare", "_convert", "_execute", "_functions", "_maps", "_names", "_wanted", "_whole", "source")

    _noun: ClassVar[str] = "expression"

    def __init__(self, source: str) -> None:
        self.source = source
        program = compile_source(source)
        references = program.references()
        self._functions = extension_functions(source, references["variables"], references["functions"])
        namespaces = {name.partition(".")[0] for name in self._functions if "." in name}
        self._names = tuple(name for name in references["variables"] if name not in namespaces and name != WHOLE)
        self._whole = WHOLE in references["variables"]
        self._execute = program.execute
        self._maps = written_maps(source)
        bare = source.strip()
        self._bare = bare if _BARE_NAME.fullmatch(bare) and bare not in _LITERALS else None
        # Whether a payload was met that CEL cannot read as it is; from then on values are converted before the call.
        self._convert = False
        self._wanted: dict[type, tuple[str, ...]] = {}

    def __call__(self, payload: Any, /) -> Any:
        """The value of the expression over `payload`; raises ExpressionError."""
        if self._bare is not None:
            return self._field(payload, self._bare)
        return self._value(self._variables(payload), payload)

    def over(self, variables: Mapping[str, Any], /) -> Any:
        """The value over variables given by name, `payload` being one like the others; raises ExpressionError."""
        if self._bare is not None and self._bare in variables:
            return variables[self._bare]
        wanted = (*self._names, WHOLE) if self._whole else self._names
        found = {name: variables[name] for name in wanted if name in variables}
        return self._value({**found, **self._functions}, variables)

    def _value(self, variables: dict[str, Any], payload: Any) -> Any:
        try:
            if not self._convert:
                given = self._execute(variables)
                return given if type(given) not in _HOLDERS else self._in_order(given, variables)
        except ValueError:  # the one thing CEL raises it for here: a value of a type it does not know
            self._convert = True
        except Exception as error:
            raise self._explained(error, payload, variables) from None
        plain = {
            name: self._plain_field(name, value) for name, value in variables.items() if name not in self._functions
        }
        try:
            given = self._execute({**plain, **self._functions})
        except Exception as error:
            raise self._explained(error, payload, plain) from None
        return given if type(given) not in _HOLDERS else self._in_order(given, plain)

    def _in_order(self, given: Any, variables: Mapping[str, Any]) -> Any:
        """The same value, the keys of each map in order."""
        if type(given) is list:
            return [each if type(each) not in _HOLDERS else self._in_order(each, variables) for each in given]
        order: Iterable[Any] | None = self._maps.get(frozenset(given))
        if order is None:
            order = _order_in(variables, given.keys()) or sorted(given, key=str)
        return {
            key: each if type(each := given[key]) not in _HOLDERS else self._in_order(each, variables) for key in order
        }

    def _variables(self, payload: Any) -> dict[str, Any]:
        if isinstance(payload, dict):
            found = {name: payload[name] for name in self._names if name in payload}
        else:
            kind = type(payload)
            wanted = self._wanted.get(kind)
            if wanted is None:
                fields = set(field_names(payload))
                wanted = self._wanted[kind] = tuple(name for name in self._names if name in fields)
            found = {name: getattr(payload, name) for name in wanted}
        if self._whole:
            found[WHOLE] = payload
        if self._functions:
            found.update(self._functions)
        return found

    def _field(self, payload: Any, name: str) -> Any:
        if name == WHOLE:
            return payload
        if isinstance(payload, dict):
            if name in payload:
                return payload[name]
        elif name in field_names(payload):
            return getattr(payload, name)
        raise self._unknown(name, payload)

    def _plain_field(self, name: str, value: Any) -> Any:
        try:
            return _plain(value)
        except TypeError as error:
            raise ExpressionError(f"expression {self.source!r} cannot read {name!r}: {error}") from None

    def _unknown(self, name: str, payload: Any) -> ExpressionError:
        known = field_names(payload)
        if not known and not isinstance(payload, dict):
            return ExpressionError(
                f"expression {self.source!r} uses {name!r}, but the payload is {_kind_name(payload)} and has no "
                f"fields; write {WHOLE!r} for the payload as a whole"
            )
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return ExpressionError(
            f"expression {self.source!r} uses {name!r}, which the payload does not have; its fields are "
            f"{_listed(known)}{hint}"
        )

    def _explained(self, error: Exception, payload: Any, variables: Mapping[str, Any]) -> ExpressionError:
        """What went wrong, without the text of `error` where that might hold a value of the payload."""
        said = str(error)
        undefined = _UNDEFINED.search(said)
        is_called = undefined is not None and re.search(rf"\b{re.escape(undefined[1])}\s*\(", self.source) is not None
        if undefined and not is_called:
            return self._unknown(undefined[1], payload)
        if undefined:
            reason = f"there is no function {undefined[1]!r} for what it is given"
        elif isinstance(error, KeyError):
            key = str(error.args[0]).strip("'\"") if error.args else ""
            reason = f"there is no key {key!r} in what it reads" if key and key in self.source else "a key is missing"
            reason += "; test with has(...) first"
        elif isinstance(error, IndexError):
            reason = "an index is beyond the end of a list"
        elif isinstance(error, ZeroDivisionError):
            reason = "division by zero"
        elif isinstance(error, OverflowError):
            reason = "a number is too large for CEL's 64 bits"
        elif isinstance(error, TypeError):
            said = said.partition(". CEL")[0].partition(":")[2].strip() or "an operation on types that it is not for"
            reason = f"{said}; CEL converts nothing by itself, write int(x), double(x) or string(x)"
        else:
            failed = _FAILED_FUNCTION.search(said)
            reason = f"function {failed[1]!r} refused its argument" if failed else f"{type(error).__name__} in CEL"
        read = {name: value for name, value in variables.items() if name not in self._functions}
        types = ", ".join(f"{name} is {_kind_name(value)}" for name, value in read.items())
        return ExpressionError(f"expression {self.source!r} failed: {reason}" + (f" ({types})" if types else ""))

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.source,))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"], "description": f"a CEL {cls._noun} over the payload's fields"}

    @classmethod
    def _validated(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, bool):  # YAML reads `where: true` and `value: 1` as values, not as text
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = repr(value)
        if not isinstance(value, str):
            raise ValueError(f"an expression is text, found {_kind_name(value)}; put it in quotes")  # noqa: TRY004  pydantic's way
        try:
            return cls(value)
        except ImportError as error:
            raise ValueError(str(error)) from error

    def __str__(self) -> str:
        return self.source


class Condition(Expression):
    """An expression that gives true or false: `amount > 100.0 && currency == 'EUR'`.

    Raises ValueError where `source` gives something else whatever the payload, as `12`, `'EUR'`, `[amount]` and
    `amount + 1` do; what depends on the payload, such as a field alone, is judged when it is tested.
    """

    __slots__ = ()
    _noun: ClassVar[str] = "condition"

    def __init__(self, source: str) -> None:
        super().__init__(source)
        given = None if self._bare is not None else self._always() or is_no_condition(source)
        if given is not None:
            raise ValueError(
                f"{source!r} gives {given}, but a condition must give true or false; compare it, as in: amount > 100.0"
            )

    def test(self, payload: Any, /) -> bool:
        """Whether the condition is met; raises ExpressionError where the value is neither true nor false."""
        return self._truth(self(payload))

    def test_over(self, variables: Mapping[str, Any], /) -> bool:
        """The same over variables given by name."""
        return self._truth(self.over(variables))

    def _truth(self, value: Any) -> bool:
        if value is True or value is False:
            return value
        raise ExpressionError(
            f"expression {self.source!r} gives {_kind_name(value)}, but a condition must give true or false"
        )

    def _always(self) -> str | None:
        """What is no truth value, and the same for every payload: evaluated over none at all."""
        try:
            value = self._execute(dict(self._functions))
        except Exception as error:
            if self._names or self._whole:
                return None
            return f"no value ({self._explained(error, {}, {})})"
        return None if isinstance(value, bool) else _kind_name(value)


def field_names(payload: Any) -> tuple[str, ...]:
    """The names under which an expression sees the parts of a payload; none for a number, a string or a list."""
    if isinstance(payload, Mapping):
        return tuple(name for name in payload if isinstance(name, str))
    kind = type(payload)
    if isinstance(payload, BaseModel):
        return (*kind.model_fields, *kind.model_computed_fields)
    if dataclasses.is_dataclass(kind):
        return tuple(each.name for each in dataclasses.fields(kind))
    if isinstance(payload, tuple):
        return tuple(getattr(kind, "_fields", ()))
    return ()


def _order_in(value: Any, keys: Set[Any]) -> Iterable[Any] | None:
    """The order of `keys` in a map of exactly these somewhere in `value`, None where there is none."""
    if isinstance(value, Mapping):
        if value.keys() == keys:
            return value
        value = value.values()
    elif not isinstance(value, list | tuple):
        return None
    return next((found for each in value if (found := _order_in(each, keys)) is not None), None)


_ATOMS: Final = (str, int, float, bool, type(None), bytes, datetime.datetime, datetime.timedelta)


def _plain(value: Any) -> Any:
    """A value in types that CEL reads; raises TypeError that names the type, never the value."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return {name: _plain(getattr(value, name)) for name in field_names(value)}
    if isinstance(value, list | tuple | Set):
        return [_plain(item) for item in value]
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, uuid.UUID | pathlib.PurePath):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value if isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, _ATOMS):  # a subclass, such as a str with a name of its own
        return value
    raise TypeError(f"expressions know no {_kind_name(value)}; emit plain data instead")


def _kind_name(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _listed(names: Iterable[str], most: int = 20) -> str:
    known = cast("list[str]", sorted(names))
    if not known:
        return "none at all"
    return ", ".join(known[:most]) + (", ..." if len(known) > most else "")
