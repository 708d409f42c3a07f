"""The end of a component's input, kept with what the component emitted for it, so that it is told once.

A later run, also one after a crash, reaches the same end again without a message in between; only one that brought the
component something new makes it finish again. The mark is a reserved row of the component's state, in the very epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from autocoder.store.epoch import RUNTIME_STATE, StateChange

FINISH: Final = "finish"


class Ending:
    """The ends of one component: that of each input of a merger (by its port), and that of all (`FINISH`)."""

    def __init__(self, component: str) -> None:
        self._component = component
        self._times: dict[str, int] = {}
        self._over: set[str] = set()
        self._changed: set[str] = set()

    def load(self, rows: Mapping[str, str]) -> None:
        """Take over what an earlier run has kept."""
        for name, data in rows.items():
            mark = json.loads(data)
            self._times[name] = mark["times"]
            if mark["over"]:
                self._over.add(name)

    def is_over(self, name: str) -> bool:
        """Whether this end was told, and nothing was taken since."""
        return name in self._over

    @property
    def told_ports(self) -> set[str]:
        """The inputs of a merger that has not finished whose ends were told."""
        return set() if FINISH in self._over else set(self._over)

    def tell(self, name: str) -> int:
        """This end is being told; returns how often it was before, which is part of the identity of what is emitted."""
        before = self._times.get(name, 0)
        self._times[name] = before + 1
        self._over.add(name)
        self._changed.add(name)
        return before

    def took(self, port: str) -> None:
        """The component takes something from a port: its end is to come, and once it has finished, every end."""
        if not self._over:
            return
        again = set(self._over) if FINISH in self._over else self._over & {port}
        self._over -= again
        self._changed |= again

    def take_changes(self) -> list[StateChange]:
        """What changed since the last barrier."""
        if not self._changed:
            return []
        marks = {name: {"times": self._times[name], "over": name in self._over} for name in sorted(self._changed)}
        self._changed.clear()
        return [StateChange(self._component, RUNTIME_STATE, {name: json.dumps(mark) for name, mark in marks.items()})]
