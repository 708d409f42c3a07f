"""What differs between two verdicts: for a service that is moved over, and for what changed since yesterday."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocoder_components.assessments.lifecycle.errors import AssessmentError
from autocoder_components.assessments.lifecycle.states import AssessmentState


class NothingToCompareError(AssessmentError):
    """An assessment has no verdict with findings."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Findings by fingerprint: those of the second alone (`new`), of the first alone (`gone`), and how many are in both.

    Findings are as the JSON report has them, in its order: the worst first.
    """

    first: str
    second: str
    score_first: int | None
    score_second: int | None
    new: Sequence[Mapping[str, Any]]
    gone: Sequence[Mapping[str, Any]]
    same: int

    @property
    def differs(self) -> bool:
        """Whether the verdicts are not the same."""
        return bool(self.new or self.gone) or self.score_first != self.score_second


def compared(first: AssessmentState, second: AssessmentState) -> Comparison:
    """What differs between the verdicts of two assessments. Raises NothingToCompareError where one has none."""
    old, new = _findings(first), _findings(second)
    return Comparison(
        first.assessment_id,
        second.assessment_id,
        _score(first),
        _score(second),
        new=[each for name, each in new.items() if name not in old],
        gone=[each for name, each in old.items() if name not in new],
        same=len(old.keys() & new.keys()),
    )


def _findings(state: AssessmentState) -> dict[str, Mapping[str, Any]]:
    found = (state.result or {}).get("findings")
    if not isinstance(found, list):
        why = "its result holds no findings" if state.result else f"it is {state.state}"
        raise NothingToCompareError(f"assessment {state.assessment_id!r} cannot be compared: {why}")
    return {str(each.get("fingerprint")): each for each in found}


def _score(state: AssessmentState) -> int | None:
    score = (state.result or {}).get("score")
    return score.get("value") if isinstance(score, dict) else None
