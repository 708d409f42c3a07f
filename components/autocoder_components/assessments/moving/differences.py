"""What differs between the answers of two systems to the same request, in the words that both of them have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autocoder_components.assessments.lifecycle.states import AssessmentState

View = Callable[[AssessmentState], Mapping[str, Any]]
"""Gives of an assessment what is compared, by name."""
_ISSUES: Final = {"critical": "criticalIssues", "high": "highIssues", "medium": "mediumIssues", "low": "lowIssues"}
_SHARED: Final = ("totalServers", "compliantServers", "overallScore")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the systems say differently."""

    what: str
    store: Any
    legacy: Any


def differences(store: AssessmentState, legacy: AssessmentState, view: View) -> list[Difference]:
    """What both systems speak of and say differently, by name. Times, ids and wording are nobody's difference."""
    ours, theirs = view(store), view(legacy)
    return [
        Difference(name, ours[name], theirs[name])
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]


def common_view(state: AssessmentState) -> dict[str, Any]:
    """How it ended, the score, and the numbers of servers and of issues by severity, as far as the result has them."""
    seen: dict[str, Any] = {"state": state.state.value}
    result = state.result or {}
    seen |= {name: result[name] for name in _SHARED if name in result}
    summary = result.get("summary")
    if isinstance(summary, Mapping):
        seen |= {name: summary[name] for name in _ISSUES.values() if name in summary}
    score = result.get("score")
    if isinstance(score, Mapping):
        seen["overallScore"] = score.get("value")
        counts = score.get("counts")
        if isinstance(counts, Mapping):
            seen |= {name: counts[severity] for severity, name in _ISSUES.items() if severity in counts}
    targets = result.get("targets")
    if isinstance(targets, list):
        seen["totalServers"] = sum(isinstance(each, Mapping) and each.get("server") is not None for each in targets)
    return seen
