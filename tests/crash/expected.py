"""What an uninterrupted run leaves behind, as a fold puts it together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.crash.components import ATTEMPTS, Item, encoded, hopeless, poison


@dataclass
class Expected:
    """What the database holds at the end.

    `rows`: (sink, data); `dead`: (component, port, data, error, attempts); `channels`: messages ever sent over a durable
    channel, by (component, port); `state`: (component, state, key) to value; `ordered`: sinks whose rows keep the order of
    the messages; `cleaned`: retention may have deleted completed messages; `outside`: what a
    receiver outside of the database has got, each under one key, however often.
    """

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: Counter[tuple[str, str, str, str, int]] = field(default_factory=Counter)
    channels: Counter[tuple[str, str]] = field(default_factory=Counter)
    state: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    ordered: tuple[str, ...] = ()
    positions: dict[str, Any] = field(default_factory=dict)
    cleaned: bool = False
    outside: Counter[str] = field(default_factory=Counter)

    def row(self, sink: str, one: Any) -> None:
        """A row of a sink."""
        self.rows[sink, encoded(one)] += 1

    def fate(self, component: str, one: Item, shift: int = 0) -> bool:
        """Whether a message passes a component that meets its fate; a dead letter where it does not."""
        meant = Item(one.n, one.k, one.v + shift)
        if poison(meant):
            self.dead[component, "in", encoded(one), "PoisonError", 1] += 1
            return False
        if hopeless(meant):
            self.dead[component, "in", encoded(one), "FlakyError", ATTEMPTS] += 1
            return False
        return True
