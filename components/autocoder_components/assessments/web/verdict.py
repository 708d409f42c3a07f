"""The verdict of an assessment as part of a page: its score, its findings worst first, and what came to no verdict.

What a result holds is not trusted to have the shape of our reports: results are imported from older systems, too. One that has
another shape is shown as the JSON it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autocoder_components.assessments.lifecycle.stored import read
from autocoder_components.assessments.model import Severity, Status
from autocoder_components.assessments.reports.json_report import FORMAT
from autocoder_components.assessments.reports.text import percent, plural
from autocoder_components.assessments.web.controls import Compliance, Waiver, controls_section, waivers_section
from autocoder_components.assessments.web.layout import empty, notice
from autocoder_components.assessments.web.markup import Html, code, element, joined, said

MOST_FINDINGS = 500
MOST_OUTCOMES = 200
MOST_LINES = 5000
MOST_CHARACTERS = 1_000_000
_NO_VERDICT = (Status.ERROR, Status.MANUAL, Status.SKIPPED, Status.WAIVED)
_VERDICTS = frozenset({each.value for each in Status} - set(_NO_VERDICT))
_RANKS = {each.value: each.rank for each in Severity}
_LOOKS = {Status.PASS: "pass", Status.FAIL: "high", Status.ERROR: "critical", Status.MANUAL: "medium"}
_GOOD, _FAIR = 90, 60
_FROZEN = ConfigDict(frozen=True, extra="ignore")


class _Score(BaseModel):
    model_config = _FROZEN
    value: int | None = Field(ge=0, le=100)
    coverage: float = Field(ge=0, le=1, allow_inf_nan=False)
    judged: int
    planned: int
    counts: dict[Severity, int]
    rule_pack: str | None = None


class _Finding(BaseModel):
    model_config = _FROZEN
    rule: str
    severity: Severity
    file: str
    line: int
    column: int
    server: str | None
    message: str
    remedy: str
    owasp: str | None = None
    evidence: str | None = None
    new: bool | None = None
    waived: bool = False


class _Outcome(BaseModel):
    model_config = _FROZEN
    file: str | None
    server: str | None
    check: str
    status: Status
    reason: str | None


class _Report(BaseModel):
    """What is read of a report. Without findings where the pipeline keeps only the numbers."""

    model_config = _FROZEN
    score: _Score
    findings: list[_Finding] | None = None
    outcomes: list[_Outcome] = Field(default_factory=list)
    compliance: Compliance | None = None
    waivers: list[Waiver] = Field(default_factory=list)


def verdict(result: Mapping[str, Any]) -> Html:
    """The sections of a page that show a result."""
    result = read(result)
    try:
        if result.get("format") != FORMAT:
            return _as_it_is(result)
        report = _Report.model_validate(_bounded(result))
    except ValidationError:
        return _as_it_is(result)
    sections = (
        _summary(report),
        _findings(report, len(result.get("findings") or ())),
        controls_section(report.compliance),
        waivers_section(report.waivers),
    )
    return joined([*sections, _not_judged(report.outcomes)])


def _bounded(result: Mapping[str, Any]) -> dict[str, Any]:
    """As much of a report as a page shows: of megabytes of findings most would be read for nothing."""
    bounded, findings, outcomes = dict(result), result.get("findings"), result.get("outcomes")
    if isinstance(findings, list):
        # Ours come in this order; for a report of anybody else's it is made.
        bounded["findings"] = sorted(findings, key=_rank)[:MOST_FINDINGS]
    if isinstance(outcomes, list):
        bounded["outcomes"] = [
            each for each in outcomes if not isinstance(each, dict) or str(each.get("status")) not in _VERDICTS
        ]
    return bounded


def _rank(finding: Any) -> int:
    """Its place; what has none comes first, and is not overlooked."""
    return _RANKS.get(str(finding.get("severity")), -1) if isinstance(finding, dict) else -1


def _as_it_is(result: Mapping[str, Any]) -> Html:
    body = element("pre", *_lines(result), class_="card json", tabindex="0", aria_labelledby="result")
    return element("section", element("h2", "Result", id="result"), body, aria_labelledby="result")


def _lines(value: Any) -> list[str | Html]:
    """JSON for reading, line by line: a line break is no unseen character here, and what is too long is cut by the line.

    No more of it is written than is shown.
    """
    parts, lines, characters = list[str](), 0, 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False, sort_keys=True).iterencode(value):
        parts.append(part)
        lines, characters = lines + part.count("\n"), characters + len(part)
        if lines >= MOST_LINES or characters >= MOST_CHARACTERS:
            parts.append("\n…")
            break
    return [part for line in "".join(parts).split("\n") for part in (line, Html("\n"))]


def preformatted(value: Any, *, labelled_by: str) -> Html:
    """JSON in a box of its own that a keyboard can scroll."""
    return element("pre", *_lines(value), class_="json", tabindex="0", role="region", aria_labelledby=labelled_by)


def _summary(report: _Report) -> Html:
    score = report.score
    counts = {severity: max(0, score.counts.get(severity, 0)) for severity in Severity}
    worst = next((severity for severity in Severity if counts[severity]), None)
    if score.value is None:
        headline = "Nothing was assessed, so there is nothing to praise or to mend yet."
    elif worst is None:
        headline = "Nothing was found."
    else:
        headline = f"{plural(counts[worst], f'{worst} finding')} to mend first."
    listed = [element("li", _badge(severity, f"{count} {severity}")) for severity, count in counts.items()]
    coverage = f"{percent(score.coverage)} covered: {score.judged} of {plural(score.planned, 'check')} judged."
    words = element(
        "div",
        element("p", headline, class_="headline"),
        element("p", coverage, " Rules ", said(score.rule_pack or "unknown"), ".", class_="hint"),
        element("ul", *listed, class_="counts", aria_label="Findings by severity"),
    )
    return element(
        "section",
        element("h2", "Verdict", id="verdict"),
        element("div", _ring(score.value), words, class_="card verdict"),
        aria_labelledby="verdict",
    )


def _ring(value: int | None) -> Html:
    kind = "good" if (value or 0) >= _GOOD else "fair" if (value or 0) >= _FAIR else "poor"
    track = element("circle", class_="track", cx=50, cy=50, r=44)
    arc = element(
        "circle",
        class_=f"arc {kind}",
        cx=50,
        cy=50,
        r=44,
        pathLength=100,
        stroke_dasharray=f"{value} 100",
        transform="rotate(-90 50 50)",
    )
    if value is None:
        inner = element("text", "no score", class_="of", x=50, y=54)
    else:
        inner = joined(
            [element("text", value, class_="value", x=50, y=56), element("text", "of 100", class_="of", x=50, y=71)]
        )
    label = "No score: nothing was assessed" if value is None else f"Score {value} of 100"
    drawn = joined([track, arc if value else None, inner])
    return element("svg", drawn, class_="ring", viewBox="0 0 100 100", role="img", aria_label=label)


def _badge(severity: Severity, text: str) -> Html:
    return element("span", text, class_=f"badge {severity}")


def _findings(report: _Report, total: int) -> Html:
    if report.findings is None:
        body = empty("Not kept", "Of this verdict only the numbers are kept.")
    elif not report.findings:
        body = empty("No findings", "Nothing that the rules look for was found.")
    else:
        more = total - len(report.findings)
        rest = notice(element("p", f"And {more} more; the JSON has all of them.")) if more > 0 else None
        items = [_finding(each) for each in report.findings]
        body = joined([element("ul", *items, class_="findings"), rest])
    return element("section", element("h2", "Findings", id="findings"), body, aria_labelledby="findings")


def _finding(finding: _Finding) -> Html:
    tags = element(
        "div",
        _badge(finding.severity, finding.severity.capitalize()),
        element("span", "New", class_="badge new") if finding.new else None,
        element("span", "Waived", class_="badge plain") if finding.waived else None,
        element("span", said(finding.rule), class_="rule"),
        element("span", "OWASP ", said(finding.owasp), class_="badge plain") if finding.owasp else None,
        class_="tags",
    )
    server = joined([" · server ", element("b", said(finding.server))]) if finding.server is not None else None
    evidence = element("p", element("b", "Evidence"), " ", code(finding.evidence or ""), class_="evidence")
    return element(
        "li",
        tags,
        element("p", said(finding.message), class_="message"),
        element("p", code(f"{finding.file}:{finding.line}:{finding.column}"), server, class_="place"),
        element("p", element("b", "Remedy"), " ", said(finding.remedy), class_="remedy"),
        evidence if finding.evidence else None,
        class_=f"finding {finding.severity}",
    )


def _not_judged(outcomes: Sequence[_Outcome]) -> Html | None:
    shown = [each for each in outcomes if each.status in _NO_VERDICT]
    if not shown:
        return None
    head = element("tr", *(element("th", each, scope="col") for each in ("Where", "Check", "Outcome", "Why")))
    rows = [
        element(
            "tr",
            element("th", code(each.file or "the request"), f" · {each.server}" if each.server else None, scope="row"),
            element("td", said(each.check), data_label="Check"),
            element("td", _status(each.status), data_label="Outcome"),
            element("td", said(each.reason or "no reason given"), data_label="Why"),
        )
        for each in shown[:MOST_OUTCOMES]
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    lead = f"Neither good nor bad: {plural(len(shown), 'check')} came to no verdict, or someone has decided about them."
    return element(
        "section",
        element("h2", "Without a verdict", id="no-verdict"),
        element("p", lead, class_="lead"),
        element("div", table, class_="card scroll"),
        aria_labelledby="no-verdict",
    )


def _status(status: Status) -> Html:
    return element("span", status.replace("_", " "), class_=f"badge {_LOOKS.get(status, 'plain')}")
