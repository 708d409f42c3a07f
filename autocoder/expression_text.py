"""The text of a CEL expression: compiled, and asked for what it tells before it is evaluated. Knows no payloads.

The CEL library shows no syntax tree and gives maps in no order; the tokens say of which keys map literals are and whether
the whole can be a truth value.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""
      (?P<comment>//[^\n]*)
    | (?P<text>
          [bB]?[rR][bB]?(?P<raw>\"{3}|'{3}|"|').*?(?P=raw)
        | [bB]?(?P<quote>\"{3}|'{3}|"|')(?:\\.|[^\\])*?(?P=quote)
      )
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<operator>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:,.])
    """,
    re.VERBOSE | re.DOTALL,
)
_NATIVE_FUNCTIONS: Final = frozenset(
    (
        *("bytes", "contains", "double", "duration", "dyn", "endsWith", "has", "int", "matches", "size", "startsWith"),
        *("string", "timestamp", "type", "uint", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
        *("hasValue", "none", "of", "ofNonZeroValue", "optFlatMap", "optMap", "or", "orValue", "value"),
    )
)
_OPERATOR: Final = re.compile(r"[^A-Za-z]")
_SYNTAX: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_ARITHMETIC: Final = frozenset("+-*/%")
_DECIDING: Final = frozenset(("==", "!=", "<", "<=", ">", ">=", "&&", "||", "in", "?"))


@dataclass(slots=True)
class _Bracket:
    """An open bracket; of a brace the keys so far, where the next one begins, and the `?` whose `:` is no key's."""

    sign: str
    key_from: int
    in_key: bool = True
    choices: int = 0
    keys: list[str] = field(default_factory=list)


def map_keys(source: str) -> Iterator[tuple[str, ...]]:
    """The keys of each map literal of a valid expression, as they are written and in that order."""
    brackets: list[_Bracket] = []
    for token in _TOKEN.finditer(source):
        sign = token.group()
        if token["open"]:
            brackets.append(_Bracket(sign, token.end()))
        elif token["close"] and brackets:
            closed = brackets.pop()
            if closed.sign == "{" and closed.keys:
                yield tuple(closed.keys)
        elif token["operator"] and brackets and brackets[-1].sign == "{":
            top = brackets[-1]
            if sign == "," and not top.choices:
                top.in_key, top.key_from = True, token.end()
            elif sign == "?":
                top.choices += 1
            elif sign == ":" and top.choices:
                top.choices -= 1
            elif sign == ":" and top.in_key:
                top.keys.append(source[top.key_from : token.start()].strip())
                top.in_key = False


def written_maps(source: str) -> dict[frozenset[Any], tuple[Any, ...]]:
    """The keys of the expression's map literals in the order in which they are written, by the set of them.

    Keys that depend on the payload are not known; of two literals with the same keys the first one counts.
    """
    if "{" not in source:
        return {}
    found: dict[frozenset[Any], tuple[Any, ...]] = {}
    for written in map_keys(source):
        try:
            keys = tuple(dict.fromkeys(compile_source(key).execute({}) for key in written))
        except Exception:  # noqa: S112  it names a field
            continue
        found.setdefault(frozenset(keys), keys)
    return found


def is_no_condition(source: str) -> str | None:
    """What a valid expression gives for every payload, where its outermost operation shows that it is no truth value."""
    tokens = [each for each in _TOKEN.finditer(source) if not each["comment"]]
    depth = 0
    outermost: list[str] = []
    ends_at: int | None = None
    """Where the bracket closes that the expression begins with."""
    for number, token in enumerate(tokens):
        if token["close"]:
            depth -= 1
            ends_at = number if depth == 0 and ends_at is None else ends_at
        elif token["open"]:
            depth += 1
        elif depth == 0:
            outermost.append(token.group())
    if _DECIDING.intersection(outermost):
        return None
    if _ARITHMETIC.intersection(outermost):
        return "the result of a calculation"
    if tokens and ends_at == len(tokens) - 1 and not outermost:
        begin = tokens[0].group()
        if begin == "(":
            return is_no_condition(source[tokens[0].end() : tokens[-1].start()])
        return {"[": "a list", "{": "a map"}.get(begin)
    return None


def _library() -> ModuleType:
    """The CEL library, without the command line that it imports for itself: an interactive one, which takes many times as long
    as everything else of it. Who imports `cel.cli` afterwards gets it."""
    unwanted = "cel.cli"
    if "cel" not in sys.modules:
        sys.modules[unwanted] = ModuleType(unwanted)
    try:
        import cel  # noqa: PLC0415  an optional library
    finally:
        if getattr(sys.modules.get(unwanted), "__spec__", None) is None:
            sys.modules.pop(unwanted, None)
    return cel


def compile_source(source: str) -> Any:
    """The program; raises ValueError with line and column where it is none, ImportError where CEL is not installed."""
    try:
        cel = _library()
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


def extension_functions(source: str, variables: Iterable[str], functions: Iterable[str]) -> dict[str, Any]:
    """The extension functions that an expression uses, by name; raises ValueError for a function that nobody has."""
    used: dict[str, Any] = {}
    called = [name for name in functions if not _OPERATOR.match(name)]
    unknown = [name for name in called if name not in _NATIVE_FUNCTIONS]
    if not unknown and not any(name in ("sets", "math") for name in variables):
        return used
    cel = _library()
    context = cel.Context()
    cel.stdlib.add_stdlib_to_context(context)
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
