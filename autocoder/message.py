"""What travels: batches of payloads from sources, emissions from splitters, and the markers between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple

from typing_extensions import TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A piece of input that could not become a payload. `place` says where it stands (`file:line`), for a person."""

    raw: Any
    error: Exception
    place: str | None = None


class Batch(Generic[T_co]):
    """What a source yields: payloads, and the position to resume from once everything up to here is committed.

    `resume` is any JSON value; it is given back to `Source.read` after a restart. `rejected` are the pieces of input
    that are no payloads; the source's error policy decides about each, the payloads go on.
    """

    __slots__ = ("payloads", "rejected", "resume")

    def __init__(self, payloads: Sequence[T_co], resume: Any = None, rejected: Sequence[Rejected] = ()) -> None:
        self.payloads = payloads
        self.resume = resume
        self.rejected = rejected

    def __repr__(self) -> str:
        return f"Batch({len(self.payloads)} payloads, resume={self.resume!r}, rejected={len(self.rejected)})"


class Emission(NamedTuple):
    """One payload on its way out of a named output; made by calling the output: `self.urgent(ticket)`."""

    port: str
    payload: Any


class Traced(NamedTuple):
    """A payload with its identity, which comes from its input (I4) and never from time or attempt.

    Payloads travel bare; they are traced only in a region where a sink asks for idempotency keys.
    """

    key: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Barrier:
    """The marker that closes an epoch: what stands before it in a channel belongs to the epoch, what follows does not."""

    epoch: int


class End:
    """The marker after the last message of a channel. It closes the final epoch as a barrier would (I7)."""

    def __repr__(self) -> str:
        return "END"


END: Final = End()
