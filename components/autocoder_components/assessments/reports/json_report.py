"""The report for programs: one JSON document of a published, versioned shape.

Within version 1 members are only added, never renamed, removed or given another meaning.
"""

from __future__ import annotations

import json
from typing import Any

from autocoder_components.assessments.model import Assessment, Finding, Outcome, Severity, Status, Target
from autocoder_components.assessments.reports.json_compliance import (
    WAIVER_SCHEMA,
    compliance_data,
    compliance_schema,
    object_schema,
    waiver_data,
    waiver_schema,
    waiver_terms,
)
from autocoder_components.assessments.reports.order import every_finding, evidence_of, facts_of, outcome_order
from autocoder_components.assessments.reports.text import visible

FORMAT = "autocoder-assessment-report"
VERSION = 1


def json_document(assessment: Assessment) -> dict[str, Any]:
    """The report as JSON values that fit `json_schema()`; equal for assessments that differ in order alone.

    Holds no text of an inline configuration, no absolute path of this machine and no control character. Where the
    request asked for no details, evidence is null, and outcomes and controls that passed are left out (they stay counted).
    `findings` holds those that are waived, too, which `counts` does not.
    """
    facts = facts_of(assessment)
    score = assessment.score
    request = assessment.request
    outcomes = sorted(assessment.outcomes, key=outcome_order)
    if not request.include_details:
        outcomes = [o for o in outcomes if o.status not in (Status.PASS, Status.NOT_APPLICABLE)]
    baseline = None if assessment.baseline is None else {"name": visible(assessment.baseline), "new": len(facts.new)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "assessment": {
            "id": visible(request.assessment_id),
            "type": visible(request.assessment_type),
            "started_at": assessment.started_at,
            "finished_at": assessment.finished_at,
        },
        "score": {
            "value": score.value,
            "coverage": round(score.coverage, 6),
            "judged": facts.judged,
            "planned": facts.planned,
            "counts": {severity.value: score.counts.get(severity, 0) for severity in Severity},
            "rule_pack": visible(score.rule_pack),
        },
        "baseline": baseline,
        "targets": [_target(target) for target in sorted(assessment.targets, key=_target_order)],
        "findings": [_finding(assessment, finding, facts.new, facts.waived) for finding in every_finding(assessment)],
        "outcomes": [_outcome(outcome) for outcome in outcomes],
        "compliance": None
        if assessment.compliance is None
        else compliance_data(assessment.compliance, request.include_details),
        "waivers": [waiver_data(each) for each in assessment.waivers],
    }


def render_json(assessment: Assessment) -> str:
    """`json_document` as indented text with a final newline, the same bytes for the same assessment."""
    return json.dumps(json_document(assessment), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _target_order(target: Target) -> tuple[str, int, str, str]:
    return (target.file, target.place.line, target.server or "", target.place.pointer)


def _text(value: str | None) -> str | None:
    return None if value is None else visible(value)


def _target(target: Target) -> dict[str, Any]:
    return {
        "file": visible(target.file),
        "server": _text(target.server),
        "client": visible(target.client),
        "scope": visible(target.scope),
        "dialect": visible(target.dialect),
        "pointer": visible(target.place.pointer),
        "line": target.place.line,
        "sha256": target.sha256,
    }


def _finding(assessment: Assessment, finding: Finding, new: frozenset[str], waived: frozenset[str]) -> dict[str, Any]:
    return {
        "rule": visible(finding.rule),
        "severity": finding.severity.value,
        "owasp": _text(finding.owasp),
        "file": visible(finding.place.file),
        "line": finding.place.line,
        "column": finding.place.column,
        "pointer": visible(finding.place.pointer),
        "server": _text(finding.server),
        "message": visible(finding.message),
        "remedy": visible(finding.remedy),
        "evidence": _text(evidence_of(assessment, finding)),
        "fingerprint": finding.fingerprint,
        "new": None if assessment.baseline is None else finding.fingerprint in new,
        "waived": finding.fingerprint in waived,
        "waiver": None if finding.waiver is None else waiver_terms(finding.waiver),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    target = outcome.target
    return {
        "file": None if target is None else visible(target.file),
        "server": None if target is None else _text(target.server),
        "check": outcome.kind.value,
        "status": outcome.status.value,
        "findings": sorted(finding.fingerprint for finding in outcome.findings),
        "reason": _text(outcome.reason),
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the report; unknown members are allowed, as later ones of version 1 would be."""
    text, natural, line = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}
    maybe_text, flag = {"type": ["string", "null"]}, {"type": "boolean"}
    severity = {"enum": [severity.value for severity in Severity]}
    place = {"file": text, "line": line, "pointer": text}
    score = {
        "value": {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        "coverage": {"type": "number", "minimum": 0, "maximum": 1},
        "judged": natural,
        "planned": natural,
        "counts": object_schema({severity.value: natural for severity in Severity}),
        "rule_pack": text,
    }
    target = {**place, "server": maybe_text, "client": text, "scope": text, "dialect": text, "sha256": text}
    finding = {
        **place,
        "rule": text,
        "severity": severity,
        "owasp": maybe_text,
        "column": line,
        "server": maybe_text,
        "message": text,
        "remedy": text,
        "evidence": maybe_text,
        "fingerprint": text,
        "new": {"type": ["boolean", "null"]},
        "waived": flag,
        "waiver": {"anyOf": [{"type": "null"}, WAIVER_SCHEMA]},
    }
    outcome = {
        "file": maybe_text,
        "server": maybe_text,
        "check": text,
        "status": {"enum": [status.value for status in Status]},
        "findings": {"type": "array", "items": text},
        "reason": maybe_text,
    }
    moment = {"type": "string", "format": "date-time"}
    members = {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "assessment": object_schema({"id": text, "type": text, "started_at": moment, "finished_at": moment}),
        "score": object_schema(score),
        "baseline": {"anyOf": [{"type": "null"}, object_schema({"name": text, "new": natural})]},
        "targets": {"type": "array", "items": object_schema(target)},
        "findings": {"type": "array", "items": object_schema(finding)},
        "outcomes": {"type": "array", "items": object_schema(outcome)},
        "compliance": {"anyOf": [{"type": "null"}, compliance_schema()]},
        "waivers": {"type": "array", "items": waiver_schema()},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **object_schema(members)}
