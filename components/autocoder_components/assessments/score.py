"""The score of an assessment: how much the findings take off a hundred, and how much of the plan was judged at all.

The formula, applied to every finding that no waiver covers:

    deduction(rule, file, server) = WEIGHTS[worst severity of that rule's findings there]
    score = max(0, 100 - sum of the deductions)

A rule that fires ten times in one server is one problem with one cure, so it is deducted once; the same rule in
another server is another problem. Servers of one name in two files are two servers. A score never stands alone: it
comes with its coverage (judged outcomes over planned ones), because 100 over a tenth of the plan says little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from autocoder_components.assessments.model import Finding, Outcome, Score, Severity, Status

WEIGHTS: Mapping[Severity, int] = MappingProxyType(
    {Severity.CRITICAL: 40, Severity.HIGH: 20, Severity.MEDIUM: 8, Severity.LOW: 2, Severity.INFO: 0}
)
"""Points taken off for one rule in one server. Two critical problems and a high one exhaust the hundred."""

JUDGED = frozenset({Status.PASS, Status.FAIL, Status.NOT_APPLICABLE, Status.WAIVED})
"""The outcomes that are a verdict. `manual` awaits a person, `skipped` and `error` have no verdict."""


def open_findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """The findings that count: all but those that a waiver covers, in the order of the outcomes."""
    return [each for outcome in outcomes for each in outcome.findings if not _is_waived(outcome, each)]


def waived_findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """The findings that a waiver covers, by themselves or with the whole outcome, in the order of the outcomes."""
    return [each for outcome in outcomes for each in outcome.findings if _is_waived(outcome, each)]


def _is_waived(outcome: Outcome, finding: Finding) -> bool:
    return outcome.status is Status.WAIVED or finding.waiver is not None


def score(outcomes: Sequence[Outcome], planned: int, *, rule_pack: str) -> Score:
    """Score `outcomes` out of `planned` ones by the formula of this module; their order does not matter.

    `value` is a whole number from 0 to 100, or None when no server or file got a verdict: nothing assessed is neither
    good nor bad. `coverage` is from 0 to 1, and 0 when nothing was planned. `counts` holds every severity, worst first.
    Raises ValueError when there are more outcomes than planned: one of the two numbers is then wrong, and so would be
    the coverage.
    """
    if len(outcomes) > planned:
        raise ValueError(
            f"{len(outcomes)} outcomes for {planned} planned checks: one was joined twice, or a check was not counted"
        )
    judged = [outcome for outcome in outcomes if outcome.status in JUDGED]
    findings = open_findings(outcomes)
    return Score(
        value=max(0, 100 - _deductions(findings)) if any(outcome.target for outcome in judged) else None,
        coverage=len(judged) / planned if planned else 0.0,
        counts=count_by_severity(findings),
        rule_pack=rule_pack,
    )


def count_by_severity(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many findings of each severity, every severity present, worst first."""
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


def _deductions(findings: Iterable[Finding]) -> int:
    worst: dict[tuple[str, str, str | None], int] = {}
    for finding in findings:
        problem = (finding.rule, finding.place.file, finding.server)
        worst[problem] = max(worst.get(problem, 0), WEIGHTS[finding.severity])
    return sum(worst.values())
