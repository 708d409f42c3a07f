"""OSCAL assessment results (NIST, JSON): the report that tools for governance and compliance read.

One `result` for each framework, so that its requirements stay apart from another's, behind one for the controls themselves,
which holds what was observed; the others refer to it. A requirement that was judged is a finding with its observations. One
that was not is excluded from the reviewed controls and named in a property, for OSCAL has no state for it: it is satisfied or
it is not. What is waived is not satisfied, with an approved risk that says why, by whom and until when.

Every UUID is one of version 5, made of what it stands for: the same result gives the same document, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID, uuid5

from autocoder_components.assessments.controls.judging import judge
from autocoder_components.assessments.controls.packs import shipped_catalogue, token_of
from autocoder_components.assessments.controls.waivers import end_of
from autocoder_components.assessments.model import (
    OF_SERVERS,
    Assessment,
    CheckKind,
    Compliance,
    ControlResult,
    ControlStatus,
    Evidence,
    Finding,
    FrameworkResult,
    RequirementResult,
    Status,
    Target,
)
from autocoder_components.assessments.reports.json_report import json_document
from autocoder_components.assessments.reports.order import every_finding, evidence_of
from autocoder_components.assessments.reports.sarif import uri_of
from autocoder_components.assessments.reports.text import moment, stamp, visible
from autocoder_components.assessments.rules import KINDS

OSCAL_VERSION: Final = "1.2.3"
SPACE: Final = UUID("5f0c1a2e-8a53-5c0e-9d1b-6a4b8f0f7c11")
"""The namespace of our UUIDs. Another one would change every identifier of every report."""
NS: Final = "urn:autocoder:oscal"
OWN: Final = "autocoder-controls"
_STATES: Final = {
    ControlStatus.SATISFIED: ("satisfied", "pass"),
    ControlStatus.NOT_SATISFIED: ("not-satisfied", "fail"),
    ControlStatus.WAIVED: ("not-satisfied", "other"),
}
Json = dict[str, Any]


def oscal_document(assessment: Assessment) -> Json:
    """The assessment as OSCAL assessment results that fit the published schema of OSCAL_VERSION.

    An assessment whose request did not ask for controls is mapped to those that come with the pack. Without details there is no
    evidence, and no observation of what passed. Raises ValueError when a time of the assessment is not ISO 8601 with an offset.
    """
    compliance = assessment.compliance or judge(
        shipped_catalogue(), assessment.outcomes, details=assessment.request.include_details
    )
    page = _Page(assessment, compliance, {each.id: each for each in compliance.controls})
    plan, observed = _uuid("plan", page.digest), _Observations(page)
    own = _result(page, _own(compliance), observed) | observed.parts()
    finished = _time(assessment.finished_at)
    resources = [
        {
            "uuid": plan,
            "title": "The request",
            "description": f"No assessment plan was written. What was asked for: an assessment of type "
            f"{_prose(assessment.request.assessment_type)} with the id {_prose(assessment.request.assessment_id)}.",
        },
        *(_resource(file, digest) for file, digest in page.files.items()),
    ]
    return {
        "assessment-results": {
            "uuid": _uuid("document", page.digest),
            "metadata": {
                "title": "Assessment of MCP client configurations",
                "last-modified": finished,
                "version": _string(assessment.request.assessment_id),
                "oscal-version": OSCAL_VERSION,
                "props": [_prop("rule-pack", each) for each in (assessment.score.rule_pack, *compliance.rule_packs)],
            },
            "import-ap": {"href": f"#{plan}"},
            "results": [own, *(_result(page, each, observed) for each in compliance.frameworks)],
            "back-matter": {"resources": resources},
        }
    }


def render_oscal(assessment: Assessment) -> str:
    """`oscal_document` as indented text with a final newline, the same bytes for the same assessment."""
    return json.dumps(oscal_document(assessment), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class _Page:
    """What the parts of the document share."""

    assessment: Assessment
    compliance: Compliance
    controls: Mapping[str, ControlResult]

    @cached_property
    def digest(self) -> str:
        """A hash of the whole result."""
        text = json.dumps(json_document(self.assessment), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def files(self) -> dict[str, str]:
        """The hash of each file as it was judged, by file."""
        return dict(sorted((each.file, each.sha256) for each in self.assessment.targets if each.sha256))

    @cached_property
    def subjects(self) -> dict[tuple[str, str | None], Target]:
        """The files and servers that were judged, in order, by file and name; of two of one name the first."""
        ordered = sorted(self.assessment.targets, key=lambda each: (each.file, each.place.line, each.place.pointer))
        return {(each.file, each.server): each for each in reversed(ordered)}


def _own(compliance: Compliance) -> FrameworkResult:
    """The controls themselves as a framework of their own."""
    requirements = (RequirementResult(each.id, each.status, (each.id,), each.reason) for each in compliance.controls)
    return FrameworkResult(OWN, "Controls of autocoder", ", ".join(compliance.rule_packs), tuple(requirements))


def _result(page: _Page, framework: FrameworkResult, observed: _Observations) -> Json:
    judged = [each for each in framework.requirements if each.status in _STATES]
    left = [each for each in framework.requirements if each.status not in _STATES]
    result: Json = {
        "uuid": _uuid("result", framework.id, page.digest),
        "title": _prose(f"{framework.title} {framework.version}"),
        "description": "What rules over client configurations can tell of these requirements. A state is that of this part; "
        "what no configuration shows was not judged.",
        "start": _time(page.assessment.started_at),
        "end": _time(page.assessment.finished_at),
        "props": [
            _prop("framework", framework.id),
            *(_prop(each.status.replace("_", "-"), each.id, remarks=each.reason) for each in left),
        ],
        "reviewed-controls": {"control-selections": [_selection(framework.requirements, left)]},
    }
    if judged:
        result["findings"] = [_finding(page, framework.id, each, observed) for each in judged]
    return result


def _selection(every: Sequence[RequirementResult], left: Sequence[RequirementResult]) -> Json:
    """All requirements of the mapping, less those that were not judged: together, those that were."""
    selection: Json = {"include-controls": [{"control-id": token_of(each.id)} for each in every]}
    if left:
        selection["exclude-controls"] = [{"control-id": token_of(each.id)} for each in left]
    return selection


def _finding(page: _Page, framework: str, requirement: RequirementResult, observed: _Observations) -> Json:
    state, reason = _STATES[requirement.status]
    controls = [page.controls[name] for name in requirement.controls]
    status: Json = {"state": state, "reason": reason}
    if requirement.status is ControlStatus.WAIVED:
        status["remarks"] = "Not satisfied, and waived: the risks say why, by whom and until when."
    finding: Json = {
        "uuid": _uuid("finding", framework, requirement.id, page.digest),
        "title": _prose(requirement.id),
        "description": _prose("; ".join(f"{each.title}: {each.reason}" for each in controls)),
        "props": [_prop("status", requirement.status.replace("_", "-")), _prop("label", requirement.id)],
        "target": {"type": "objective-id", "target-id": token_of(requirement.id), "status": status},
    }
    observations, risks = observed.of(controls)
    if observations:
        finding["related-observations"] = [{"observation-uuid": each} for each in observations]
    if risks:
        finding["related-risks"] = [{"risk-uuid": each} for each in risks]
    return finding


class _Observations:
    """What was observed: one observation for each thing found, and one for each control that has verdicts in its favour."""

    def __init__(self, page: _Page) -> None:
        self._page = page
        rules = {rule for each in page.compliance.controls for rule in each.rules}
        self._findings = [each for each in every_finding(page.assessment) if each.rule in rules]

    def parts(self) -> Json:
        """The parts of a result that hold all observations, with their subjects and risks."""
        page = self._page
        controls = [each for each in page.compliance.controls if _passed(each)]
        found = {each.fingerprint: each for each in reversed(self._findings)}.values()
        parts = {
            "observations": [*map(self._found, reversed(found)), *map(self._in_favour, controls)],
            "risks": [_risk(page, each) for each in reversed(found) if each.waiver is not None],
        }
        kept: Json = {name: each for name, each in parts.items() if each}
        if page.subjects:
            kept["local-definitions"] = {"inventory-items": [*map(_subject, reversed(page.subjects.values()))]}
        return kept

    def of(self, controls: Sequence[ControlResult]) -> tuple[list[str], list[str]]:
        """The UUIDs of the observations and risks that belong to these controls."""
        rules = {rule for each in controls for rule in each.rules}
        found = [each for each in self._findings if each.rule in rules]
        ids = [
            *(self._id(each.fingerprint) for each in found),
            *(self._id(each.id) for each in controls if _passed(each)),
        ]
        risks = [_risk_id(self._page, each) for each in found if each.waiver is not None]
        return list(dict.fromkeys(ids)), list(dict.fromkeys(risks))

    def _id(self, *parts: str) -> str:
        return _uuid("observation", self._page.digest, *parts)

    def _found(self, finding: Finding) -> Json:
        page, place = self._page, finding.place
        props = [
            _prop("rule", finding.rule),
            _prop("severity", finding.severity.value),
            _prop("fingerprint", finding.fingerprint),
            *([_prop("server", finding.server)] if finding.server else []),
        ]
        made = {
            "uuid": self._id(finding.fingerprint),
            "title": _prose(f"{finding.rule}: {finding.message}"),
            "description": f"{_prose(finding.message)}\n\nRemedy: {_prose(finding.remedy)}",
            "props": props,
            "methods": [_method(KINDS.get(finding.rule, CheckKind.SECURITY))],
            "types": ["finding"],
            "collected": _time(page.assessment.finished_at),
        }
        subject = _subject_of(page, finding)
        if subject is not None:
            made["subjects"] = [{"subject-uuid": subject, "type": "inventory-item"}]
        if page.assessment.request.include_details:
            where = f"{place.file}:{place.line}:{place.column} {place.pointer}"
            shown = evidence_of(page.assessment, finding)
            made["relevant-evidence"] = [_evidence(page, place.file, where if shown is None else f"{where}: {shown}")]
        return made

    def _in_favour(self, control: ControlResult) -> Json:
        page, passed = self._page, _passed(control)
        said = f"{control.passed} verdicts of {', '.join(control.rules)} in {len(passed)} files found nothing."
        return {
            "uuid": self._id(control.id),
            "title": _prose(f"{control.title}: {control.passed} verdicts in favour"),
            "description": _prose(said),
            "methods": sorted({_method(KINDS[rule]) for rule in control.rules}),
            "types": ["control-objective"],
            "relevant-evidence": [_evidence(page, each.place.file, f"{each.count} verdicts") for each in passed],
            "collected": _time(page.assessment.finished_at),
        }


def _passed(control: ControlResult) -> list[Evidence]:
    """The evidence in favour of a control, a file each."""
    return [each for each in control.evidence if each.status is Status.PASS]


def _method(kind: CheckKind) -> str:
    return "TEST" if kind in OF_SERVERS else "EXAMINE"


def _evidence(page: _Page, file: str, description: str) -> Json:
    digest = page.files.get(file)
    if digest is None:
        return {"description": _prose(description)}
    resource, hashed = _resource_id(file, digest), [_prop("sha-256", digest)]
    return {"href": f"#{resource}", "description": _prose(description), "props": hashed}


def _resource(file: str, digest: str) -> Json:
    link = {"href": uri_of(file), "hashes": [{"algorithm": "SHA-256", "value": digest}]}
    return {"uuid": _resource_id(file, digest), "title": _prose(file), "rlinks": [link]}


def _resource_id(file: str, digest: str) -> str:
    return _uuid("resource", file, digest)


def _subject(target: Target) -> Json:
    what = "The file as a whole" if target.server is None else f"The server {_prose(target.server)}"
    where = f"{target.file}:{target.place.line}"
    return {
        "uuid": _subject_id(target),
        "description": f"{what}, {_prose(where)}",
        "props": [_prop("client", target.client), _prop("file", target.file), _prop("line", str(target.place.line))],
    }


def _subject_id(target: Target) -> str:
    return _uuid("subject", target.file, target.path, target.server or "", target.place.pointer, str(target.place.line))


def _subject_of(page: _Page, finding: Finding) -> str | None:
    target = page.subjects.get((finding.place.file, finding.server))
    return None if target is None else _subject_id(target)


def _risk(page: _Page, finding: Finding) -> Json:
    waiver = finding.waiver
    assert waiver is not None  # noqa: S101  only what is waived comes here
    return {
        "uuid": _risk_id(page, finding),
        "title": _prose(f"{finding.rule} is waived"),
        "description": _prose(finding.message),
        "statement": _prose(waiver.justification),
        "props": [_prop("owner", waiver.owner), _prop("expires", waiver.expires)],
        "status": "deviation-approved",
        "deadline": stamp(end_of(waiver.expires)),
    }


def _risk_id(page: _Page, finding: Finding) -> str:
    return _uuid("risk", page.digest, finding.fingerprint)


def _uuid(*parts: str) -> str:
    return str(uuid5(SPACE, "\0".join(visible(part) for part in parts)))


def _time(text: str) -> str:
    return stamp(moment(text))


def _prop(name: str, value: str, *, remarks: str | None = None) -> Json:
    prop = {"name": name, "ns": NS, "value": _string(value)}
    return prop if remarks is None else {**prop, "remarks": _prose(remarks)}


def _string(text: str) -> str:
    """A text as OSCAL's plain strings want it: one line, without space around it, not empty."""
    return " ".join(visible(text).split()) or "-"


def _prose(text: str) -> str:
    """A text as OSCAL's Markdown: what would be a link, a tag or a mark in a text of others is shown as it is written."""
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", _string(text))
