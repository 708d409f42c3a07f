"""What the parts of the HTML report share: the assessment, and the small things that stand in many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autocoder_components.assessments.model import Assessment, Finding, RuleInfo, Severity, Status
from autocoder_components.assessments.reports.order import Facts
from autocoder_components.assessments.score import count_by_severity

NONE = '<span class="none">none</span>'
# A shape of its own for each severity, so that colour is never the only sign (in a box of 12 by 12).
MARKS = {
    Severity.CRITICAL: "M4 0h4l4 4v4l-4 4H4L0 8V4z",
    Severity.HIGH: "M6 0l6 11.5H0z",
    Severity.MEDIUM: "M6 0l6 6-6 6-6-6z",
    Severity.LOW: "M6 0a6 6 0 110 12A6 6 0 016 0zm0 2.8a3.2 3.2 0 100 6.4 3.2 3.2 0 000-6.4z",
    Severity.INFO: "M0 4.5h12v3H0z",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What the parts of the page share."""

    assessment: Assessment
    rules: Mapping[str, RuleInfo]
    facts: Facts


def mark(severity: Severity) -> str:
    """The shape of a severity."""
    return f'<svg class="mark" viewBox="0 0 12 12" aria-hidden="true"><path d="{MARKS[severity]}"/></svg>'


def badge(severity: Severity, text: str) -> str:
    """A label in the colour of a severity; `text` is HTML."""
    return f'<span class="badge {severity}">{mark(severity)}{text}</span>'


def status_badge(status: Status) -> str:
    """How a check came out."""
    looks = {Status.PASS: "pass", Status.FAIL: "high", Status.ERROR: "critical", Status.MANUAL: "medium"}
    return f'<span class="badge {looks.get(status, "plain")}">{status.replace("_", " ")}</span>'


def tally(findings: Iterable[Finding]) -> str:
    """How many findings there are of each severity."""
    counts = count_by_severity(findings)
    badges = "".join(badge(severity, f"{count} {severity}") for severity, count in counts.items() if count)
    return f'<span class="tally">{badges}</span>'
