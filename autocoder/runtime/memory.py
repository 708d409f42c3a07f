"""State between the store and the cells: fetched for the keys of a batch in one query, written back when changed.

State may be larger than memory: what was not touched in the epochs under way is dropped from memory when there is much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from autocoder.codec import Codec, PayloadError
from autocoder.errors import AutocoderError
from autocoder.state import MISSING, Cell
from autocoder.store.epoch import StateChange
from autocoder.store.store import Store

MOST_KEYS: Final = 100_000
EPOCHS_UNDER_WAY: Final = 3


class DamagedStateError(AutocoderError):
    """What the database holds as state of a component is none; nothing was changed."""


class UnstorableStateError(AutocoderError):
    """A value that a component keeps as state cannot be stored; nothing of the epoch was written."""


class StateMemory:
    """The state of one component in a durable run."""

    def __init__(self, store: Store, component: str, cells: dict[str, Cell[Any]], codecs: dict[str, Codec]) -> None:
        self._store = store
        self._component = component
        self._cells = cells
        self._codecs = codecs
        self._touched: deque[set[str]] = deque(maxlen=EPOCHS_UNDER_WAY)
        for cell in cells.values():
            cell.kept = True

    async def load_plain(self) -> None:
        """Bring the values that have no key into memory; called before the first message."""
        await self.load([""])

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are not in memory."""
        return [key for key in keys if any(cell.keyed and not cell.knows(key) for cell in self._cells.values())]

    async def load(self, keys: list[str] | None) -> None:
        """Bring these keys into memory (None: every key), with one query for each cell."""
        for name, cell in self._cells.items():
            found = await self._store.state(self._component, name, keys)
            cell.preload({key: self._decoded(name, key, data) for key, data in found.items()}, keys or ())

    def _decoded(self, name: str, key: str, data: str) -> Any:
        try:
            return self._codecs[name].decode(data)
        except ValueError:  # which quotes the value
            raise DamagedStateError(
                f"{self._where(name, key)}: what is stored is no value of its type, or was edited by hand; "
                f"mend it in the table component_state, go back with `autocoder checkpoint restore`, or run with --restart"
            ) from None

    def _encoded(self, name: str, key: str, value: Any) -> str | None:
        try:
            return None if value is MISSING else self._codecs[name].encode(value)
        except PayloadError as error:
            said = str(error).replace("payload", "value", 1)
            raise UnstorableStateError(
                f"{self._where(name, key)}: {said}; what was processed since the last commit is given again by the next run"
            ) from error

    def _where(self, name: str, key: str) -> str:
        where = f"pipeline {self._store.pipeline!r}, component {self._component!r}, state {name!r}"
        return where + (f", key {key!r}" if key else "")

    def take_changes(self) -> list[StateChange]:
        """What changed since the last barrier, encoded; raises UnstorableStateError."""
        changes: list[StateChange] = []
        touched: set[str] = set()
        for name, cell in self._cells.items():
            values = cell.take_changes()
            touched.update(values)
            if values:
                encoded = {key: self._encoded(name, key, value) for key, value in values.items()}
                changes.append(StateChange(self._component, name, encoded))
        self._touched.append(touched)
        for cell in self._cells.values():
            cell.keep_only(MOST_KEYS, set().union(*self._touched))
        return changes
