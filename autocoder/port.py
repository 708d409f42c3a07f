"""Ports: the declared, typed inputs and outputs of a component, and when one fits another."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, Union, get_args, get_origin, is_typeddict, overload

from typing_extensions import TypeVar

from autocoder.message import Emission

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class _Port(Generic[T]):
    """What inputs and outputs have in common; the name is the attribute it is assigned to."""

    @overload
    def __init__(self: _Port[T], type: type[T], *, name: str = "") -> None: ...
    @overload
    def __init__(self: _Port[Any], type: Any, *, name: str = "") -> None: ...
    def __init__(self, type: Any, *, name: str = "") -> None:
        self.type = type
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type_name(self.type)}, name={self.name!r})"


class In(_Port[T]):
    """A named input of a Merger: `left = In(Order)`, handled by `on_left`."""


class Out(_Port[T]):
    """A named output of a Splitter: `urgent = Out(Ticket)`; calling it emits a payload there."""

    def __call__(self, payload: T, /) -> Emission:
        return Emission(self.name, payload)


def type_name(hint: Any) -> str:
    """A type as a person would write it, without module names."""
    if hint is None or hint is type(None):
        return "None"
    if hint is Any:
        return "Any"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if origin is Literal:
        return "Literal[" + ", ".join(repr(argument) for argument in arguments) + "]"
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is not None:
        inner = ", ".join("..." if argument is Ellipsis else type_name(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', str(origin))}[{inner}]"
    return getattr(hint, "__name__", None) or str(hint)


def fits(produced: Any, consumed: Any) -> bool:
    """Whether every payload of type `produced` may be given to a port of type `consumed`.

    Read-only view: containers are covariant, since a payload is never changed once it was emitted. An `Any` on either
    side fits. The rules are those of PEP 484 as far as run-time types can tell; a TypeVar stands for its bound.
    """
    produced, consumed = _plain(produced), _plain(consumed)
    if produced is Any or consumed in (Any, object) or produced == consumed:
        return True
    if get_origin(produced) in (Union, types.UnionType):
        return all(fits(member, consumed) for member in get_args(produced))
    if get_origin(consumed) in (Union, types.UnionType):
        return any(fits(produced, member) for member in get_args(consumed))
    if get_origin(produced) is Literal:
        values = get_args(produced)
        if get_origin(consumed) is Literal:
            return set(values) <= set(get_args(consumed))
        return all(fits(type(value), consumed) for value in values)
    if get_origin(consumed) is Literal:
        return False
    if is_typeddict(produced) or is_typeddict(consumed):
        return _typed_dict_fits(produced, consumed)
    produced_class, consumed_class = get_origin(produced) or produced, get_origin(consumed) or consumed
    if not (isinstance(produced_class, type) and isinstance(consumed_class, type)):
        return False
    if not _subclass(produced_class, consumed_class):
        return False
    wanted, given = get_args(consumed), get_args(produced)
    if not wanted or not given or (produced_class is not consumed_class and len(given) != len(wanted)):
        return True
    if produced_class is tuple:
        return _tuple_fits(given, wanted)
    return len(given) == len(wanted) and all(fits(one, other) for one, other in zip(given, wanted, strict=True))


def _plain(hint: Any) -> Any:
    """Without Annotated, NewType and type aliases; a TypeVar becomes its bound, constraint union or Any."""
    while True:
        if hint is None:
            return type(None)
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or (Union[hint.__constraints__] if hint.__constraints__ else Any)
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _subclass(produced: type, consumed: type) -> bool:
    if (consumed is float and produced is int) or (consumed is complex and produced in (int, float)):
        return True
    try:
        return issubclass(produced, consumed)
    except TypeError:  # a protocol that is not runtime checkable cannot be judged here; the type checkers do
        return True


def _typed_dict_fits(produced: Any, consumed: Any) -> bool:
    if not is_typeddict(produced):
        return False
    if is_typeddict(consumed):
        given, wanted = typing.get_type_hints(produced), typing.get_type_hints(consumed)
        return all(name in given and fits(given[name], hint) for name, hint in wanted.items())
    target = get_origin(consumed) or consumed
    return target in (dict, Mapping, collections.abc.MutableMapping, object)


def _tuple_fits(given: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    if len(wanted) == 2 and wanted[1] is Ellipsis:
        return all(fits(each, wanted[0]) for each in given if each is not Ellipsis)
    if len(given) == 2 and given[1] is Ellipsis:
        return False
    return len(given) == len(wanted) and all(fits(one, other) for one, other in zip(given, wanted, strict=True))


def type_variables(hint: Any) -> set[Any]:
    """The TypeVars that occur in a hint."""
    if isinstance(hint, typing.TypeVar):
        return {hint}
    found: set[Any] = set()
    for argument in get_args(hint):
        found |= type_variables(argument)
    return found


def bind(hint: Any, given: Any, bindings: dict[Any, Any]) -> None:
    """Learn from a produced type what the TypeVars of an input's hint stand for; different ones make a union."""
    if isinstance(hint, typing.TypeVar):
        known = bindings.get(hint, given)
        bindings[hint] = known if fits(given, known) else given if fits(known, given) else Union[known, given]
        return
    inner, arguments = get_args(hint), get_args(given)
    if inner and len(inner) == len(arguments):
        for one, other in zip(inner, arguments, strict=True):
            bind(one, other, bindings)


def substitute(hint: Any, bindings: Mapping[Any, Any]) -> Any:
    """The hint with its TypeVars replaced; an unbound one becomes its default, its bound, or Any."""
    if isinstance(hint, typing.TypeVar):
        if hint in bindings:
            return bindings[hint]
        default = getattr(hint, "__default__", None)
        return default if default is not None and _is_default(default) else _plain(hint)
    if not type_variables(hint):
        return hint
    arguments = tuple(substitute(argument, bindings) for argument in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return Union[arguments]
    return hint.copy_with(arguments) if hasattr(hint, "copy_with") else get_origin(hint)[arguments]


def _is_default(default: Any) -> bool:
    return type(default).__name__ not in ("NoDefaultType", "NoDefault")
