"""What one epoch of a region hands to the store: plain data, written in one transaction, all of it or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from autocoder.statement import Statement

Status = Literal["pending", "processing", "completed", "failed", "dead_letter"]
Reference = int | str
RUNTIME_STATE: Final = ""
"""The name of the state that the runtime itself keeps of a component; no state of a component is called so."""


@dataclass(frozen=True, slots=True)
class Output:
    """Messages for a durable channel, encoded, in order. `keys` are their ordering keys where the channel has one."""

    source: str
    component: str
    port: str
    messages: Sequence[str]
    keys: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The rows that the messages of an output have become, in order, at `moment`.

    `before` is the last row that waited on the channel then, 0 where none did: who has taken that one may take these as they
    are, and leave out nothing.
    """

    output: Output
    seqs: Sequence[int]
    before: int
    moment: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """Messages of a durable channel that this epoch has taken: completed, unless a parked change says otherwise."""

    component: str
    port: str
    seqs: Sequence[int]


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that entered a component and did not leave it: its row, as it stands at the end of the epoch.

    `reference` is the seq of an existing row, or the handle of one that this run made. `data` is None where the payload
    cannot be kept; `details` then describes it. `identity` is what idempotency keys are made of, None where that is the row
    itself. Status `completed` means it has left after all.
    """

    reference: Reference
    component: str
    port: str
    status: Status
    data: str | None = None
    identity: str | None = None
    attempts: int = 0
    max_attempts: int = 1
    next_retry_at: datetime | None = None
    order_key: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """Changed values of one state cell by key, encoded; None was cleared."""

    component: str
    state: str
    values: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class SinkRows:
    """The statements of one batch of a database sink, which stand for so many messages.

    `single(n)` gives the statements of the nth message alone, to find the one that the database refuses; `refused(n, type,
    text)` makes of it the row that parks it (None: it is dropped). Both give the same again when a commit is repeated.
    """

    component: str
    size: int
    statements: Sequence[Statement]
    single: Callable[[int], Sequence[Statement]]
    refused: Callable[[int, str, str], Parked | None]


@dataclass(slots=True)
class EpochCommit:
    """Everything of one epoch of one region."""

    region: str
    token: int
    number: int
    positions: dict[str, Any] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    state: list[StateChange] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    sinks: list[SinkRows] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether nothing at all would be written."""
        return not (self.positions or self.settled or self.outputs or self.state or self.parked or self.sinks)
