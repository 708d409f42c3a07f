"""One order and one set of facts for all reports, so that no two of them disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autocoder_components.assessments.model import Assessment, Finding, Outcome, Status
from autocoder_components.assessments.score import JUDGED, waived_findings

_NO_VERDICT = (Status.ERROR, Status.MANUAL, Status.SKIPPED, Status.WAIVED)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then file, line and column; total, so that equal findings in any order come out the same."""
    return sorted(
        findings,
        key=lambda finding: (finding.severity.rank, *by_place(finding)),
    )


def every_finding(assessment: Assessment) -> list[Finding]:
    """The findings that count and those that are waived, worst first."""
    return worst_first((*assessment.findings, *assessment.waived))


def by_place(finding: Finding) -> tuple[str, int, int, str, str, str, str]:
    """The sort key of reading order: file, line, column, then rule."""
    place = finding.place
    return (
        place.file,
        place.line,
        place.column,
        finding.rule,
        finding.server or "",
        finding.fingerprint,
        finding.message,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What every summary says. `not_judged` holds the outcomes a reader must know of: errors first, then the rest."""

    planned: int
    judged: int
    files: int
    servers: int
    new: frozenset[str]
    waived: frozenset[str]
    not_judged: tuple[Outcome, ...]


def facts_of(assessment: Assessment) -> Facts:
    """Count once what the reports show."""
    outcomes = assessment.outcomes
    return Facts(
        planned=max([len(outcomes), *(outcome.planned for outcome in outcomes)]),
        judged=sum(outcome.status in JUDGED for outcome in outcomes),
        files=len({target.file for target in assessment.targets}),
        servers=sum(target.server is not None for target in assessment.targets),
        new=frozenset(assessment.new_fingerprints) if assessment.baseline is not None else frozenset(),
        waived=frozenset(each.fingerprint for each in waived_findings(outcomes)),
        not_judged=tuple(sorted((o for o in outcomes if o.status in _NO_VERDICT), key=outcome_order)),
    )


def outcome_order(outcome: Outcome) -> tuple[int, str, str, str, str, str, tuple[str, ...]]:
    """Errors first, then what awaits a person, what was skipped, what is waived, the rest; then by file and server."""
    urgency = _NO_VERDICT.index(outcome.status) if outcome.status in _NO_VERDICT else len(_NO_VERDICT)
    target = outcome.target
    return (
        urgency,
        target.file if target else "",
        (target.server or "") if target else "",
        outcome.kind.value,
        outcome.status.value,
        outcome.reason or "",
        tuple(sorted(finding.fingerprint for finding in outcome.findings)),
    )


def evidence_of(assessment: Assessment, finding: Finding) -> str | None:
    """The evidence to show: none when the request asked for no details."""
    return finding.evidence if assessment.request.include_details else None
