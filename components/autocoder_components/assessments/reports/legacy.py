"""The result of the older services: how many servers are compliant, and what is wrong with the others.

Its consumers know servers and issues, and neither coverage nor controls. A server is compliant where at least one check of it
came to a verdict, none found anything worse than `info`, and none ended in an error or awaits a person. What was skipped does
not count against it: the request or the environment chose so, and `serverStatuses` says it. Waived findings are no issues.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from autocoder_components.assessments.discover import matches
from autocoder_components.assessments.model import Assessment, Finding, Outcome, Severity, Status, Target
from autocoder_components.assessments.reports.order import outcome_order, worst_first
from autocoder_components.assessments.reports.text import moment, stamp, visible
from autocoder_components.assessments.score import JUDGED, open_findings

SUMMARY: Final = {
    Severity.CRITICAL: "criticalIssues",
    Severity.HIGH: "highIssues",
    Severity.MEDIUM: "mediumIssues",
    Severity.LOW: "lowIssues",
}
COMPLIANT: Final = "compliant"
NON_COMPLIANT: Final = "non_compliant"
UNKNOWN: Final = "unknown"


def legacy_document(assessment: Assessment) -> dict[str, Any]:
    """The result as JSON values; equal for assessments that differ in order alone.

    `totalServers` is `compliantServers` plus `nonCompliantServers`, and the length of `serverStatuses`; a server that could not
    be judged is not compliant. `missingServers` are the filters that no server's name matches. The numbers of `summary` count
    `configurationIssues` by severity; those that are only `info` are in none of them. `overallScore` is 0 to 100, or null
    where nothing was assessed. Raises ValueError when a time of the assessment is not ISO 8601 with an offset.
    """
    own: dict[Target, list[Outcome]] = {}
    for outcome in assessment.outcomes:
        if outcome.target is not None and outcome.target.server is not None:
            own.setdefault(outcome.target, []).append(outcome)
    ordered = sorted(own, key=lambda each: (each.file, each.place.line, each.server or "", each.place.pointer))
    statuses = [_status(target, own[target]) for target in ordered]
    compliant = sum(each["status"] == COMPLIANT for each in statuses)
    counts = Counter(each.severity for each in assessment.findings)
    return {
        "timestamp": stamp(moment(assessment.finished_at)),
        "totalServers": len(statuses),
        "compliantServers": compliant,
        "nonCompliantServers": len(statuses) - compliant,
        "missingServers": [visible(each) for each in _missing(assessment)],
        "configurationIssues": [_issue(each) for each in worst_first(assessment.findings)],
        "serverStatuses": statuses,
        "overallScore": assessment.score.value,
        "summary": {name: counts[severity] for severity, name in SUMMARY.items()},
    }


def render_legacy(assessment: Assessment) -> str:
    """`legacy_document` as indented text with a final newline, the same bytes for the same assessment."""
    return json.dumps(legacy_document(assessment), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _missing(assessment: Assessment) -> Sequence[str]:
    names = {target.server for target in assessment.targets}
    return [glob for glob in assessment.request.server_filter if not any(matches(name, glob) for name in names)]


def _issue(finding: Finding) -> dict[str, Any]:
    return {
        "serverName": None if finding.server is None else visible(finding.server),
        "severity": finding.severity.value,
        "issue": visible(finding.message),
        "recommendation": visible(finding.remedy),
        "rule": visible(finding.rule),
        "file": visible(finding.place.file),
        "line": finding.place.line,
    }


def _status(target: Target, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    # The most urgent last, so that it is the one to stay of two of a kind.
    urgent = sorted(outcomes, key=outcome_order, reverse=True)
    checks = dict(
        sorted((each.kind.value, each.status.value) for each in {each.kind: each for each in urgent}.values())
    )
    found = open_findings(outcomes)
    if any(each.severity is not Severity.INFO for each in found):
        status = NON_COMPLIANT
    elif any(each.status in (Status.ERROR, Status.MANUAL) for each in outcomes):
        status = UNKNOWN
    else:
        status = COMPLIANT if any(each.status in JUDGED for each in outcomes) else UNKNOWN
    return {
        "serverName": visible(target.server or ""),
        "file": visible(target.file),
        "status": status,
        "issues": len(found),
        "checks": checks,
    }
