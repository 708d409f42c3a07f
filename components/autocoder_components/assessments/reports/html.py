"""The report a person shows to a colleague: one HTML file that needs nothing else, not even its script.

Everything that comes out of an assessment is made visible and escaped by `escaped`, and nothing else puts values into the
page. The Content-Security-Policy allows exactly our style and our script, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TypeVar

from autocoder_components.assessments.model import (
    Assessment,
    CheckKind,
    Finding,
    Outcome,
    RuleInfo,
    Severity,
    Status,
    Target,
)
from autocoder_components.assessments.reports.html_controls import controls_section, waivers_section
from autocoder_components.assessments.reports.markup import escaped, isolated, path_of
from autocoder_components.assessments.reports.order import (
    Facts,
    by_place,
    evidence_of,
    facts_of,
    outcome_order,
    worst_first,
)
from autocoder_components.assessments.reports.text import moment, percent, plural
from autocoder_components.assessments.score import WEIGHTS, count_by_severity

_Key = TypeVar("_Key")
_NONE = '<span class="none">none</span>'
# A shape of its own for each severity, so that colour is never the only sign (in a box of 12 by 12).
_MARKS = {
    Severity.CRITICAL: "M4 0h4l4 4v4l-4 4H4L0 8V4z",
    Severity.HIGH: "M6 0l6 11.5H0z",
    Severity.MEDIUM: "M6 0l6 6-6 6-6-6z",
    Severity.LOW: "M6 0a6 6 0 110 12A6 6 0 016 0zm0 2.8a3.2 3.2 0 100 6.4 3.2 3.2 0 000-6.4z",
    Severity.INFO: "M0 4.5h12v3H0z",
}


@dataclass(frozen=True, slots=True)
class _Page:
    """What the parts of the page share."""

    assessment: Assessment
    rules: Mapping[str, RuleInfo]
    facts: Facts


def render_html(assessment: Assessment, rules: Mapping[str, RuleInfo]) -> str:
    """The report as one HTML document; `rules` describes the rule pack by id.

    The same assessment and rules give the same text, whatever the order of findings. Raises ValueError when a time of
    the assessment is not ISO 8601 with an offset.
    """
    page = _Page(assessment, rules, facts_of(assessment))
    style, script = (
        files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{_title(page)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#findings">Skip to the findings</a>
<div class="page">
{_header(page)}
<main>
{_summary(page)}
{_findings(page)}
{controls_section(page.assessment)}
{waivers_section(page.assessment)}
{_not_judged(page)}
{_rules(page)}
{_targets(page)}
</main>
{_footer(page)}
</div>
<script>{script}</script>
</body>
</html>
"""


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _prose(markdown: str) -> str:
    """The little of Markdown that rules are explained in: paragraphs, `code`, **strong** and *emphasis*."""
    paragraphs = (escaped(" ".join(part.split())) for part in re.split(r"\n\s*\n", markdown.strip()))
    marked = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    marked = re.sub(r"`([^`<>]+)`", r"<code>\1</code>", marked)
    marked = re.sub(r"\*\*([^*<>]+)\*\*", r"<strong>\1</strong>", marked)
    return re.sub(r"(?<![\w*])\*([^*<>\s][^*<>]*)\*(?![\w*])", r"<em>\1</em>", marked)


def _mark(severity: Severity) -> str:
    return f'<svg class="mark" viewBox="0 0 12 12" aria-hidden="true"><path d="{_MARKS[severity]}"/></svg>'


def _badge(severity: Severity, text: str) -> str:
    return f'<span class="badge {severity}">{_mark(severity)}{text}</span>'


def _title(page: _Page) -> str:
    value = page.assessment.score.value
    return f"MCP assessment: {'no score' if value is None else f'{value} of 100'}"


def _header(page: _Page) -> str:
    request, finished = page.assessment.request, moment(page.assessment.finished_at)
    when = f"{finished.day} {finished:%B %Y, %H:%M} UTC"
    return f"""<header class="top">
<h1>Assessment of MCP client configurations</h1>
<p><time datetime="{escaped(page.assessment.finished_at)}">{when}</time> · {escaped(request.assessment_type)} assessment \
<code>{isolated(request.assessment_id)}</code> · rules {escaped(page.assessment.score.rule_pack)}</p>
</header>"""


def _summary(page: _Page) -> str:
    facts, score = page.facts, page.assessment.score
    counts = {severity: score.counts.get(severity, 0) for severity in Severity}
    listed = "".join(
        f'<li class="{severity}">{_mark(severity)}<span><b>{count}</b> {severity}</span></li>'
        for severity, count in counts.items()
    )
    tiles = [
        ("Coverage", percent(score.coverage), f"{facts.judged} of {plural(facts.planned, 'check')} judged"),
        ("Servers", str(facts.servers), f"in {plural(facts.files, 'file')}"),
        (
            "Without a verdict",
            str(len(facts.not_judged)),
            "listed below" if facts.not_judged else "every check was judged",
        ),
    ]
    if page.assessment.baseline is not None:
        tiles.insert(1, ("New", str(len(facts.new)), f"since {isolated(page.assessment.baseline)}"))
    described = "".join(
        f'<div class="card"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>' for name, value, note in tiles
    )
    return f"""<section aria-labelledby="summary">
<h2 id="summary" class="visually-hidden">Summary</h2>
<div class="card verdict">
{_ring(score.value)}
<div><p class="headline">{_headline(page, counts)}</p>
{_bar(counts)}
<ul class="counts" aria-label="Findings by severity">{listed}</ul></div>
</div>
<dl class="tiles">{described}</dl>
{_notice(page)}
</section>"""


def _ring(value: int | None) -> str:
    good, fair = 90, 60
    label = "No score: nothing was assessed" if value is None else f"Score {value} of 100"
    kind = "good" if (value or 0) >= good else "fair" if (value or 0) >= fair else "poor"
    arc = (
        f'<circle class="arc {kind}" cx="50" cy="50" r="44" pathLength="100" stroke-dasharray="{value} 100" '
        'transform="rotate(-90 50 50)"/>'
        if value
        else ""
    )
    inner = (
        '<text class="of" x="50" y="54">no score</text>'
        if value is None
        else f'<text class="value" x="50" y="56">{value}</text><text class="of" x="50" y="71">of 100</text>'
    )
    return (
        f'<svg class="ring" viewBox="0 0 100 100" role="img" aria-label="{label}">'
        f'<circle class="track" cx="50" cy="50" r="44"/>{arc}{inner}</svg>'
    )


def _headline(page: _Page, counts: Mapping[Severity, int]) -> str:
    facts = page.facts
    if page.assessment.score.value is None:
        return "Nothing was assessed, so there is nothing to praise or to mend yet."
    if not sum(counts.values()):
        return f"Nothing found in {plural(facts.servers, 'server')}."
    worst = next(severity for severity in Severity if counts[severity])
    touched = len({(finding.place.file, finding.server) for finding in page.assessment.findings if finding.server})
    where = (
        f" {touched} of {plural(facts.servers, 'server')} {'has' if touched == 1 else 'have'} findings."
        if touched
        else ""
    )
    return f"{plural(counts[worst], f'{worst} finding')} to mend first.{where}"


def _bar(counts: Mapping[Severity, int]) -> str:
    total, start, parts = sum(counts.values()), 0.0, []
    for severity, count in counts.items():
        share = 100 * count / total if total else 0
        if share:
            parts.append(f'<rect class="{severity}" x="{start:.2f}" width="{share:.2f}" height="4"/>')
        start += share
    return f'<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _notice(page: _Page) -> str:
    errors = sum(outcome.status is Status.ERROR for outcome in page.facts.not_judged)
    if not errors:
        return ""
    went = "check ended in an error and is" if errors == 1 else "checks ended in errors and are"
    return f'<p class="notice"><b>{errors} {went} missing here.</b> <a href="#no-verdict">See which, and why</a></p>'


def _findings(page: _Page) -> str:
    ordered = worst_first(page.assessment.findings)
    if not ordered:
        body = '<div class="card empty"><b>No findings</b>Nothing that the rules look for was found.</div>'
    else:
        body = _filters(page) + "".join(
            _file(page, file, of_file) for file, of_file in _grouped(ordered, lambda finding: finding.place.file)
        )
    return f'<section aria-labelledby="findings">\n<h2 id="findings" tabindex="-1">Findings</h2>\n{body}\n</section>'


def _grouped(ordered: Iterable[Finding], key: Callable[[Finding], _Key]) -> list[tuple[_Key, list[Finding]]]:
    """Findings by `key`, the group of the first finding first: what is worst decides the order of groups as well."""
    groups: dict[_Key, list[Finding]] = {}
    for finding in ordered:
        groups.setdefault(key(finding), []).append(finding)
    return list(groups.items())


def _filters(page: _Page) -> str:
    counts = count_by_severity(page.assessment.findings)
    boxes = "".join(
        f'<label class="{severity}"><input type="checkbox" id="show-{severity}" checked>{_mark(severity)}'
        f"{severity.capitalize()} {count}</label>"
        for severity, count in counts.items()
        if count
    )
    only_new = '<label><input type="checkbox" id="only-new">Only new</label>' if page.facts.new else ""
    return (
        f'<fieldset class="filters"><legend>Show</legend>{boxes}{only_new}'
        '<input type="search" id="search" placeholder="Search findings" aria-label="Search findings" hidden>'
        '<span class="shown" id="shown" role="status"></span></fieldset>'
    )


def _tally(findings: Iterable[Finding]) -> str:
    counts = count_by_severity(findings)
    badges = "".join(_badge(severity, f"{count} {severity}") for severity, count in counts.items() if count)
    return f'<span class="tally">{badges}</span>'


def _file(page: _Page, file: str, findings: list[Finding]) -> str:
    servers = _grouped(findings, lambda finding: finding.server)
    name = file or "(the request)"
    return f"""<article class="card file" data-name="{escaped(name)}">
<header><h3><code>{path_of(name)}</code></h3>{_tally(findings)}</header>
{"".join(_server(page, server, of_server) for server, of_server in servers)}
</article>
"""


def _server(page: _Page, server: str | None, findings: list[Finding]) -> str:
    heading = "The file as a whole" if server is None else f"Server <b>{isolated(server)}</b>"
    items = "\n".join(_finding(page, finding) for finding in findings)
    return f"""<section class="server" data-name="{escaped(server or "")}"><h4>{heading}</h4>
<ul>
{items}
</ul></section>"""


def _finding(page: _Page, finding: Finding) -> str:
    place = finding.place
    is_new = finding.fingerprint in page.facts.new
    flags = '<span class="badge new">New</span>' if is_new else ""
    if finding.fingerprint in page.facts.waived:
        flags += '<span class="badge plain">Waived</span>'
    owasp = f'<span class="badge plain">OWASP {escaped(finding.owasp)}</span>' if finding.owasp else ""
    return f"""<li class="finding {finding.severity}{" is-new" if is_new else ""}">
<div class="tags">{_badge(finding.severity, finding.severity.capitalize())}{flags}\
<span class="rule">{escaped(finding.rule)}</span>{owasp}\
<span class="where">line {place.line}, column {place.column}</span></div>
<p class="message">{isolated(finding.message)}</p>
<p class="remedy"><b>Remedy</b> <span>{isolated(finding.remedy)}</span></p>
{_more(page, finding)}</li>"""


def _more(page: _Page, finding: Finding) -> str:
    rule = page.rules.get(finding.rule)
    evidence = evidence_of(page.assessment, finding)
    known = {
        "Place": f"{finding.place.file}:{finding.place.line}:{finding.place.column}",
        "Pointer": finding.place.pointer,
    }
    if evidence:
        known["Evidence"] = evidence
    details = "".join(
        f"<dt>{name}</dt><dd><code>{isolated(value)}</code></dd>" for name, value in known.items() if value
    )
    why = _prose(rule.help) if rule else ""
    summary = f"<summary>{'Why it matters' if why else 'Details'}</summary>"
    return f'<details class="more">{summary}{why}<dl>{details}</dl></details>'


def _not_judged(page: _Page) -> str:
    if not page.facts.not_judged:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_where(outcome)}</th><td data-label="Check">{outcome.kind}</td>'
        f'<td data-label="Outcome">{_status(outcome.status)}</td>'
        f'<td data-label="Why">{isolated(outcome.reason or "no reason given")}</td></tr>'
        for outcome in page.facts.not_judged
    )
    return f"""<section aria-labelledby="no-verdict">
<h2 id="no-verdict" tabindex="-1">Without a verdict</h2>
<p class="lead">Neither good nor bad: these were not assessed, or someone has decided about them.</p>
<div class="card scroll"><table>
<thead><tr><th scope="col">Where</th><th scope="col">Check</th><th scope="col">Outcome</th>\
<th scope="col">Why</th></tr></thead>
<tbody>{rows}</tbody></table></div>
</section>"""


def _where(outcome: Outcome) -> str:
    target = outcome.target
    if target is None:
        return "The whole assessment"
    server = f" · {isolated(target.server)}" if target.server is not None else ""
    return f"<code>{path_of(target.file)}</code>{server}"


def _status(status: Status) -> str:
    looks = {Status.PASS: "pass", Status.FAIL: "high", Status.ERROR: "critical", Status.MANUAL: "medium"}
    return f'<span class="badge {looks.get(status, "plain")}">{status.replace("_", " ")}</span>'


def _rules(page: _Page) -> str:
    if not page.assessment.findings:
        return ""
    fired = groupby(sorted(page.assessment.findings, key=lambda f: (f.rule, by_place(f))), key=lambda f: f.rule)
    rows = sorted((_rule_row(page, rule, list(findings)) for rule, findings in fired), key=lambda row: row[:3])
    return f"""<section aria-labelledby="rules">
<h2 id="rules">By rule</h2>
<div class="card scroll"><table>
<thead><tr><th scope="col">Rule</th><th scope="col">What it finds</th><th scope="col">Worst</th>\
<th scope="col">OWASP</th><th scope="col" class="number">Findings</th></tr></thead>
<tbody>{"".join(row[3] for row in rows)}</tbody></table></div>
</section>"""


def _rule_row(page: _Page, rule: str, findings: list[Finding]) -> tuple[int, int, str, str]:
    worst = min((finding.severity for finding in findings), key=lambda severity: severity.rank)
    info = page.rules.get(rule)
    owasp = next((finding.owasp for finding in findings if finding.owasp), None)
    row = (
        f'<tr><th scope="row"><span class="rule">{escaped(rule)}</span></th>'
        f"<td>{escaped(info.title) if info else isolated(findings[0].message)}</td>"
        f'<td data-label="Worst">{_badge(worst, worst.capitalize())}</td>'
        f'<td data-label="OWASP">{escaped(owasp) if owasp else _NONE}</td>'
        f'<td data-label="Findings" class="number">{len(findings)}</td></tr>'
    )
    return worst.rank, -len(findings), rule, row


def _targets(page: _Page) -> str:
    ordered = sorted(
        page.assessment.targets, key=lambda t: (t.file, t.server is not None, t.place.line, t.server or "")
    )
    if not ordered:
        return ""
    own: dict[Target | None, list[Outcome]] = {}
    for outcome in page.assessment.outcomes:
        own.setdefault(outcome.target, []).append(outcome)
    bodies = "".join(
        _target_group(file, [(target, own.get(target, [])) for target in of_file])
        for file, of_file in groupby(ordered, key=lambda t: t.file)
    )
    return f"""<section aria-labelledby="assessed">
<h2 id="assessed">What was assessed</h2>
<div class="card scroll"><table>
<thead><tr><th scope="col">Server</th><th scope="col">Client</th><th scope="col">Checks</th>\
<th scope="col">Findings</th></tr></thead>
{bodies}</table></div>
</section>"""


def _target_group(file: str, targets: Iterable[tuple[Target, list[Outcome]]]) -> str:
    rows = "".join(_target_row(target, outcomes) for target, outcomes in targets)
    return f'<tbody><tr><th colspan="4" scope="rowgroup"><code>{path_of(file)}</code></th></tr>{rows}</tbody>'


def _target_row(target: Target, outcomes: list[Outcome]) -> str:
    own = sorted(outcomes, key=outcome_order)
    # A check that was never routed anywhere has no kind of its own to name.
    kinds = [(o, "" if o.kind is CheckKind.SKIPPED else f"{o.kind} ") for o in own]
    checks = "".join(f'<span class="check">{kind}{_status(o.status)}</span>' for o, kind in kinds)
    found = [finding for outcome in own for finding in outcome.findings]
    name = "the file as a whole" if target.server is None else isolated(target.server)
    return (
        f'<tr><th scope="row">{name}</th><td data-label="Client">{escaped(target.client)}, {escaped(target.scope)}</td>'
        f'<td data-label="Checks">{checks or _NONE}</td>'
        f'<td data-label="Findings">{_tally(found) if found else _NONE}</td></tr>'
    )


def _footer(page: _Page) -> str:
    weights = ", ".join(f"{severity} {weight}" for severity, weight in WEIGHTS.items())
    return f"""<footer>
<p>The score is 100 less a deduction for each rule that fired in a server, once however often it fired there \
({weights}), and never below 0. Coverage is the share of the planned checks that came to a verdict. What a waiver \
covers is neither deducted nor counted.</p>
<p>Made by autocoder, rule pack {escaped(page.assessment.score.rule_pack)}. Static checks judge what is written, not \
what runs. Values of secrets are not in this file; the places where they stand are.</p>
</footer>"""
