"""What a run did, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """Messages of one component: `taken` from its inputs (read, for a source), `given` to its outputs.

    `dropped` counts what the handler dropped by returning None, what an error policy dropped, and what a full channel in
    front of it dropped. Each dead letter is one message.
    """

    kind: str
    taken: int
    given: int
    dropped: int
    dead_letters: int
    retried: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A whole run; `duration` is in seconds."""

    pipeline: str
    components: Mapping[str, ComponentSummary]
    duration: float
    drained: bool = False

    @property
    def dead_letters(self) -> int:
        return sum(each.dead_letters for each in self.components.values())

    @property
    def did_nothing(self) -> bool:
        """Whether no component took or gave anything; what an earlier run left under way counts as something."""
        return not any(each.taken or each.given or each.dead_letters for each in self.components.values())

    @property
    def messages_in(self) -> int:
        """Messages that sources read and inboxes received."""
        return sum(each.given for each in self.components.values() if each.kind in ("source", "inbox"))

    @property
    def messages_out(self) -> int:
        """Messages that sinks took, without their dead letters and drops."""
        return sum(
            each.taken - each.dead_letters - each.dropped for each in self.components.values() if each.kind == "sink"
        )
