"""The tables of the HTML report: what came to no verdict, what each rule found, and all that was assessed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from autocoder_components.assessments.model import CheckKind, Finding, Outcome, Target
from autocoder_components.assessments.reports.html_parts import NONE, Page, badge, status_badge, tally
from autocoder_components.assessments.reports.markup import escaped, isolated, path_of
from autocoder_components.assessments.reports.order import by_place, outcome_order


def not_judged_section(page: Page) -> str:
    """The checks that came to no verdict; nothing where there are none."""
    if not page.facts.not_judged:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_where(outcome)}</th><td data-label="Check">{outcome.kind}</td>'
        f'<td data-label="Outcome">{status_badge(outcome.status)}</td>'
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


def rules_section(page: Page) -> str:
    """The rules that fired, the worst first; nothing where none did."""
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


def _rule_row(page: Page, rule: str, findings: list[Finding]) -> tuple[int, int, str, str]:
    worst = min((finding.severity for finding in findings), key=lambda severity: severity.rank)
    info = page.rules.get(rule)
    owasp = next((finding.owasp for finding in findings if finding.owasp), None)
    row = (
        f'<tr><th scope="row"><span class="rule">{escaped(rule)}</span></th>'
        f"<td>{escaped(info.title) if info else isolated(findings[0].message)}</td>"
        f'<td data-label="Worst">{badge(worst, worst.capitalize())}</td>'
        f'<td data-label="OWASP">{escaped(owasp) if owasp else NONE}</td>'
        f'<td data-label="Findings" class="number">{len(findings)}</td></tr>'
    )
    return worst.rank, -len(findings), rule, row


def targets_section(page: Page) -> str:
    """Everything that was assessed, by file; nothing where there was nothing."""
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
    checks = "".join(f'<span class="check">{kind}{status_badge(o.status)}</span>' for o, kind in kinds)
    found = [finding for outcome in own for finding in outcome.findings]
    name = "the file as a whole" if target.server is None else isolated(target.server)
    return (
        f'<tr><th scope="row">{name}</th><td data-label="Client">{escaped(target.client)}, {escaped(target.scope)}</td>'
        f'<td data-label="Checks">{checks or NONE}</td>'
        f'<td data-label="Findings">{tally(found) if found else NONE}</td></tr>'
    )
