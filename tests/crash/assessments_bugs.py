"""Rules of the lifecycle, each broken on purpose where its name is planted: the oracle has to see it. Only for forked lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from autocoder_components.assessments.lifecycle import epochs, rows, store, writing
from autocoder_components.assessments.lifecycle.requests import judged
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.crash.case import Life
from tests.crash.planting import substitute


def _tickets_apart() -> None:
    """What is created gets its message in a transaction of its own."""

    async def create(self: Any, requests: Sequence[Any], *, actor: Any = None, **_: Any) -> list[str]:
        writer = self._writer
        wanted = [judged(each, writer.policy) for each in requests]

        async def insert(connection: AsyncConnection) -> list[str]:
            return await rows.insert_new(connection, writer.context(actor), wanted)

        fresh: list[str] = await writer.do(insert)
        await writer.do(lambda connection: writer.send(connection, fresh))
        return [each.assessment_id for each in wanted]

    substitute(store.AssessmentStore, "batch_create", create)


def _next_attempts_untold() -> None:
    """What goes back to pending gets no message."""
    told = writing.Writer.requeue

    async def requeue(self: Any, *given: Any) -> None:
        await told(replace(self, inbox=None), *given)

    substitute(writing.Writer, "requeue", requeue)


def _verdicts_unnoted() -> None:
    """Verdicts of the pipeline change the row, and the trail does not say so."""
    every = epochs.verdicts
    substitute(
        epochs, "verdicts", lambda given, **more: [each for each in every(given, **more) if _changes(each.statement)]
    )


def _changes(statement: Any) -> bool:
    return bool(getattr(statement, "is_update", False))


@dataclass(frozen=True)
class Bug:
    """A broken rule, the kind of case and the life in which it shows."""

    plant: Callable[[], None]
    kind: str
    life: Life


BUGS: Final[Mapping[str, Bug]] = {
    "tickets_apart": Bug(_tickets_apart, "workers", Life("ask", failpoint="inbox.inserted:1")),
    "next_attempts_untold": Bug(_next_attempts_untold, "workers", Life("work", failpoint="complete.judged:3")),
    "verdicts_unnoted": Bug(_verdicts_unnoted, "service", Life("work", failpoint="verdict.recorded:2")),
}


def plant(name: str) -> None:
    """Break a rule in this process; none where the name is empty."""
    if name:
        BUGS[name].plant()
