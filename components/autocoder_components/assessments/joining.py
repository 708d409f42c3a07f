"""From outcomes to one assessment: waiting for all of them, scoring, comparing with a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from autocoder import In, Keyed, Merger, Transformer
from autocoder_components.assessments.baseline import new_since, read_baseline
from autocoder_components.assessments.checking import target_order
from autocoder_components.assessments.model import Assessment, CheckKind, Joined, Outcome, Status
from autocoder_components.assessments.requests import clock
from autocoder_components.assessments.rules import RULE_PACK
from autocoder_components.assessments.score import open_findings, score


class JoinOutcomes(Merger[Joined]):
    """Wait for every planned outcome of an assessment, then give them together.

    State is kept by assessment id. What has not come when the input ends is an error outcome, never a pass.

    ```yaml
    join: {use: assessments.JoinOutcomes, from: {config: config, security: security, skipped: plan.skipped}}
    ```
    """

    config = In(Outcome)
    security = In(Outcome)
    skipped = In(Outcome)
    arrived = Keyed(list[Outcome], default_factory=list)

    def key(self, outcome: Outcome, /) -> str:
        return outcome.request.assessment_id

    def on_config(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_security(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def on_skipped(self, outcome: Outcome, /) -> Joined | None:
        return self._join(outcome)

    def _join(self, outcome: Outcome) -> Joined | None:
        self.arrived.value.append(outcome)
        if len(self.arrived.value) < outcome.planned:
            return None
        joined = _joined(self.arrived.value)
        self.arrived.clear()
        return joined

    def finish(self) -> Iterator[Joined]:
        for key in self.arrived.keys():  # noqa: SIM118  not a dict
            self.arrived.begin(key)
            outcomes = self.arrived.value
            missing = outcomes[0].planned - len(outcomes)
            absent = Outcome(
                outcomes[0].request,
                None,
                CheckKind.SKIPPED,
                Status.ERROR,
                outcomes[0].planned,
                reason="the check gave no outcome; its dead letter says why",
            )
            yield _joined([*outcomes, *([absent] * missing)])


def _joined(outcomes: list[Outcome]) -> Joined:
    ordered = sorted(outcomes, key=lambda each: (target_order(each.target), each.kind))
    return Joined(outcomes[0].request, tuple(ordered))


class ScoreFindings(Transformer[Joined, Assessment]):
    """Score the outcomes of an assessment, and mark what is new since a baseline.

    100 minus deductions, once for each rule and server, always shown with its coverage; nothing assessed gives no score.

    ```yaml
    score: {use: assessments.ScoreFindings, from: join, with: {baseline: approved.json}}
    ```
    """

    baseline: Path | None = Field(default=None, description="a baseline file; its findings are not new")
    now: str | None = Field(default=None, description="a fixed time (ISO 8601 with offset) instead of the clock's")

    async def open(self) -> None:
        self._baseline = None if self.baseline is None else read_baseline(self.baseline)

    def process(self, joined: Joined, /) -> Assessment:
        outcomes = joined.outcomes
        findings = tuple(open_findings(outcomes))
        targets = tuple(dict.fromkeys(each.target for each in outcomes if each.target is not None))
        assessment = Assessment(
            request=joined.request,
            started_at=joined.request.requested_at,
            finished_at=clock(self.now),
            targets=targets,
            outcomes=outcomes,
            findings=findings,
            score=score(outcomes, outcomes[0].planned, rule_pack=RULE_PACK),
        )
        if self._baseline is None:
            return assessment
        new = tuple(each.fingerprint for each in new_since(findings, self._baseline))
        return replace(assessment, new_fingerprints=new, baseline=str(self.baseline))
