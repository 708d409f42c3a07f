"""State between the store and the cells: fetched for the keys of a batch in one query, written back when changed.

State may be larger than memory: what was not touched in the epochs under way is dropped from memory when there is much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from autocoder.codec import Codec
from autocoder.state import MISSING, Cell
from autocoder.store.epoch import StateChange
from autocoder.store.store import Store

if TYPE_CHECKING:
    from autocoder.runtime.unit import Worker

MOST_KEYS: Final = 100_000
EPOCHS_UNDER_WAY: Final = 3


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
        """Load the values that have no key; called before the first message."""
        await self._load([""])

    def fetch(self, unit: Worker, port: str, items: list[Any]) -> Generator[Awaitable[Any], None, None]:
        """Bring the keys of these messages into memory; one query where any is missing."""
        if not unit.node.contract.keyed:
            return
        keys: set[str] = set()
        for item in items:
            with suppress(Exception):  # a key that cannot be told fails the message when its turn comes
                keys.add(unit.key_of(port, item))
        missing = [key for key in keys if any(cell.keyed and not cell.knows(key) for cell in self._cells.values())]
        if missing:
            yield self._load(missing)

    def fetch_all(self, unit: Worker) -> Generator[Awaitable[Any], None, None]:
        """Bring every key into memory, for a component that looks at all of them when its input ends."""
        if unit.node.contract.keyed:
            yield self._load(None)

    async def _load(self, keys: list[str] | None) -> None:
        for name, cell in self._cells.items():
            found = await self._store.state(self._component, name, keys)
            decode = self._codecs[name].decode
            cell.preload({key: decode(data) for key, data in found.items()}, keys or ())

    def take_changes(self) -> list[StateChange]:
        """What changed since the last barrier, encoded."""
        changes: list[StateChange] = []
        touched: set[str] = set()
        for name, cell in self._cells.items():
            values = cell.take_changes()
            touched.update(values)
            if values:
                encode = self._codecs[name].encode
                encoded = {key: None if value is MISSING else encode(value) for key, value in values.items()}
                changes.append(StateChange(self._component, name, encoded))
        self._touched.append(touched)
        for cell in self._cells.values():
            cell.keep_only(MOST_KEYS, set().union(*self._touched))
        return changes
