"""Reads from annotations how a handler is called and what it gives, and refuses one that contradicts its ports."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin

from autocoder.errors import ComponentDefinitionError
from autocoder.port import fits, type_name

_SYNC_MANY: Final = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
)
_ASYNC_MANY: Final = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


class Shape(StrEnum):
    """How many payloads one call gives."""

    ONE = "one"
    OPTIONAL = "one or none"
    MANY = "any number"


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler as its annotations describe it: `Ticket -> Iterator[Passage]`."""

    name: str
    shape: Shape
    is_async: bool


class UnresolvedHints(Exception):  # noqa: N818  never leaves the package
    """A name in an annotation does not exist yet; reading is put off until the component is used."""


def hints_of(function: Callable[..., Any], local: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a function; raises UnresolvedHints where a name in them does not exist (yet)."""
    try:
        return typing.get_type_hints(function, localns=dict(local), include_extras=True)
    except NameError as error:
        raise UnresolvedHints(str(error)) from error


def read_handler(
    owner: type, name: str, *, takes: Any, gives: Any, local: Mapping[str, Any], before: tuple[str, ...] = ()
) -> Handler:
    """How `owner.name` handles one payload of type `takes` and gives payloads of type `gives`.

    `before` names the parameters that come before the payload (and after self).
    """
    function = _function(owner, name)
    hints = hints_of(function, local)
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    where = f"{owner.__qualname__}.{name}"
    if len(parameters) != 1 + len(before):
        raise ComponentDefinitionError(
            f"{where} must take exactly one payload; found {len(parameters)} parameters; "
            f"write `def {name}({', '.join(('self', *before))}, payload: {type_name(takes)}, /)`"
        )
    declared = hints.get(parameters[-1].name, Any)
    if not fits(takes, declared):
        raise ComponentDefinitionError(
            f"{where} takes {type_name(declared)}, but its port carries {type_name(takes)}; make them the same"
        )
    if "return" not in hints:
        raise ComponentDefinitionError(
            f"{where} has no return annotation; write `-> {type_name(gives)}`, `-> {type_name(gives)} | None` "
            f"to drop some, or `-> Iterator[{type_name(gives)}]` to emit several"
        )
    return _shape(where, name, function, hints["return"], gives)


def _shape(where: str, name: str, function: Callable[..., Any], returned: Any, gives: Any) -> Handler:
    is_generator = inspect.isasyncgenfunction(function)
    is_coroutine = inspect.iscoroutinefunction(function)
    origin = get_origin(returned) or returned
    if origin in _ASYNC_MANY and not is_coroutine:
        _must_fit(where, _element(returned), gives)
        return Handler(name, Shape.MANY, is_async=True)
    if is_generator:
        raise ComponentDefinitionError(f"{where} is an async generator; write `-> AsyncIterator[{type_name(gives)}]`")
    if origin in _SYNC_MANY and not fits(returned, gives):
        _must_fit(where, _element(returned), gives)
        return Handler(name, Shape.MANY, is_async=is_coroutine)
    if inspect.isgeneratorfunction(function):
        raise ComponentDefinitionError(f"{where} is a generator; write `-> Iterator[{type_name(gives)}]`")
    if get_origin(returned) in (Union, types.UnionType) and type(None) in get_args(returned):
        rest = tuple(each for each in get_args(returned) if each is not type(None))
        _must_fit(where, Union[rest], gives)
        return Handler(name, Shape.OPTIONAL, is_async=is_coroutine)
    if returned is None or returned is type(None):
        raise ComponentDefinitionError(
            f"{where} returns None, so nothing would ever leave it; return {type_name(gives)}, or make it a Sink"
        )
    _must_fit(where, returned, gives)
    return Handler(name, Shape.ONE, is_async=is_coroutine)


def _must_fit(where: str, returned: Any, gives: Any) -> None:
    if not fits(returned, gives):
        raise ComponentDefinitionError(
            f"{where} returns {type_name(returned)}, but its output is {type_name(gives)}; return "
            f"{type_name(gives)}, `{type_name(gives)} | None` to drop some, or Iterator[{type_name(gives)}] to emit several"
        )


def _element(hint: Any) -> Any:
    arguments = get_args(hint)
    return arguments[0] if arguments else Any


def read_batch_handler(owner: type, name: str, *, takes: Any, gives: Any, local: Mapping[str, Any]) -> Handler:
    """How `owner.name` handles a whole batch: `Sequence[In] -> Sequence[Out]`, plain or async."""
    function = _function(owner, name)
    hints = hints_of(function, local)
    where = f"{owner.__qualname__}.{name}"
    parameters = [each for each in inspect.signature(function).parameters if each != "self"]
    given, returned = hints.get(parameters[0], Any) if len(parameters) == 1 else None, hints.get("return")
    wanted = f"`def {name}(self, batch: Sequence[{type_name(takes)}], /) -> Sequence[{type_name(gives)}]`"
    if given is None or returned is None or get_origin(returned) not in (collections.abc.Sequence, list):
        raise ComponentDefinitionError(f"{where} must take and return a sequence of payloads; write {wanted}")
    if given is not Any and not fits(takes, _element(given)):
        raise ComponentDefinitionError(f"{where} takes {type_name(given)}; write {wanted}")
    _must_fit(where, _element(returned), gives)
    return Handler(name, Shape.MANY, is_async=inspect.iscoroutinefunction(function))


def is_overridden(owner: type, base: type, name: str) -> bool:
    """Whether a class says something of its own under `name`."""
    return getattr(owner, name, None) is not getattr(base, name, None)


def _function(owner: type, name: str) -> Callable[..., Any]:
    function = getattr(owner, name, None)
    if not callable(function):
        raise ComponentDefinitionError(f"{owner.__qualname__} has no method {name}; {_HOW.get(name, 'write one')}")
    return typing.cast("Callable[..., Any]", function)


_HOW: Final = {
    "process": "write `def process(self, payload, /)`, called once for each message",
    "read": "write `async def read(self, resume, /)`, yielding Batch(payloads, resume=position)",
    "write": "write `async def write(self, batch, /)`, called with a sequence of payloads",
}
