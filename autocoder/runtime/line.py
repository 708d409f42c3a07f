"""Order for each key where messages fail: what comes behind one that will be tried again waits until that is settled.

It concerns components that say the key of a message, and inputs whose channel names one; others go on past a failed message.
What waits is parked like any message that has entered a component and not left it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio

from autocoder.faults import faults


class Line:
    """The lines of one component: for each key with a failed message at its head, what waits behind it."""

    def __init__(self, key: Callable[[str, Any], str]) -> None:
        self._key = key
        self._behind: dict[str, deque[Callable[[], None]]] = {}
        self._since: dict[str, float] = {}

    def key(self, port: str, item: Any) -> str | None:
        """The key of a message; None where it cannot be told, over which the message fails in its own time."""
        try:
            return self._key(port, item)
        except faults():
            return None

    def is_held(self, key: str | None) -> bool:
        """Whether a message of this key will be tried again."""
        return key in self._behind

    def lead(self, key: str | None) -> None:
        """A message of this key failed and will be tried again: the others wait for it."""
        if key is not None and key not in self._behind:
            self._behind[key] = deque()
            self._since[key] = anyio.current_time()

    def wait(self, key: str, go: Callable[[], None]) -> None:
        """Another message of a key whose line is held: `go` is called when its turn has come."""
        self._behind[key].append(go)

    def go_on(self, key: str | None) -> None:
        """The head of the line is settled, one way or the other: the next one is the head, if anybody waits."""
        if key is None or key not in self._behind:
            return
        if self._behind[key]:
            self._behind[key].popleft()()
        else:
            del self._behind[key], self._since[key]

    @property
    def age(self) -> float:
        """For how many seconds the oldest of the lines has been held."""
        return anyio.current_time() - min(self._since.values()) if self._since else 0.0
