"""Controls, frameworks and waivers as JSON values, and their schema: a part of the report for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from autocoder_components.assessments.model import (
    Compliance,
    ControlResult,
    ControlStatus,
    Evidence,
    FrameworkResult,
    Status,
    Waiver,
    WaiverState,
    WaiverUse,
)
from autocoder_components.assessments.reports.text import visible


def compliance_data(compliance: Compliance, details: bool) -> dict[str, Any]:
    """Every control and requirement; without `details` only those that are not satisfied, all of them counted."""
    return {
        "rule_packs": [visible(each) for each in compliance.rule_packs],
        "counts": counts_of(each.status for each in compliance.controls),
        "controls": [_control(each) for each in compliance.controls if details or _fails(each.status)],
        "frameworks": [_framework(each, details) for each in compliance.frameworks],
    }


def counts_of(statuses: Iterable[ControlStatus]) -> dict[str, int]:
    """How many there are of each status, every status present."""
    counted = Counter(statuses)
    return {each.value: counted[each] for each in ControlStatus}


def _fails(status: ControlStatus) -> bool:
    return status is ControlStatus.NOT_SATISFIED


def _control(control: ControlResult) -> dict[str, Any]:
    return {
        "id": visible(control.id),
        "title": visible(control.title),
        "statement": visible(control.statement),
        "rules": [visible(each) for each in control.rules],
        "status": control.status.value,
        "reason": visible(control.reason),
        "passed": control.passed,
        "failed": control.failed,
        "waived": control.waived,
        "missing": control.missing,
        "evidence": [_evidence(each) for each in control.evidence],
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    place = evidence.place
    return {
        "file": visible(place.file),
        "line": place.line,
        "column": place.column,
        "pointer": visible(place.pointer),
        "sha256": evidence.sha256,
        "status": evidence.status.value,
        "count": evidence.count,
        "rule": evidence.rule,
        "server": None if evidence.server is None else visible(evidence.server),
        "fingerprint": evidence.fingerprint,
    }


def _framework(framework: FrameworkResult, details: bool) -> dict[str, Any]:
    return {
        "id": visible(framework.id),
        "title": visible(framework.title),
        "version": visible(framework.version),
        "counts": counts_of(each.status for each in framework.requirements),
        "requirements": [
            {
                "id": visible(each.id),
                "status": each.status.value,
                "controls": [visible(name) for name in each.controls],
                "reason": visible(each.reason),
            }
            for each in framework.requirements
            if details or _fails(each.status)
        ],
    }


def waiver_terms(waiver: Waiver) -> dict[str, str]:
    """Why, by whom and until when."""
    return {
        "justification": visible(waiver.justification),
        "owner": visible(waiver.owner),
        "expires": visible(waiver.expires),
    }


def waiver_data(use: WaiverUse) -> dict[str, Any]:
    """A waiver, where it stands and what became of it."""
    return {
        "file": visible(use.place.file),
        "line": use.place.line,
        "covers": visible(use.covers),
        "state": use.state.value,
        "matched": use.matched,
        **waiver_terms(use.waiver),
    }


def object_schema(members: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with these members, all of them required."""
    return {"type": "object", "required": sorted(members), "properties": members}


_TEXT: Final = {"type": "string"}
_MAYBE: Final = {"type": ["string", "null"]}
_NATURAL: Final = {"type": "integer", "minimum": 0}
_LINE: Final = {"type": "integer", "minimum": 1}
_TERMS: Final[dict[str, Any]] = {"justification": _TEXT, "owner": _TEXT, "expires": _TEXT}
WAIVER_SCHEMA: Final = object_schema(_TERMS)


def waiver_schema() -> dict[str, Any]:
    """The schema of `waiver_data`."""
    # A waiver stands in a file that has a line of it.
    known = {"file": _TEXT, "line": _LINE, "covers": _TEXT, "matched": _NATURAL}
    return object_schema({**known, "state": {"enum": [each.value for each in WaiverState]}, **_TERMS})


def compliance_schema() -> dict[str, Any]:
    """The schema of `compliance_data`."""
    status = {"enum": [each.value for each in ControlStatus]}
    counts = object_schema({each.value: _NATURAL for each in ControlStatus})
    names = {"type": "array", "items": _TEXT}
    evidence = {
        **{"file": _TEXT, "line": _LINE, "column": _LINE, "pointer": _TEXT, "sha256": _TEXT, "count": _LINE},
        **{"rule": _MAYBE, "server": _MAYBE, "fingerprint": _MAYBE},
        "status": {"enum": [each.value for each in Status]},
    }
    control = {
        **{"id": _TEXT, "title": _TEXT, "statement": _TEXT, "rules": names, "status": status, "reason": _TEXT},
        **dict.fromkeys(("passed", "failed", "waived", "missing"), _NATURAL),
        "evidence": {"type": "array", "items": object_schema(evidence)},
    }
    requirement = object_schema({"id": _TEXT, "status": status, "controls": names, "reason": _TEXT})
    framework = {"id": _TEXT, "title": _TEXT, "version": _TEXT, "counts": counts}
    framework["requirements"] = {"type": "array", "items": requirement}
    return object_schema(
        {
            "rule_packs": names,
            "counts": counts,
            "controls": {"type": "array", "items": object_schema(control)},
            "frameworks": {"type": "array", "items": object_schema(framework)},
        }
    )
