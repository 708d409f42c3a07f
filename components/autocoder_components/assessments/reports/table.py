"""The table of findings that a terminal shows, worst first, and the summary below it.

On a wide terminal it is a table; below that each finding is a short block of its own, because a message in a column of
twenty characters helps nobody. Everything that comes out of a configuration file is escaped and cut before it is shown.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autocoder_components.assessments.model import (
    Assessment,
    Compliance,
    ControlStatus,
    Finding,
    Outcome,
    Severity,
    WaiverState,
)
from autocoder_components.assessments.reports.json_compliance import counts_of
from autocoder_components.assessments.reports.order import Facts, facts_of, worst_first
from autocoder_components.assessments.reports.text import cut, cut_front, percent, plural, visible

TABLE_FROM = 140
"""Columns from which findings are shown as a table."""
GUTTER_FROM = 72
"""Columns from which the severities stand in a margin of their own."""
PLAIN_WIDTH = 100
"""Columns where there is no terminal to ask."""

_STYLES = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
_ASCII = str.maketrans({"→": "->", "·": "-", "…": "~", "─": "-"})
_LONGEST = {"message": 400, "remedy": 300, "server": 40, "reason": 300, "rule": 40}


@dataclass(frozen=True, slots=True)
class _View:
    """An assessment with what every part of the output needs to know of it."""

    assessment: Assessment
    facts: Facts
    width: int


def show_table(assessment: Assessment, stream: TextIO, *, width: int | None = None) -> None:
    """Print the findings and the summary to `stream`: coloured on a terminal (unless NO_COLOR is set), plain otherwise.

    What the stream's encoding lacks is written as an escape rather than raised. `width` defaults to the terminal's, or
    100 columns where there is none.
    """
    terminal = stream.isatty()
    columns = width or (Console(file=stream).width if terminal else PLAIN_WIDTH)
    text = render_table(assessment, width=columns, color=terminal and "NO_COLOR" not in os.environ)
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, errors="backslashreplace").decode(encoding)
    stream.write(text)


def render_table(assessment: Assessment, *, width: int = PLAIN_WIDTH, color: bool = False) -> str:
    """The findings and the summary as text, no line wider than `width` columns (at least 40).

    The same assessment always gives the same text. With `color` it holds ANSI sequences, all of them ours.
    """
    view = _View(assessment, facts_of(assessment), max(width, 40))
    console = Console(
        file=io.StringIO(),
        width=view.width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        ordered = [*worst_first(assessment.findings), *worst_first(assessment.waived)]
        if ordered and view.width >= TABLE_FROM:
            console.print(_table(view, ordered))
        elif ordered:
            for block in _blocks(view, ordered):
                console.print(block)
        for line in _summary(view):
            console.print(line)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _table(view: _View, findings: Iterable[Finding]) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    # A place is only clicked when it stands on one line, so it gets the room it needs, up to four tenths.
    findings = list(findings)
    where = max(cell_len(_where(finding, 120)) for finding in findings)
    server = max(cell_len(_server(finding)) for finding in findings)
    table.add_column("Severity", no_wrap=True)
    table.add_column("Where", overflow="fold", width=max(5, min(where, view.width * 4 // 10)))
    table.add_column("Rule", no_wrap=True)
    table.add_column("Server", overflow="fold", width=max(6, min(server, 20)))
    table.add_column("Finding and remedy", overflow="fold", ratio=1, min_width=20)
    for finding in findings:
        message = Text(_shown(finding.message, "message"))
        message.append(f"\n→ {_shown(finding.remedy, 'remedy')}", style="dim")
        table.add_row(
            _severity(finding),
            Text(_where(finding, 120)),
            _rule(view, finding),
            Text(_server(finding)),
            message,
        )
    return table


def _blocks(view: _View, findings: Iterable[Finding]) -> Iterator[Text | Padding]:
    """A head (severity, rule, server, and on a roomy line the place), then message and remedy, set in from the margin."""
    roomy = view.width >= GUTTER_FROM
    indent = max(len(severity) for severity in Severity) + 2 if roomy else 2
    for finding in findings:
        severity = _severity(finding)
        head = Text.assemble(severity, " " * max(2, indent - len(severity)), _rule(view, finding), overflow="fold")
        if finding.server is not None:
            head.append(f"  {_server(finding)}", style="bold")
        where = _where(finding, view.width - indent)
        fits = roomy and head.cell_len + 2 + cell_len(where) <= view.width
        if fits:
            head.append(f"  {where}")
        yield head
        if not fits:
            yield Text(" " * indent + where)
        yield Padding(Text(_shown(finding.message, "message"), overflow="fold"), (0, 0, 0, indent))
        remedy = Text(f"→ {_shown(finding.remedy, 'remedy')}", style="dim", overflow="fold")
        yield Padding(remedy, (0, 0, 0 if roomy else 1, indent))
    if roomy:
        yield Text("")


def _summary(view: _View) -> Iterator[Text | Padding]:
    assessment, facts = view.assessment, view.facts
    score = assessment.score
    total = sum(score.counts.values())
    value = "no score" if score.value is None else f"Score {score.value}/100"
    line = Text(value, style="bold", overflow="fold")
    judged = f"{facts.judged} of {plural(facts.planned, 'check')}"
    line.append(
        f" · coverage {percent(score.coverage)} ({judged}) · rules {visible(score.rule_pack)}", style="not bold"
    )
    yield line
    found = ", ".join(f"{score.counts.get(severity, 0)} {severity}" for severity in Severity)
    yield Text(f"{plural(total, 'finding')}: {found}" if total else "No findings.", overflow="fold")
    if facts.waived:
        yield Text(f"{plural(len(facts.waived), 'finding')} waived, not counted", overflow="fold")
    for line in _waivers(assessment):
        yield line
    if assessment.baseline is not None:
        yield Text(f"{len(facts.new)} new since {_shown(assessment.baseline, 'reason')}", overflow="fold")
    yield Text(f"{plural(facts.servers, 'server')} in {plural(facts.files, 'file')}", overflow="fold")
    if assessment.compliance is not None:
        yield from _compliance(assessment.compliance)
    if facts.not_judged:
        yield Text("")
        yield Text(f"Without a verdict ({len(facts.not_judged)})", style="bold")
        for outcome in facts.not_judged:
            yield Padding(_not_judged(outcome), (0, 0, 0, 2))


def _waivers(assessment: Assessment) -> Iterator[Text]:
    """The waivers that do nothing: who wrote them has to know."""
    for use in assessment.waivers:
        if use.state is not WaiverState.APPLIED:
            place = f"{_shown(use.place.file, 'reason')}:{use.place.line}"
            again = f"{plural(use.matched, 'finding')} {'counts' if use.matched == 1 else 'count'} again"
            expired = use.state is WaiverState.EXPIRED
            why = f"expired on {use.waiver.expires}, {again}" if expired else "matches nothing"
            yield Text(f"waiver {place} ({_shown(use.covers, 'reason')}) {why}", style="yellow", overflow="fold")


def _compliance(compliance: Compliance) -> Iterator[Text | Padding]:
    """The frameworks in numbers, then each control that is not satisfied or not assessed."""
    yield Text("")
    yield Text(f"Controls ({len(compliance.controls)})", style="bold")
    counted = [("all controls", [each.status for each in compliance.controls])]
    counted += [
        (f"{each.title} {each.version}", [every.status for every in each.requirements])
        for each in compliance.frameworks
    ]
    for name, statuses in counted:
        numbers = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts_of(statuses).items() if n)
        yield Padding(Text(f"{_shown(name, 'reason')}: {numbers or 'none'}", overflow="fold"), (0, 0, 0, 2))
    for control in compliance.controls:
        if control.status not in (ControlStatus.SATISFIED, ControlStatus.NOT_APPLICABLE):
            style = "bold red" if control.status is ControlStatus.NOT_SATISFIED else "bold"
            line = Text(f"{control.status.replace('_', ' ')}: ", style=style, overflow="fold")
            said = f"{_shown(control.id, 'rule')}: {_shown(control.reason, 'reason')}"
            yield Padding(line.append(said, style="not bold default"), (0, 0, 0, 2))


def _not_judged(outcome: Outcome) -> Text:
    line = Text(f"{outcome.status}: ", style="bold red" if outcome.status == "error" else "bold", overflow="fold")
    target = outcome.target
    where = "the whole assessment" if target is None else cut_front(visible(target.file), 120)
    server = (
        f" server {cut(visible(target.server), _LONGEST['server'])}" if target and target.server is not None else ""
    )
    reason = _shown(outcome.reason or "no reason given", "reason")
    line.append(f"{where}{server} ({outcome.kind}): {reason}", style="not bold default")
    return line


def _severity(finding: Finding) -> Text:
    return Text(finding.severity.upper(), style=_STYLES[finding.severity])


def _rule(view: _View, finding: Finding) -> Text:
    rule = Text(_shown(finding.rule, "rule"))
    if finding.fingerprint in view.facts.waived:
        rule.append(" waived", style="dim")
    elif finding.fingerprint in view.facts.new:
        rule.append(" new", style="bold magenta")
    return rule


def _where(finding: Finding, most: int) -> str:
    """`file:line` in at most `most` cells; of a long path the front goes, for its end says more."""
    line = f":{finding.place.line}"
    file = visible(finding.place.file) or "(request)"
    while cell_len(file) + len(line) > most:
        file = cut_front(file, len(file) - 1)
    return file + line


def _server(finding: Finding) -> str:
    return "-" if finding.server is None else _shown(finding.server, "server")


def _shown(text: str, kind: str) -> str:
    return cut(visible(text), _LONGEST[kind])
