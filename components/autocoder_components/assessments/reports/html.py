"""The report a person shows to a colleague: one HTML file that needs nothing else, not even its script.

Everything that comes out of an assessment is made visible and escaped by `escaped`, and nothing else puts values into the
page. The Content-Security-Policy allows exactly our style and our script, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import TypeVar

from autocoder_components.assessments.model import (
    Assessment,
    Finding,
    RuleInfo,
    Severity,
    Status,
)
from autocoder_components.assessments.reports.html_controls import controls_section, waivers_section
from autocoder_components.assessments.reports.html_parts import Page, badge, mark, tally
from autocoder_components.assessments.reports.html_tables import not_judged_section, rules_section, targets_section
from autocoder_components.assessments.reports.json_report import render_json
from autocoder_components.assessments.reports.markup import escaped, isolated, path_of
from autocoder_components.assessments.reports.order import (
    evidence_of,
    facts_of,
    worst_first,
)
from autocoder_components.assessments.reports.text import moment, percent, plural
from autocoder_components.assessments.score import WEIGHTS, count_by_severity

_Key = TypeVar("_Key")


def render_html(assessment: Assessment, rules: Mapping[str, RuleInfo]) -> str:
    """The report as one HTML document; `rules` describes the rule pack by id.

    The same assessment and rules give the same text, whatever the order of findings. Raises ValueError when a time of
    the assessment is not ISO 8601 with an offset.
    """
    page = Page(assessment, rules, facts_of(assessment))
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
{not_judged_section(page)}
{rules_section(page)}
{targets_section(page)}
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


def _title(page: Page) -> str:
    value = page.assessment.score.value
    return f"MCP assessment: {'no score' if value is None else f'{value} of 100'}"


def _header(page: Page) -> str:
    request, finished = page.assessment.request, moment(page.assessment.finished_at)
    when = f"{finished.day} {finished:%B %Y, %H:%M} UTC"
    return f"""<header class="top">
<h1>Assessment of MCP client configurations</h1>
<p><time datetime="{escaped(page.assessment.finished_at)}">{when}</time> · {escaped(request.assessment_type)} assessment \
<code>{isolated(request.assessment_id)}</code> · rules {escaped(page.assessment.score.rule_pack)}</p>
</header>"""


def _summary(page: Page) -> str:
    facts, score = page.facts, page.assessment.score
    counts = {severity: score.counts.get(severity, 0) for severity in Severity}
    listed = "".join(
        f'<li class="{severity}">{mark(severity)}<span><b>{count}</b> {severity}</span></li>'
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


def _headline(page: Page, counts: Mapping[Severity, int]) -> str:
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


def _notice(page: Page) -> str:
    errors = sum(outcome.status is Status.ERROR for outcome in page.facts.not_judged)
    if not errors:
        return ""
    went = "check ended in an error and is" if errors == 1 else "checks ended in errors and are"
    return f'<p class="notice"><b>{errors} {went} missing here.</b> <a href="#no-verdict">See which, and why</a></p>'


def _findings(page: Page) -> str:
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


def _filters(page: Page) -> str:
    counts = count_by_severity(page.assessment.findings)
    boxes = "".join(
        f'<label class="{severity}"><input type="checkbox" id="show-{severity}" checked>{mark(severity)}'
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


def _file(page: Page, file: str, findings: list[Finding]) -> str:
    servers = _grouped(findings, lambda finding: finding.server)
    name = file or "(the request)"
    return f"""<article class="card file" data-name="{escaped(name)}">
<header><h3><code>{path_of(name)}</code></h3>{tally(findings)}</header>
{"".join(_server(page, server, of_server) for server, of_server in servers)}
</article>
"""


def _server(page: Page, server: str | None, findings: list[Finding]) -> str:
    heading = "The file as a whole" if server is None else f"Server <b>{isolated(server)}</b>"
    items = "\n".join(_finding(page, finding) for finding in findings)
    return f"""<section class="server" data-name="{escaped(server or "")}"><h4>{heading}</h4>
<ul>
{items}
</ul></section>"""


def _finding(page: Page, finding: Finding) -> str:
    place = finding.place
    is_new = finding.fingerprint in page.facts.new
    flags = '<span class="badge new">New</span>' if is_new else ""
    if finding.fingerprint in page.facts.waived:
        flags += '<span class="badge plain">Waived</span>'
    owasp = f'<span class="badge plain">OWASP {escaped(finding.owasp)}</span>' if finding.owasp else ""
    return f"""<li class="finding {finding.severity}{" is-new" if is_new else ""}">
<div class="tags">{badge(finding.severity, finding.severity.capitalize())}{flags}\
<span class="rule">{escaped(finding.rule)}</span>{owasp}\
<span class="where">line {place.line}, column {place.column}</span></div>
<p class="message">{isolated(finding.message)}</p>
<p class="remedy"><b>Remedy</b> <span>{isolated(finding.remedy)}</span></p>
{_more(page, finding)}</li>"""


def _more(page: Page, finding: Finding) -> str:
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


def _footer(page: Page) -> str:
    weights = ", ".join(f"{severity} {weight}" for severity, weight in WEIGHTS.items())
    name = escaped(page.assessment.request.assessment_id)
    data = base64.b64encode(render_json(page.assessment).encode()).decode()
    return f"""<footer>
<p>The score is 100 less a deduction for each rule that fired in a server, once however often it fired there \
({weights}), and never below 0. Coverage is the share of the planned checks that came to a verdict. What a waiver \
covers is neither deducted nor counted.</p>
<p>Made by autocoder, rule pack {escaped(page.assessment.score.rule_pack)}. Static checks judge what is written, not \
what runs. Values of secrets are not in this file; the places where they stand are.</p>
<p class="download"><a download="{name}.json" href="data:application/json;base64,{data}">Download it as JSON</a>, for \
programs.</p>
</footer>"""
