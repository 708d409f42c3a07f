"""Reads values of known shape out of a YAML tree, collecting every problem on the way.

A reader answers None where a value is missing or was refused; the problem is then already noted, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from autocoder.durations import parse_duration
from autocoder.errors import Place, Problem, did_you_mean
from autocoder.yaml_document import Entry, MappingNode, Node, ScalarNode, SequenceNode, show

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
Scalar = str | int | float | bool | None
T = TypeVar("T")
_DIGITS: Final = re.compile(r"\s*[-+]?[0-9]{1,18}(_[0-9]{1,18})*\s*")
_TRUTH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class _UnfitError(Exception):
    """A value is not what is wanted."""

    def __init__(self, wanted: str, cure: str | None = None) -> None:
        super().__init__(wanted)
        self.wanted, self.cure = wanted, cure


@dataclass(slots=True)
class Reader:
    """Collects problems while a tree is read."""

    problems: list[Problem] = field(default_factory=list)

    def refuse(self, place: Place, what: str, found: str | None = None, cure: str | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(place, what, found, cure))

    def keys(self, node: Node, known: Iterable[str], of: str) -> dict[str, Entry]:
        """The entries of a mapping by key; anything else, and unknown keys, are refused."""
        names = list(known)
        if not isinstance(node, MappingNode):
            if not is_unresolved(node):
                self.refuse(node.place, f"{of} must be a mapping", show(node), f"its keys: {', '.join(names)}")
            return {}
        for entry in node:
            if entry.key not in names:
                self.refuse(
                    entry.place,
                    f"{of} has no key {entry.key!r}",
                    cure=did_you_mean(entry.key, names, plural="known keys"),
                )
        return {entry.key: entry for entry in node if entry.key in names}

    def text(self, entry: Entry | None, *, empty: bool = False) -> str | None:
        """A text, not empty unless `empty`."""

        def convert(value: Scalar) -> str:
            if not isinstance(value, str):
                raise _UnfitError("text", "put it in quotes" if value is not None else None)
            if not value and not empty:
                raise _UnfitError("a text that is not empty")
            return value

        return self._value(entry, convert)

    def choice(self, entry: Entry | None, choices: Sequence[str]) -> str | None:
        """One of several words."""

        def convert(value: Scalar) -> str:
            if not isinstance(value, str) or value not in choices:
                near = did_you_mean(str(value), choices)
                raise _UnfitError(" or ".join(choices), near if near.startswith("did you mean") else None)
            return value

        return self._value(entry, convert)

    def integer(self, entry: Entry | None, *, least: int = 1) -> int | None:
        """A whole number of at least `least`; text of digits too, for a variable gives text."""

        def convert(value: Scalar) -> int:
            number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise _UnfitError(f"a whole number of at least {least}")
            return number

        return self._value(entry, convert)

    def boolean(self, entry: Entry | None) -> bool | None:
        """true or false; the usual words too, for a variable gives text."""

        def convert(value: Scalar) -> bool:
            truth = _TRUTH.get(value.strip().lower()) if isinstance(value, str) else value
            if not isinstance(truth, bool):
                raise _UnfitError("true or false")
            return truth

        return self._value(entry, convert)

    def duration(self, entry: Entry | None, *, zero: bool = True) -> float | None:
        """Seconds, from `100ms`, `1s`, `2m`, `1h` or a number; not zero unless `zero`."""

        def convert(value: Scalar) -> float:
            try:
                seconds = parse_duration(value)
            except ValueError as error:
                raise _UnfitError(str(error).removeprefix("must be ")) from error
            if not seconds and not zero:
                raise _UnfitError("longer than zero")
            return seconds

        return self._value(entry, convert)

    def texts(self, entry: Entry | None) -> tuple[str, ...] | None:
        """A text or a list of texts."""
        if entry is None:
            return None
        if not isinstance(entry.value, SequenceNode):
            one = self.text(entry)
            return None if one is None else (one,)
        found = [self.text(Entry(entry.key, item.place, item)) for item in entry.value.items]
        return tuple(each for each in found if each is not None)

    def name(self, entry: Entry) -> bool:
        """Whether a key is a name that other places can refer to."""
        if NAME.fullmatch(entry.key):
            return True
        self.refuse(
            entry.place, "a name is made of letters, digits, _ and -, and does not start with a digit", repr(entry.key)
        )
        return False

    def _value(self, entry: Entry | None, convert: Callable[[Scalar], T]) -> T | None:
        if entry is None or is_unresolved(entry.value):
            return None
        try:
            # A collection is as wrong as nothing at all; the message shows which it was.
            return convert(entry.value.value if isinstance(entry.value, ScalarNode) else None)
        except _UnfitError as error:
            is_empty = isinstance(entry.value, ScalarNode) and entry.value.value is None
            place = entry.place if is_empty else entry.value.place
            self.refuse(place, f"{entry.key}: must be {error.wanted}", show(entry.value), error.cure)
            return None


def is_unresolved(node: Node) -> bool:
    """Whether a value could not be determined, and was reported."""
    return isinstance(node, ScalarNode) and node.unresolved


def value_of(entries: Mapping[str, Entry], key: str) -> Node | None:
    """The value of a key, None where it is absent."""
    entry = entries.get(key)
    return entry.value if entry is not None else None
