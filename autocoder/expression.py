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
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Final, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

WHOLE: Final = "payload"

_NATIVE_FUNCTIONS: Final = frozenset(
    (
        *("bytes", "contains", "double", "duration", "dyn", "endsWith", "has", "int", "matches", "size", "startsWith"),
        *("string", "timestamp", "type", "uint", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
        *("hasValue", "none", "of", "ofNonZeroValue", "optFlatMap", "optMap", "or", "orValue", "value"),
    )
)
_OPERATOR: Final = re.compile(r"[^A-Za-z]")
_BARE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LITERALS: Final = frozenset(("true", "false", "null"))
_SYNTAX: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_UNDEFINED: Final = re.compile(r"Undefined variable or function: '([^']*)'")
_FAILED_FUNCTION: Final = re.compile(r"Function '([A-Za-z0-9_.]+)'")


class ExpressionError(ValueError):
    """An expression could not be evaluated over a payload: names the expression and the fields, never their values."""


class Expression:
    """A CEL expression over a payload: `amount > 100.0 && currency == 'EUR'`.

    The fields of the payload (dict keys, or the fields of a dataclass, pydantic model or named tuple) are variables;
    `payload` is the payload as a whole. Enums stand for their values; Decimal is read as double; UUIDs, paths, dates
    and times of day are strings; sets are lists. An expression that is nothing but a field name gives the field as it
    is. Beyond CEL's own functions there are those of the `strings`, `math`, `sets`, `lists` and `base64` extensions
    (`lowerAscii`, `split`, `math.greatest`, ...). CEL mixes no int with double in arithmetic: write `double(n) * 1.5`.

    Raises ValueError with line, column and what was expected when `source` is no valid expression, and ImportError with
    the cure when the extra `cel` is not installed.
    """

    __slots__ = ("_bare", "_convert", "_execute", "_functions", "_names", "_wanted", "_whole", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        program = _compile(source)
        references = program.references()
        self._functions = _extension_functions(source, references["variables"], references["functions"])
        namespaces = {name.partition(".")[0] for name in self._functions if "." in name}
        self._names = tuple(name for name in references["variables"] if name not in namespaces and name != WHOLE)
        self._whole = WHOLE in references["variables"]
        self._execute = program.execute
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
                return self._execute(variables)
        except ValueError:  # the one thing CEL raises it for here: a value of a type it does not know
            self._convert = True
        except Exception as error:
            raise self._explained(error, payload, variables) from None
        plain = {
            name: self._plain_field(name, value) for name, value in variables.items() if name not in self._functions
        }
        try:
            return self._execute({**plain, **self._functions})
        except Exception as error:
            raise self._explained(error, payload, plain) from None

    def test(self, payload: Any, /) -> bool:
        """The same for a condition; raises ExpressionError where the value is neither true nor false."""
        return self._truth(self(payload))

    def test_over(self, variables: Mapping[str, Any], /) -> bool:
        """`over` for a condition."""
        return self._truth(self.over(variables))

    def _truth(self, value: Any) -> bool:
        if value is True or value is False:
            return value
        raise ExpressionError(
            f"expression {self.source!r} gives {_kind_name(value)}, but a condition must give true or false"
        )

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
        if undefined:
            return self._unknown(undefined[1], payload)
        if isinstance(error, KeyError):
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
        return (Expression, (self.source,))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"], "description": "a CEL expression over the payload's fields"}

    def __str__(self) -> str:
        return self.source


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


def _validated(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, bool):  # YAML reads `where: true` and `value: 1` as values, not as text
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = repr(value)
    if not isinstance(value, str):
        raise ValueError(f"an expression is text, found {_kind_name(value)}; put it in quotes")  # noqa: TRY004  pydantic's way
    try:
        return Expression(value)
    except ImportError as error:
        raise ValueError(str(error)) from error


def _compile(source: str) -> Any:
    try:
        import cel  # noqa: PLC0415  an optional library
    except ImportError as error:
        raise ImportError("expressions need the CEL library; run: pip install 'autocoder[cel]'") from error
    if not source.strip():
        raise ValueError("the expression is empty; write a condition such as: amount > 100.0")
    try:
        return cel.compile(source)
    except ValueError as error:
        found = _SYNTAX.search(str(error))
        if found is None:
            raise ValueError(f"{source!r} is no CEL expression") from None
        line, column, what = found.groups()
        raise ValueError(f"{source!r} is no CEL expression: line {line}, column {column}: {_expected(what)}") from None


def _expected(what: str) -> str:
    """The parser's complaint in words: `mismatched input 'x' expecting {...}` says the same with token names."""
    found, _, expecting = what.partition(" expecting ")
    found = re.sub(r"^(mismatched|extraneous) input ", "found ", found).replace("'<EOF>'", "the end of the expression")
    if not expecting:
        return found
    if "IDENTIFIER" in expecting and "NUM_INT" in expecting:
        expecting = "a value, a field or '('"
    return f"{found}, expected {expecting.replace('<EOF>', 'an operator or the end of the expression')}"


def _extension_functions(source: str, variables: Iterable[str], functions: Iterable[str]) -> dict[str, Any]:
    """The extension functions that an expression uses, by name; raises ValueError for a function that nobody has."""
    from cel import Context, stdlib  # noqa: PLC0415  an optional library

    used: dict[str, Any] = {}
    called = [name for name in functions if not _OPERATOR.match(name)]
    unknown = [name for name in called if name not in _NATIVE_FUNCTIONS]
    if not unknown and not any(name in ("sets", "math") for name in variables):
        return used
    context = Context()
    stdlib.add_stdlib_to_context(context)
    extensions = context.functions
    dotted = {name: f"{space}.{name}" for name in called for space in variables if f"{space}.{name}" in extensions}
    for name in called:
        if name in dotted:
            used[dotted[name]] = _discreet(extensions[dotted[name]])
        elif name in extensions and name not in _NATIVE_FUNCTIONS:
            used[name] = _discreet(extensions[name])
        elif name not in _NATIVE_FUNCTIONS:
            near = difflib.get_close_matches(name, [*extensions, *_NATIVE_FUNCTIONS], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see the functions of CEL and its extensions"
            raise ValueError(f"{source!r} calls the function {name!r}, which does not exist; {hint}")
    return used


def _discreet(function: Callable[..., Any]) -> Callable[..., Any]:
    """An extension function whose error says nothing of its arguments: the CEL library logs what it raises."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise ValueError(f"refused its arguments ({type(error).__name__})") from None

    return call


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
