"""The parts of the HTML report on controls, frameworks and waivers; empty where an assessment has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from autocoder_components.assessments.model import (
    Assessment,
    ControlResult,
    ControlStatus,
    Evidence,
    FrameworkResult,
    Status,
    WaiverState,
    WaiverUse,
)
from autocoder_components.assessments.reports.json_compliance import counts_of
from autocoder_components.assessments.reports.markup import escaped, isolated, path_of
from autocoder_components.assessments.reports.order import every_finding
from autocoder_components.assessments.reports.text import plural

MOST_EVIDENCE: Final = 20
_LOOKS: Final = {
    ControlStatus.SATISFIED: "pass",
    ControlStatus.NOT_SATISFIED: "high",
    ControlStatus.WAIVED: "medium",
}
_WAIVER_LOOKS: Final = {WaiverState.APPLIED: "pass", WaiverState.EXPIRED: "high", WaiverState.UNMATCHED: "medium"}


def controls_section(assessment: Assessment) -> str:
    """Each control with its status and evidence, then each framework; "not assessed" stands apart from satisfied."""
    compliance = assessment.compliance
    if compliance is None:
        return ""
    details = assessment.request.include_details
    shown = [each for each in compliance.controls if details or each.status is ControlStatus.NOT_SATISFIED]
    rows = "".join(map(_control, shown))
    frameworks = "".join(_framework(each, details) for each in compliance.frameworks)
    return f"""<section aria-labelledby="controls">
<h2 id="controls" tabindex="-1">Controls</h2>
<p class="lead">{_counts(each.status for each in compliance.controls)}. A control is satisfied only where all of its rules \
were judged and found nothing; what no rule maps, or was skipped or went wrong, is not assessed.</p>
<div class="card scroll"><table>
<thead><tr><th scope="col">Control</th><th scope="col">Status</th><th scope="col">Why</th></tr></thead>
<tbody>{rows}</tbody></table></div>
{frameworks}
</section>"""


def _counts(statuses: Iterable[ControlStatus]) -> str:
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts_of(statuses).items() if n) or "none"


def _badge(status: ControlStatus) -> str:
    return f'<span class="badge {_LOOKS.get(status, "plain")}">{status.replace("_", " ")}</span>'


def _control(control: ControlResult) -> str:
    rules = ", ".join(map(escaped, control.rules)) or "none"
    return (
        f'<tr><th scope="row">{isolated(control.title)} <code>{escaped(control.id)}</code></th>'
        f'<td data-label="Status">{_badge(control.status)}</td>'
        f'<td data-label="Why">{isolated(control.reason)}<details class="more"><summary>Details</summary>'
        f"<p>{isolated(control.statement)}</p><dl><dt>Rules</dt><dd>{rules}</dd>{_evidence(control.evidence)}</dl>"
        "</details></td></tr>"
    )


def _evidence(evidence: Sequence[Evidence]) -> str:
    """The places and hashes that a status rests on, what speaks against it first."""
    if not evidence:
        return ""
    lines = "".join(f"<dd>{_place(each)}</dd>" for each in evidence[:MOST_EVIDENCE])
    more = len(evidence) - MOST_EVIDENCE
    return f"<dt>Evidence</dt>{lines}{f'<dd>and {more} more</dd>' if more > 0 else ''}"


def _place(evidence: Evidence) -> str:
    place = evidence.place
    if evidence.status is Status.PASS:
        where, said = path_of(place.file), f"{plural(evidence.count, 'verdict')} in favour"
    else:
        where, said = path_of(f"{place.file}:{place.line}"), f"{evidence.rule or ''} {evidence.status}"
    return f"<code>{where}</code> {escaped(said)}, SHA-256 <code>{escaped(evidence.sha256)}</code>"


def _framework(framework: FrameworkResult, details: bool) -> str:
    rows = "".join(
        f'<tr><th scope="row">{isolated(each.id)}</th><td data-label="Status">{_badge(each.status)}</td>'
        f'<td data-label="Why">{isolated(each.reason)}</td></tr>'
        for each in framework.requirements
        if details or each.status is ControlStatus.NOT_SATISFIED
    )
    return f"""<details class="card scroll"><summary><b>{isolated(framework.title)} {isolated(framework.version)}</b>: \
{_counts(each.status for each in framework.requirements)}</summary><table>
<thead><tr><th scope="col">Requirement</th><th scope="col">Status</th><th scope="col">Why</th></tr></thead>
<tbody>{rows}</tbody></table></details>"""


def waivers_section(assessment: Assessment) -> str:
    """What became of each waiver, and each finding that is waived."""
    waived = [each for each in every_finding(assessment) if each.waiver is not None]
    if not assessment.waivers and not waived:
        return ""
    rows = "".join(map(_use, assessment.waivers))
    found = "".join(
        f'<li><span class="rule">{escaped(each.rule)}</span> <code>{path_of(f"{each.place.file}:{each.place.line}")}</code> '
        f"{isolated(each.message)}</li>"
        for each in waived
    )
    listed = f"<p>Waived, and not counted:</p><ul>{found}</ul>" if found else ""
    return f"""<section aria-labelledby="waivers">
<h2 id="waivers" tabindex="-1">Waivers</h2>
<p class="lead">What somebody decided to live with, and until when. One that has expired covers nothing.</p>
<div class="card scroll"><table>
<thead><tr><th scope="col">Covers</th><th scope="col">State</th><th scope="col">Why</th><th scope="col">Owner</th>\
<th scope="col">Until</th></tr></thead>
<tbody>{rows}</tbody></table>{listed}</div>
</section>"""


def _use(use: WaiverUse) -> str:
    waiver = use.waiver
    badge = f'<span class="badge {_WAIVER_LOOKS[use.state]}">{use.state}</span>'
    return (
        f'<tr><th scope="row">{isolated(use.covers)} <code>{path_of(f"{use.place.file}:{use.place.line}")}</code></th>'
        f'<td data-label="State">{badge} {plural(use.matched, "finding")}</td>'
        f'<td data-label="Why">{isolated(waiver.justification)}</td>'
        f'<td data-label="Owner">{isolated(waiver.owner)}</td><td data-label="Until">{isolated(waiver.expires)}</td></tr>'
    )
