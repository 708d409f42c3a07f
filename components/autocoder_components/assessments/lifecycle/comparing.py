"""What differs between two verdicts: for a service that is moved over, and for what changed since yesterday.

A score also moves where no configuration did: a waiver ended, or a check was left out. So it is told apart what is gone and
what nobody looked for any more, and what counts differently though it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from autocoder_components.assessments.lifecycle.errors import AssessmentError
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.lifecycle.stored import read
from autocoder_components.assessments.model import Status
from autocoder_components.assessments.score import JUDGED

Finding = Mapping[str, Any]
Place = tuple[str | None, str | None, str | None]
"""File, server and check of an outcome."""


class NothingToCompareError(AssessmentError):
    """An assessment has no verdict with findings."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Findings by fingerprint: those of the second alone (`new`), of the first alone, and how many are in both (`same`).

    Those of the first alone are `gone` where the second looked for them, else `not_judged`. Of those in both, `waived` are so
    in the second alone, `waived_no_longer` in the first alone. Findings are as the JSON report has them, in its order: the
    worst first. A coverage is 0 to 1.
    """

    first: str
    second: str
    score_first: int | None
    score_second: int | None
    coverage_first: float | None
    coverage_second: float | None
    rule_pack_first: str | None
    rule_pack_second: str | None
    new: Sequence[Finding]
    gone: Sequence[Finding]
    not_judged: Sequence[Finding]
    waived: Sequence[Finding]
    waived_no_longer: Sequence[Finding]
    same: int

    @property
    def differs(self) -> bool:
        """Whether the verdicts are not the same."""
        changed = self.new or self.gone or self.not_judged or self.waived or self.waived_no_longer
        return bool(changed) or self.score_first != self.score_second


def compared(first: AssessmentState, second: AssessmentState) -> Comparison:
    """What differs between the verdicts of two assessments. Raises NothingToCompareError where one has none."""
    one, other = _report(first), _report(second)
    old, new = _findings(one), _findings(other)
    places, judging = _places(one), _Judging(other, second.request)
    left = {name: each for name, each in old.items() if name not in new}
    gone = {name for name in left if judging.has(places.get(name))}
    both = [(old[name], each) for name, each in new.items() if name in old]
    return Comparison(
        first.assessment_id,
        second.assessment_id,
        score_first=_of_score(one, "value"),
        score_second=_of_score(other, "value"),
        coverage_first=_of_score(one, "coverage"),
        coverage_second=_of_score(other, "coverage"),
        rule_pack_first=_of_score(one, "rule_pack"),
        rule_pack_second=_of_score(other, "rule_pack"),
        new=[each for name, each in new.items() if name not in old],
        gone=[each for name, each in left.items() if name in gone],
        not_judged=[each for name, each in left.items() if name not in gone],
        waived=[each for before, each in both if each.get("waived") and not before.get("waived")],
        waived_no_longer=[each for before, each in both if before.get("waived") and not each.get("waived")],
        same=len(both),
    )


def _report(state: AssessmentState) -> dict[str, Any]:
    report = read(state.result or {})
    findings = report.get("findings")
    if not isinstance(findings, list):
        why = "its result holds no findings" if report else f"it is {state.state}"
    elif not all(isinstance(each, Mapping) and isinstance(each.get("fingerprint"), str) for each in findings):
        why = "its findings have no fingerprints, as an older system's; assess it again"
    else:
        return report
    raise NothingToCompareError(f"assessment {state.assessment_id!r} cannot be compared: {why}")


def _findings(report: Mapping[str, Any]) -> dict[str, Finding]:
    return {each["fingerprint"]: each for each in report["findings"]}


def _of_score(report: Mapping[str, Any], name: str) -> Any:
    score = report.get("score")
    return score.get(name) if isinstance(score, dict) else None


def _parts(report: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list; none where an older system has something else under that name."""
    found = report.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _word(part: Mapping[str, Any], name: str) -> str | None:
    value = part.get(name)
    return value if isinstance(value, str) else None


def _outcomes(report: Mapping[str, Any]) -> list[tuple[Place, Mapping[str, Any]]]:
    return [
        ((_word(each, "file"), _word(each, "server"), _word(each, "check")), each)
        for each in _parts(report, "outcomes")
    ]


def _places(report: Mapping[str, Any]) -> dict[str, Place]:
    """Where each finding comes from."""
    listed = [(place, each.get("findings")) for place, each in _outcomes(report)]
    return {str(name): place for place, names in listed if isinstance(names, list) for name in names}


class _Judging:
    """What an assessment looked at. An older system's result does not say, and counts as having looked at everything."""

    def __init__(self, report: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        self._status = {place: str(each.get("status")) for place, each in _outcomes(report)}
        self._targets = {(_word(each, "file"), _word(each, "server")) for each in _parts(report, "targets")}
        # Without details, outcomes that passed are left out: then a check that is not there may have passed.
        self._tells_passes = request.get("include_details") is not False
        self._servers = [str(each).lower() for each in request.get("server_filter") or ()]

    def has(self, place: Place | None) -> bool:
        """Whether it came to a verdict there, or there is nothing there any more."""
        if place is None:
            return True
        file, server, check = place
        if place in self._status:
            return self._status[place] in JUDGED
        # A file that cannot be read has one outcome for all of its servers.
        if self._status.get((file, None, check), Status.PASS) not in JUDGED:
            return False
        if (
            server is not None
            and self._servers
            and not any(fnmatchcase(server.lower(), each) for each in self._servers)
        ):
            return False
        return not (self._tells_passes and (file, server) in self._targets)
