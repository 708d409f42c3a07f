"""SARIF 2.1.0 (OASIS, with errata 01): the report that code-scanning services and editors read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any
from urllib.parse import quote

from autocoder_components.assessments.model import Assessment, Finding, Outcome, RuleInfo, Severity, Status
from autocoder_components.assessments.reports.order import Facts, every_finding, evidence_of, facts_of, outcome_order
from autocoder_components.assessments.reports.text import moment, stamp, visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "autocoderFinding/v1"
"""The key of our fingerprint in `partialFingerprints`; its number changes when the way it is made does."""

_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
# Code-scanning services show these as critical (over 9.0), high (7.0 to 8.9), medium (4.0 to 6.9) and low (over 0).
_SECURITY_SEVERITY = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "0.0",
}
_BASES = {
    "%SRCROOT%": "The folder the assessment was started in",
    "%HOME%": "The home folder of the user whose configuration was read",
}


def sarif_document(
    assessment: Assessment, rules: Mapping[str, RuleInfo], *, tool_version: str | None = None
) -> dict[str, Any]:
    """The assessment as a SARIF log of one run; `rules` describes the rule pack by id, in any order.

    Files below the starting folder get URIs relative to `%SRCROOT%`, those written `~/...` relative to `%HOME%`,
    absolute ones `file:` URIs. Errors become notifications of the invocation, as do checks that were skipped. A rule
    that fired but is not in `rules` is described by its id alone. Raises ValueError when a time of the assessment is
    not ISO 8601 with an offset.
    """
    facts = facts_of(assessment)
    findings = every_finding(assessment)
    rule_ids = sorted({*rules, *(finding.rule for finding in findings)})
    files = sorted({target.file for target in assessment.targets} | {f.place.file for f in findings})
    index = {file: at for at, file in enumerate(files)}
    digests = dict(sorted(((t.file, t.sha256) for t in assessment.targets), reverse=True))
    waivers = _waivers(assessment)
    driver: dict[str, Any] = {
        "name": "autocoder",
        "rules": [_rule(rules[rule_id]) if rule_id in rules else {"id": visible(rule_id)} for rule_id in rule_ids],
        "properties": {"rulePack": visible(assessment.score.rule_pack)},
    }
    if tool_version is not None:
        driver["version"] = tool_version
    run = {
        "tool": {"driver": driver},
        "automationDetails": {
            "id": f"autocoder/assessment/{quote(assessment.request.assessment_id, errors='replace')}"
        },
        "invocations": [_invocation(assessment, index)],
        "originalUriBaseIds": {name: {"description": {"text": text}} for name, text in _BASES.items()},
        "artifacts": [_artifact(file, digests.get(file)) for file in files],
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(assessment, finding, facts, rule_ids.index(finding.rule), index)
            | _suppressed(finding, waivers.get(finding.fingerprint))
            for finding in findings
        ],
        "properties": _run_properties(assessment, facts),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def render_sarif(assessment: Assessment, rules: Mapping[str, RuleInfo], *, tool_version: str | None = None) -> str:
    """`sarif_document` as indented text with a final newline, the same bytes for the same assessment and rules."""
    document = sarif_document(assessment, rules, tool_version=tool_version)
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rule(rule: RuleInfo) -> dict[str, Any]:
    tags = ["security", "mcp", *(["owasp-mcp", f"external/owasp/{rule.owasp.lower()}"] if rule.owasp else [])]
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": _plain(rule.title)},
        "fullDescription": {"text": _plain(rule.help.strip().partition("\n\n")[0])},
        "help": {
            "text": f"{_plain(rule.help.strip())}\n\nRemedy: {_plain(rule.remedy)}",
            "markdown": f"{rule.help.strip()}\n\n**Remedy:** {rule.remedy}",
        },
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": tags,
            "precision": "high",
            "problem.severity": {"error": "error", "warning": "warning", "note": "recommendation"}[
                _LEVELS[rule.severity]
            ],
            "security-severity": _SECURITY_SEVERITY[rule.severity],
            "severity": rule.severity.value,
            **({"owasp": rule.owasp} if rule.owasp else {}),
        },
    }


def _result(
    assessment: Assessment, finding: Finding, facts: Facts, rule_index: int, index: Mapping[str, int]
) -> dict[str, Any]:
    place = finding.place
    region = {"startLine": max(place.line, 1), "startColumn": max(place.column, 1)}
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": _artifact_location(place.file, index), "region": region}
    }
    if finding.server is not None or place.pointer:
        logical = {"name": finding.server, "fullyQualifiedName": place.pointer}
        location["logicalLocations"] = [{key: visible(value) for key, value in logical.items() if value}]
    evidence = evidence_of(assessment, finding)
    properties = {
        "severity": finding.severity.value,
        "security-severity": _SECURITY_SEVERITY[finding.severity],
        "remedy": finding.remedy,
        "server": finding.server,
        "owasp": finding.owasp,
        "evidence": evidence,
    }
    result: dict[str, Any] = {
        "ruleId": visible(finding.rule),
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": _plain(finding.message) or _plain(finding.rule)},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "properties": {key: visible(value) for key, value in properties.items() if value is not None},
    }
    if assessment.baseline is not None:
        result["baselineState"] = "new" if finding.fingerprint in facts.new else "unchanged"
    return result


def _suppressed(finding: Finding, outcome: Outcome | None) -> dict[str, Any]:
    waiver = finding.waiver
    if waiver is not None:
        said = f"{waiver.justification} ({waiver.owner}, until {waiver.expires})"
    elif outcome is not None:
        said = outcome.reason or "waived"
    else:
        return {}
    return {"suppressions": [{"kind": "external", "status": "accepted", "justification": _plain(said)}]}


def _waivers(assessment: Assessment) -> dict[str, Outcome]:
    """By fingerprint, the first outcome that waives it."""
    waived = sorted((o for o in assessment.outcomes if o.status is Status.WAIVED), key=outcome_order, reverse=True)
    return {finding.fingerprint: outcome for outcome in waived for finding in outcome.findings}


def _invocation(assessment: Assessment, index: Mapping[str, int]) -> dict[str, Any]:
    ordered = sorted(assessment.outcomes, key=outcome_order)
    errors = [outcome for outcome in ordered if outcome.status is Status.ERROR]
    left_out = [outcome for outcome in ordered if outcome.status in (Status.SKIPPED, Status.MANUAL)]
    return {
        "executionSuccessful": not errors,
        "startTimeUtc": stamp(moment(assessment.started_at)),
        "endTimeUtc": stamp(moment(assessment.finished_at)),
        "toolExecutionNotifications": [_notification(outcome, "error", index) for outcome in errors],
        "toolConfigurationNotifications": [_notification(outcome, "note", index) for outcome in left_out],
    }


def _notification(outcome: Outcome, level: str, index: Mapping[str, int]) -> dict[str, Any]:
    target = outcome.target
    server = f" of server {target.server}" if target and target.server is not None else ""
    text = f"{outcome.kind} check{server}: {outcome.status}: {outcome.reason or 'no reason given'}"
    notification: dict[str, Any] = {"level": level, "message": {"text": _plain(text)}}
    if target is not None:
        region = {"startLine": max(target.place.line, 1), "startColumn": max(target.place.column, 1)}
        physical = {"artifactLocation": _artifact_location(target.file, index), "region": region}
        notification["locations"] = [{"physicalLocation": physical}]
    return notification


def _artifact(file: str, digest: str | None) -> dict[str, Any]:
    artifact: dict[str, Any] = {"location": _artifact_location(file, {}), "roles": ["analysisTarget"]}
    return {**artifact, "hashes": {"sha-256": digest}} if digest else artifact


def _artifact_location(file: str, index: Mapping[str, int]) -> dict[str, Any]:
    uri, base = _uri(file)
    location: dict[str, Any] = {"uri": uri}
    if base is not None:
        location["uriBaseId"] = base
    if file in index:
        location["index"] = index[file]
    return location


def _uri(file: str) -> tuple[str, str | None]:
    """The URI of a file as shown to a person, and the base it is relative to (None when it is absolute)."""
    if re.match(r"[A-Za-z]:[\\/]", file):
        return "file:///" + file[:2] + _encoded(PureWindowsPath(file).as_posix()[2:]), None
    posix = PurePath(file).as_posix() if file else "unknown"
    if posix.startswith("/"):
        return "file://" + _encoded(posix), None
    if posix.startswith("~/"):
        return _encoded(posix[2:]), "%HOME%"
    return _encoded(posix), "%SRCROOT%"


def uri_of(file: str) -> str:
    """The URI reference of a file as shown to a person."""
    return _uri(file)[0]


def _encoded(path: str) -> str:
    try:
        return quote(os.fsencode(path), safe="/")
    except UnicodeEncodeError:
        return quote(path.encode("utf-8", errors="replace"), safe="/")


def _run_properties(assessment: Assessment, facts: Facts) -> dict[str, Any]:
    score = assessment.score
    return {
        "score": score.value,
        "coverage": round(score.coverage, 6),
        "judged": facts.judged,
        "planned": facts.planned,
        "counts": {severity.value: score.counts.get(severity, 0) for severity in Severity},
        "assessmentType": visible(assessment.request.assessment_type),
    }


def _plain(text: str) -> str:
    r"""`text` as a SARIF plain-text message, in which `[a](b)` would be a link and `{0}` a placeholder.

    The link form is broken by an escape, so that a server's name cannot plant a link in someone's review. Only what
    would be read as a placeholder has its braces doubled: the standard asks to double all of them, but no reader we
    know halves them again in a message without arguments, and `${TOKEN}` would be shown as `${{TOKEN}}`.
    """
    linkless = re.sub(r"\[(?=[^\[\]]*\]\()", r"\\[", visible(text, keep_newlines=True))
    return re.sub(r"\{(\d+)\}", r"{{\1}}", linkless)
