"""State that a component declares: one typed value, or one value for each key, committed with the epoch that changed it.

The handler sees plain attributes; the runtime brackets every message with `begin` and, where the handler raised,
`rollback`, so that a failed message leaves no trace. Only changed keys are handed on for writing.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Final, Generic, Self, overload

from typing_extensions import TypeVar

T = TypeVar("T")

_MISSING: Final = object()
_ATOMS: Final = (int, float, str, bytes, bool, type(None), complex)


class Cell(Generic[T]):
    """The state of one component under one name: values by key, and what the message at hand changed."""

    __slots__ = ("_absent", "_default", "_touched", "_undo", "_values", "kept", "key", "keyed", "type")

    def __init__(self, type: type[T] | Any, default: Callable[[], T], *, keyed: bool = True) -> None:
        self.type = type
        self.key = ""
        self.keyed = keyed
        self.kept = False
        """Whether the value outlives the run, because there is a store."""
        self._default = default
        self._values: dict[str, Any] = {}
        self._undo: dict[str, Any] = {}
        self._touched: set[str] = set()
        self._absent: set[str] = set()

    @property
    def value(self) -> T:
        """The value under the key of the message being handled (the default where there is none yet)."""
        key = self.key
        found = self._values.get(key, _MISSING)
        if found is _MISSING:
            found = self._default()
            if not _is_atom(found):
                self._undo.setdefault(key, _MISSING)
                self._values[key] = found
                self._touched.add(key)
        elif key not in self._undo and not _is_atom(found):
            # A mutable value may be changed in place without our noticing: keep a copy to go back to.
            self._undo[key] = copy.deepcopy(found)
            self._touched.add(key)
        return found  # type: ignore[no-any-return]

    @value.setter
    def value(self, value: T) -> None:
        key = self.key
        if key not in self._undo:
            self._undo[key] = self._values.get(key, _MISSING)
        self._values[key] = value
        self._touched.add(key)

    def clear(self) -> None:
        """Forget the value under the current key."""
        if self.key not in self._undo:
            self._undo[self.key] = self._values.get(self.key, _MISSING)
        self._values.pop(self.key, None)
        self._absent.add(self.key)
        self._touched.add(self.key)

    def keys(self) -> list[str]:
        """Every key that has a value; for `finish`, which the runtime calls with all of them in memory."""
        return list(self._values)

    def begin(self, key: str) -> None:
        """A message with this key starts; a plain value has none."""
        if self.keyed:
            self.key = key
        if self._undo:
            self._undo.clear()

    def rollback(self) -> None:
        """The message failed: put back what it changed."""
        for key, value in self._undo.items():
            if value is _MISSING:
                self._values.pop(key, None)
                self._absent.add(key)
            else:
                self._values[key] = value
        self._undo.clear()

    def reset(self) -> None:
        """Forget everything: a run begins."""
        self._values.clear()
        self._undo.clear()
        self._touched.clear()
        self._absent.clear()

    def knows(self, key: str) -> bool:
        """Whether the value of a key is in memory, or known not to be stored."""
        return key in self._values or key in self._absent

    def preload(self, found: dict[str, Any], asked: Iterable[str]) -> None:
        """Take values from the store; what is in memory already is newer and stays."""
        for key, value in found.items():
            if key not in self._absent:  # cleared, and not yet committed
                self._values.setdefault(key, value)
        self._absent.update(key for key in asked if key not in self._values)

    def keep_only(self, most: int, recent: set[str]) -> None:
        """Drop from memory what is stored and was not touched lately, where there is more than `most`."""
        if len(self._values) > most:
            self._values = {key: value for key, value in self._values.items() if key in recent or key == ""}
        if len(self._absent) > most:
            self._absent = {key for key in self._absent if key in recent}

    def take_changes(self) -> dict[str, Any]:
        """What changed since the last call, by key; `MISSING` values were cleared. Called where a barrier passes."""
        changes = {key: self._values.get(key, MISSING) for key in self._touched}
        # What is written down now is no longer absent: once it has left memory it has to be fetched again.
        self._absent.difference_update(key for key, value in changes.items() if value is not MISSING)
        self._touched.clear()
        return changes


MISSING: Final = _MISSING


class _Declared(Generic[T]):
    """A state declaration on a component class; each instance gets a cell of its own."""

    @overload
    def __init__(self: _Declared[T], type: type[T], *, default: T) -> None: ...
    @overload
    def __init__(self: _Declared[T], type: type[T], *, default_factory: Callable[[], T]) -> None: ...
    @overload
    def __init__(
        self: _Declared[Any], type: UnionType, *, default: Any = ..., default_factory: Callable[[], Any] | None = ...
    ) -> None: ...
    def __init__(self, type: Any, *, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None) -> None:
        if (default is _MISSING) == (default_factory is None):
            raise TypeError("give either default=... or default_factory=... to a state declaration")
        self.type = type
        self._factory: Callable[[], T] = default_factory or _copier(default)
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Cell[T]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Cell[T]:
        if instance is None:
            return self
        # Not a data descriptor: the cell in the instance's own dict answers every later access.
        cell: Cell[T] = instance.__dict__.setdefault(
            self.name, Cell(self.type, self._factory, keyed=isinstance(self, Keyed))
        )
        return cell


class Value(_Declared[T]):
    """One value of a component: `seen = Value(int, default=0)`, read and written as `self.seen.value`."""


class Keyed(_Declared[T]):
    """A value for each key: `total = Keyed(float, default=0.0)`; the component's `key(payload)` says which."""


def cells_of(component: object) -> dict[str, Cell[Any]]:
    """Every state cell of a component instance by name, plain and keyed."""
    return {name: getattr(component, name) for name, each in declared_state(type(component)).items()}


def declared_state(owner: type) -> dict[str, _Declared[Any]]:
    """The state declarations of a component class, inherited ones included."""
    found: dict[str, _Declared[Any]] = {}
    for base in reversed(owner.__mro__):
        found.update({name: each for name, each in vars(base).items() if isinstance(each, _Declared)})
    return found


def _copier(default: T) -> Callable[[], T]:
    return (lambda: default) if _is_atom(default) else (lambda: copy.deepcopy(default))


def _is_atom(value: object) -> bool:
    """Whether a value cannot be changed in place, so that no copy is needed to go back to it."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return False
