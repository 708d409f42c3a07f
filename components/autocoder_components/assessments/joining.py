"""From outcomes to one assessment: waiting for all of them, scoring, comparing with a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticSerializationError

from autocoder import In, Keyed, Merger, Transformer, storable
from autocoder_components.assessments.baseline import new_since, read_baseline
from autocoder_components.assessments.deep.across import judged_across
from autocoder_components.assessments.model import (
    OF_SERVERS,
    Assessment,
    CheckKind,
    Joined,
    Outcome,
    Request,
    Status,
    Target,
    TimeOver,
)
from autocoder_components.assessments.reports.text import moment
from autocoder_components.assessments.requests import FixedTime, clock
from autocoder_components.assessments.rules import RULE_PACK
from autocoder_components.assessments.score import open_findings, score, waived_findings

PACKET = 256
MOST_BYTES: Final = 12 * 1024 * 1024
"""So much of an assessment of the service is kept until it is whole: a value of the state may have 16 MiB, and one that has
more would stop the service, and stop it again when it is started anew."""
LOST = "the check gave no outcome; the log says why"
OVERDUE = "the time of the assessment was over before the check gave an outcome"
TOO_MUCH = "more was found than one assessment can hold; assess fewer files at once"
_SAID_ONCE: Final = Request("")


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)


@dataclass(frozen=True, slots=True)
class Arrived:
    """The outcomes so far, in packets, so that adding one copies a packet at most.

    Frozen, because state that could be changed in place is copied whole for every message that touches it. The request, which
    all of them have, is kept once, and no text of an inline configuration: it may have a megabyte, and thousands of servers.
    """

    packets: tuple[tuple[Outcome, ...], ...] = ()
    request: Request | None = None
    size: int = 0
    left_out: int = 0
    """So many came for which there was no room."""

    def __len__(self) -> int:
        kept = (len(self.packets) - 1) * PACKET + len(self.packets[-1]) if self.packets else 0
        return kept + self.left_out

    def with_one(self, outcome: Outcome) -> Arrived:
        """These outcomes and one more."""
        request, size = outcome.request, self.size
        outcome = _slim(outcome)
        if request.attempt is not None:
            outcome, bytes_of_it = _as_text(outcome)
            size += bytes_of_it
            if size > MOST_BYTES:
                if self.packets:
                    return replace(self, left_out=self.left_out + 1)
                outcome = replace(outcome, status=Status.ERROR, findings=(), powers=(), reason=TOO_MUCH)
                outcome, size = _as_text(outcome)
        if not self.packets or len(self.packets[-1]) == PACKET:
            packets = (*self.packets, (outcome,))
        else:
            packets = (*self.packets[:-1], (*self.packets[-1], outcome))
        return Arrived(packets, _without_texts(request) if self.request is None else self.request, size, self.left_out)

    def outcomes(self) -> list[Outcome]:
        """All of them, in the order of their arrival; an error for each that had no room."""
        kept = [each for packet in self.packets for each in packet]
        if self.request is not None:
            kept = [replace(each, request=self.request) for each in kept]
        return [*kept, *_lost(kept, TOO_MUCH, self.left_out)] if self.left_out else kept


def _as_text(outcome: Outcome) -> tuple[Outcome, int]:
    """The outcome as state can keep it, and how many bytes it takes there.

    A tool or a folder may be called what is no text: a server says so, and file systems let it be. Reports show escapes for
    it, and these are what is kept. It is looked for only where it is in the way, for hardly any outcome has it.
    """
    try:
        return outcome, len(_outcomes().dump_json(outcome))
    except PydanticSerializationError:
        outcome = _outcomes().validate_python(_escaped(_outcomes().dump_python(outcome)))
        return outcome, len(_outcomes().dump_json(outcome))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _escaped(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return storable(value) if isinstance(value, str) and not isinstance(value, Enum) else value


def _slim(outcome: Outcome) -> Outcome:
    target = outcome.target
    if target is not None and target.candidate is not None:
        target = replace(target, candidate=replace(target.candidate, text=""))
    return replace(outcome, request=_SAID_ONCE, target=target)


def _without_texts(request: Request) -> Request:
    return replace(request, candidates=tuple(replace(each, text="") for each in request.candidates))


def attempt_key(message: Outcome | TimeOver) -> str:
    """Of which attempt it is: what one left behind when its worker died is no part of the next one."""
    request = message if isinstance(message, TimeOver) else message.request
    return request.assessment_id if request.attempt is None else f"{request.assessment_id}#{request.attempt}"


class JoinOutcomes(Merger[Joined]):
    """Wait for every planned outcome of an assessment, then give them together.

    State is kept by assessment id and attempt. What has not come when the input ends, or when the time of the attempt is over
    (which `assessments.Overdue` says, beside what was left out), is an error outcome, never a pass.

    ```yaml
    join:
      use: assessments.JoinOutcomes
      from: {config: config, security: security, status: status, deep: deep.outcomes, skipped: plan.skipped}
    ```
    """

    config = In(Outcome)
    security = In(Outcome)
    status = In(Outcome)
    deep = In(Outcome)
    skipped: In[Outcome | TimeOver] = In(Outcome | TimeOver)
    arrived = Keyed(Arrived, default=Arrived())

    def key(self, message: Outcome | TimeOver, /) -> str:
        return attempt_key(message)

    def on_config(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_security(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_status(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_deep(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_skipped(self, message: Outcome | TimeOver, /) -> Joined | None:
        return self._over(message) if isinstance(message, TimeOver) else self._join(message)

    def _join(self, outcome: Outcome) -> Joined | None:
        arrived = self.arrived.value.with_one(outcome)
        if len(arrived) < outcome.planned:
            self.arrived.value = arrived
            return None
        self.arrived.clear()
        return _joined(arrived.outcomes())

    def _over(self, told: TimeOver) -> Joined | None:
        outcomes = self.arrived.value.outcomes()
        self.arrived.clear()
        return _joined([*outcomes, *_lost(outcomes, OVERDUE, _missing(outcomes))]) if outcomes and told.wanted else None

    def finish(self) -> Iterator[Joined]:
        for key in self.arrived.keys():  # noqa: SIM118  not a dict
            self.arrived.begin(key)
            outcomes = self.arrived.value.outcomes()
            self.arrived.clear()
            yield _joined([*outcomes, *_lost(outcomes, LOST, _missing(outcomes))])


def _missing(outcomes: Sequence[Outcome]) -> int:
    return outcomes[0].planned - len(outcomes)


def _lost(outcomes: Sequence[Outcome], why: str, missing: int) -> Iterator[Outcome]:
    """An error for every outcome that is missing, with its target where a sibling shows which one it had."""
    first = outcomes[0]
    absent = Outcome(first.request, None, CheckKind.SKIPPED, Status.ERROR, first.planned, reason=why)
    kinds: dict[Target, set[CheckKind]] = {}
    for each in outcomes:
        if each.target is not None:
            kinds.setdefault(each.target, set()).add(each.kind)
    request = first.request
    asked = {
        CheckKind.CONFIG: request.validate_config,
        CheckKind.SECURITY: request.check_security,
        CheckKind.STATUS: request.check_server_status,
        CheckKind.DEEP: request.deep_scan,
    }
    for target, seen in kinds.items():
        for kind in (each for each, wanted in asked.items() if wanted):
            if missing and kind not in seen and (target.server is not None or kind not in OF_SERVERS):
                missing -= 1
                yield replace(absent, target=target, kind=kind)
    for _ in range(missing):
        yield absent


def _joined(outcomes: Sequence[Outcome]) -> Joined:
    return Joined(outcomes[0].request, tuple(sorted(judged_across(outcomes), key=_order)))


def _order(outcome: Outcome) -> tuple[object, ...]:
    """Files by name, servers as they stand in them, what has no target last; total, whatever order they came in."""
    target = outcome.target
    place = (
        (1,)
        if target is None
        else (
            *(0, target.file, 0 if target.server is None else target.place.line, target.place.column),
            *(
                target.server or "",
                target.path,
                target.sha256,
                target.place.line,
                target.place.pointer,
                target.problem or "",
            ),
        )
    )
    return (
        *place,
        outcome.kind,
        outcome.status,
        outcome.reason or "",
        [each.fingerprint for each in outcome.findings],
    )


class ScoreFindings(Transformer[Joined, Assessment]):
    """Score the outcomes of an assessment, and mark what is new since a baseline.

    100 minus deductions, once for each rule and server, always shown with its coverage; nothing assessed gives no score.

    ```yaml
    score: {use: assessments.ScoreFindings, from: controls, with: {baseline: approved.json}}
    ```
    """

    baseline: Path | None = Field(default=None, description="a baseline file; its findings are not new")
    now: FixedTime | None = Field(
        default=None, description="a fixed time (ISO 8601 with offset) instead of the clock's"
    )

    async def open(self) -> None:
        self._baseline = None if self.baseline is None else read_baseline(self.baseline)

    def process(self, joined: Joined, /) -> Assessment:
        outcomes = joined.outcomes
        findings = tuple(open_findings(outcomes))
        targets = tuple(dict.fromkeys(each.target for each in outcomes if each.target is not None))
        assessment = Assessment(
            request=joined.request,
            started_at=joined.request.requested_at,
            finished_at=_not_before(joined.request.requested_at, clock(self.now)),
            targets=targets,
            outcomes=outcomes,
            findings=findings,
            score=score(outcomes, outcomes[0].planned, rule_pack=RULE_PACK),
            waived=tuple(waived_findings(outcomes)),
            compliance=joined.compliance,
            waivers=joined.waivers,
        )
        if self._baseline is None:
            return assessment
        new = tuple(each.fingerprint for each in new_since(findings, self._baseline))
        return replace(assessment, new_fingerprints=new, baseline=str(self.baseline))


def _not_before(started: str, finished: str) -> str:
    """The end of an assessment; a clock that was set back meanwhile does not make it end before it started."""
    return max(started, finished, key=moment)
