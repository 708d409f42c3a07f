"""One loop for neighbouring plain components: each message goes through all of them before the next one starts.

A loop for each component would cost a list and an iteration per component and message: three trivial operators take a
fifth longer that way. The loop is written out by chain length, since the interpreter inlines a call that it sees, and
`map` or a loop over the calls would hide it. A method is called as the function that it is, with its object: taking both
out of the bound method again for each message would cost three per cent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import length_hint
from types import MethodType
from typing import Any

from autocoder.faults import Fault, faults

Call = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that raised: of which component of the chain, for what it was given."""

    position: int
    item: Any
    error: Fault


@dataclass(frozen=True, slots=True)
class FusedLoop:
    """The loop over a chain of components of which some (`optional`) may give None for "no message"."""

    optional: tuple[bool, ...]
    _function: Callable[..., tuple[Fault | None, Any, Sequence[int]]]
    _arguments: Sequence[Any]
    _position_of_line: Mapping[int, int]

    def __call__(self, messages: Iterator[Any], out: list[Any]) -> tuple[Sequence[int], Failure | None]:
        """Take messages until one call raises or there are no more; what leaves the chain is appended to `out`.

        Returns how many messages entered each component, and what failed. The iterator stands behind the message that
        failed.
        """
        before, given = length_hint(messages), len(out)
        error, item, drops = self._function(messages, out, *self._arguments)
        failure = None
        if error is not None:
            line = error.__traceback__.tb_lineno if error.__traceback__ is not None else 0
            failure = Failure(self._position_of_line[line], item, error)
        return self._entered(before - length_hint(messages), drops, len(out) - given, failure), failure

    def _entered(self, first: int, drops: Sequence[int], left: int, failure: Failure | None) -> Sequence[int]:
        """Forward from what entered the chain up to the last component that drops, backward from what left it to there."""
        failed_at = len(self.optional) if failure is None else failure.position
        entered = [first]
        for position, dropped in enumerate(drops):
            entered.append(entered[-1] - dropped - (failed_at == position))
        for position in range(len(drops) + 1, len(self.optional)):
            entered.append(left + (failure is not None and failed_at >= position))
        return entered


def fused_loop(calls: Sequence[Call], optional: Sequence[bool]) -> FusedLoop:
    """The loop for a chain of calls; `optional` says of each whether it may give None."""
    methods = tuple(type(call) is MethodType for call in calls)
    arguments = [part for call in calls for part in _parts(call)]
    function, position_of_line = _loop(methods, tuple(optional))
    return FusedLoop(tuple(optional), function, arguments, position_of_line)


def _parts(call: Call) -> tuple[Any, ...]:
    return (call.__func__, call.__self__) if isinstance(call, MethodType) else (call,)


@cache
def _loop(methods: tuple[bool, ...], optional: tuple[bool, ...]) -> tuple[Callable[..., Any], Mapping[int, int]]:
    """The function for chains of one form, and at which of its lines which component is called."""
    # Counting costs a new number for each message dropped; what the last one drops follows from the rest.
    counted = optional[: _last(optional)]
    given = [f"call{at}, self{at}" if is_method else f"call{at}" for at, is_method in enumerate(methods)]
    called = [f"call{at}(self{at}, item)" if is_method else f"call{at}(item)" for at, is_method in enumerate(methods)]
    lines = [
        f"def loop(messages, out, {', '.join(given)}):",
        "    item = None",
        *(f"    drops{number} = 0" for number, drops in enumerate(counted) if drops),
        "    try:",
        "        for item in messages:",
    ]
    position_of_line: dict[int, int] = {}
    for number, drops in enumerate(optional):
        position_of_line[len(lines) + 1] = number
        if drops:
            lines += [
                f"            item = {called[number]}",
                "            if item is None:",
                *([f"                drops{number} += 1"] if number < len(counted) else []),
                "                continue",
            ]
        elif number < len(optional) - 1:
            lines.append(f"            item = {called[number]}")
        else:
            lines.append(f"            out.append({called[number]})")
    if optional[-1]:
        lines.append("            out.append(item)")
    drops_of = "".join(f"{f'drops{number}' if drops else 0}, " for number, drops in enumerate(counted))
    lines += [
        "    except faults() as error:",
        f"        return error, item, ({drops_of})",
        f"    return None, None, ({drops_of})",
    ]
    space: dict[str, Any] = {"faults": faults}
    exec("\n".join(lines), space)  # noqa: S102  fixed words and numbers, as dataclasses and namedtuples are made
    return space["loop"], position_of_line


def _last(optional: tuple[bool, ...]) -> int:
    """The position of the last component that may drop messages; of the last one where none does."""
    return next((at for at in reversed(range(len(optional))) if optional[at]), len(optional) - 1)
