"""Waivers: what somebody decided to live with, why, and until when. A decision that nobody renews stops counting.

A waiver says what it covers: a rule or one finding (its fingerprint), if need be only of some servers or files. One that has
expired covers nothing, and one that matches nothing is a leftover; both are reported, so that the file stays true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from autocoder import Place as At
from autocoder import Problem
from autocoder_components.assessments.controls.documents import (
    ControlsError,
    Written,
    parse,
    read_text,
    suggestion,
    validated,
)
from autocoder_components.assessments.controls.packs import Prose, Title
from autocoder_components.assessments.discover import matches
from autocoder_components.assessments.model import Finding, Outcome, Place, Status, Waiver, WaiverState, WaiverUse
from autocoder_components.assessments.reports.text import moment
from autocoder_components.assessments.rules import CATALOGUE

DAY: Final = timedelta(days=1)


def end_of(expires: str) -> datetime:
    """The first instant at which a waiver no longer counts: a day counts to its end in UTC. Raises ValueError."""
    if len(expires) == len("2026-11-21"):
        day = date.fromisoformat(expires)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY
    return moment(expires)


def _moment(text: str) -> str:
    try:
        end_of(text)
    except (ValueError, OverflowError):
        raise ValueError("write a day (2026-12-31), or a time with an offset (2026-12-31T12:00:00Z)") from None
    return text


Glob = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class WaiverSpec(BaseModel):
    """One waiver as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rule: str | None = Field(default=None, description="the rule that is waived")
    fingerprint: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$", description="the one finding that is waived"
    )
    server: Glob | None = Field(default=None, description="only of servers of such a name (a glob)")
    file: Glob | None = Field(default=None, description="only in such files (a glob over the path as reports show it)")
    justification: Prose
    owner: Title
    expires: Annotated[str, AfterValidator(_moment)]

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one of those that are waived, expiry aside."""
        return (
            (self.rule is None or finding.rule == self.rule)
            and (self.fingerprint is None or finding.fingerprint == self.fingerprint)
            and (self.server is None or matches(finding.server, self.server))
            and (self.file is None or fnmatchcase(finding.place.file, self.file))
        )

    def in_words(self) -> str:
        """What it covers, for a person."""
        parts = [self.rule, self.fingerprint and f"finding {self.fingerprint}"]
        parts += [self.server and f"server {self.server}", self.file and f"file {self.file}"]
        return ", ".join(each for each in parts if each)


class WaiversSpec(BaseModel):
    """A file of waivers."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    waivers: list[WaiverSpec]


@dataclass(frozen=True, slots=True)
class Waivers:
    """The waivers of a file, in its order, each with its place."""

    specs: tuple[tuple[WaiverSpec, At], ...] = ()


def load_waivers(path: Path) -> Waivers:
    """The waivers of a YAML file. Raises ControlsError with everything that is wrong with it. Blocks."""
    value, places = parse(read_text(path), str(path))
    written = validated(WaiversSpec, value, places, str(path))
    problems = [problem for at in range(len(written.value.waivers)) for problem in _problems(written, at)]
    if problems:
        raise ControlsError(problems)
    return Waivers(tuple((each, written.place("waivers", at)) for at, each in enumerate(written.value.waivers)))


def _problems(written: Written[WaiversSpec], at: int) -> list[Problem]:
    spec = written.value.waivers[at]
    if spec.rule is None and spec.fingerprint is None:
        cure = "name a rule, or the fingerprint of a finding"
        return [written.problem(("waivers", at), "says neither a rule nor a fingerprint, so it would waive all", cure)]
    if spec.rule is not None and spec.rule not in CATALOGUE:
        cure = suggestion(spec.rule, list(CATALOGUE))
        return [written.problem(("waivers", at, "rule"), f"there is no rule {spec.rule!r}", cure)]
    return []


def apply_waivers(
    waivers: Waivers, outcomes: Sequence[Outcome], now: datetime
) -> tuple[tuple[Outcome, ...], tuple[WaiverUse, ...]]:
    """The outcomes with what is waived at `now` (aware), and what became of each waiver, in their order.

    A failed outcome all of whose findings are waived is `waived`; every other one stays as it is. Of several waivers for a
    finding the first that has not expired holds. Findings keep their order and number; the same waivers again change nothing.
    """
    matched = [0] * len(waivers.specs)
    live = [end_of(spec.expires) > now for spec, _ in waivers.specs]

    def waived(finding: Finding) -> Finding:
        first: Waiver | None = None
        for at, (spec, _) in enumerate(waivers.specs):
            if spec.covers(finding):
                matched[at] += 1
                if first is None and live[at]:
                    first = Waiver(spec.justification, spec.owner, spec.expires)
        return replace(finding, waiver=first)

    judged = tuple(_judged(outcome, tuple(map(waived, outcome.findings))) for outcome in outcomes)
    uses = (
        WaiverUse(
            place=Place(at.file, "", at.line, at.column),
            covers=spec.in_words(),
            waiver=Waiver(spec.justification, spec.owner, spec.expires),
            state=_state(live[number], matched[number]),
            matched=matched[number],
        )
        for number, (spec, at) in enumerate(waivers.specs)
    )
    return judged, tuple(uses)


def _judged(outcome: Outcome, findings: tuple[Finding, ...]) -> Outcome:
    if outcome.status is not Status.FAIL or not findings:
        return outcome
    given = [each.waiver for each in findings if each.waiver is not None]
    if len(given) < len(findings):
        return replace(outcome, findings=findings)
    said = dict.fromkeys(f"{each.justification} ({each.owner}, until {each.expires})" for each in given)
    return replace(outcome, findings=findings, status=Status.WAIVED, reason="; ".join(said))


def _state(live: bool, matched: int) -> WaiverState:
    if not live:
        return WaiverState.EXPIRED
    return WaiverState.APPLIED if matched else WaiverState.UNMATCHED
