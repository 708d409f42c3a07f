"""How far the service is with an assessment, for those who look at it meanwhile: so many of its planned checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from autocoder import Keyed, Sink, Statement, Transformer, pipeline_database
from autocoder_components.assessments.joining import attempt_key
from autocoder_components.assessments.lifecycle import epochs
from autocoder_components.assessments.model import Outcome, TimeOver

MOST: Final = 99
"""All of it is the verdict's to say."""


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of the planned checks of an attempt have an outcome; `percent` is 0 to 99."""

    assessment_id: str
    attempt: int
    percent: int
    message: str


class CountProgress(Transformer[Outcome | TimeOver, Progress]):
    """Count the outcomes of each attempt, and say so whenever it is another `step` percent further.

    Of the last outcome nothing is said: then there is a verdict. `assessments.Overdue` says which attempts are over without.

    ```yaml
    progress: {use: assessments.CountProgress, from: [config, security, status, deep.outcomes, plan.skipped, overdue]}
    noted:    {use: assessments.RecordProgress, from: progress}
    ```
    """

    step: int = Field(default=10, ge=1, le=100, description="percent")
    arrived = Keyed(int, default=0)

    def key(self, message: Outcome | TimeOver, /) -> str:
        return attempt_key(message)

    def process(self, message: Outcome | TimeOver, /) -> Progress | None:
        if isinstance(message, TimeOver):
            self.arrived.clear()
            return None
        request, before = message.request, self.arrived.value
        now = before + 1
        if now >= message.planned:
            self.arrived.clear()
            return None
        self.arrived.value = now
        percent = MOST * now // message.planned
        if request.attempt is None or percent // self.step == MOST * before // message.planned // self.step:
            return None
        said = f"{now} of {message.planned} checks"
        return Progress(request.assessment_id, request.attempt, percent, said)


class RecordProgress(Sink[Progress]):
    """Note how far assessments are in their rows, in the transaction of the epoch; less than is there changes nothing.

    The audit trail has the beginning and the end alone.

    ```yaml
    noted: {use: assessments.RecordProgress, from: progress}
    ```
    """

    async def open(self) -> None:
        self._postgres = not pipeline_database().is_sqlite

    def statements(self, batch: Sequence[Progress], /) -> Iterator[Statement]:
        moment = datetime.now(UTC)
        last = {(each.assessment_id, each.attempt): each for each in batch}  # in the order of their arrival
        rows = [
            {"of_id": each.assessment_id, "of_attempt": each.attempt, "moment": moment}
            | {"percent": each.percent, "said": each.message}
            for each in last.values()
        ]
        return epochs.progress(rows, postgres=self._postgres)
