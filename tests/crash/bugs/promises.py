"""Bugs of what a component is promised: its order, and that its state is rolled back, and cleared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autocoder.runtime.memory import StateMemory
from autocoder.runtime.pool_stage import PoolStage
from autocoder.runtime.worker import Worker
from tests.crash.planting import bug, substitute


@bug("I8", "ordered")
def pool_out_of_order() -> None:
    """Results leave an ordered component as they come."""
    begin = PoolStage.__init__

    def beginning(self: PoolStage, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self._ordered = False

    substitute(PoolStage, "__init__", beginning)


@bug("I1", "keyed splitter")
def no_rollback() -> None:
    """A message that fails leaves what it changed in state."""
    substitute(Worker, "rollback", lambda _: None)


@bug("I1", "splitter fanout", "none random")
def clearing_forgotten() -> None:
    """State that was cleared stays in the store."""
    take = StateMemory.take_changes

    def taking(self: StateMemory) -> list[Any]:
        changes = take(self)
        return [replace(c, values={k: v for k, v in c.values.items() if v is not None}) for c in changes]

    substitute(StateMemory, "take_changes", taking)
