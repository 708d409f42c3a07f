"""Controls, frameworks and waivers of a result as part of a page; nothing where a result has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from autocoder_components.assessments.model import ControlStatus, WaiverState
from autocoder_components.assessments.web.markup import Child, Html, code, element, joined, said

MOST_ROWS: Final = 500
_LOOKS: Final = {
    ControlStatus.SATISFIED: "pass",
    ControlStatus.NOT_SATISFIED: "high",
    ControlStatus.WAIVED: "medium",
    WaiverState.APPLIED: "pass",
    WaiverState.EXPIRED: "high",
    WaiverState.UNMATCHED: "medium",
}
_FROZEN: Final = ConfigDict(frozen=True, extra="ignore")
_LEAD: Final = (
    "A control is satisfied only where all of its rules were judged and found nothing; what no rule maps, or was skipped or "
    "went wrong, is not assessed."
)


class Control(BaseModel):
    """A control and how it came out."""

    model_config = _FROZEN
    id: str
    title: str
    status: ControlStatus
    reason: str


class Requirement(BaseModel):
    """What a framework asks for, by its identifier."""

    model_config = _FROZEN
    id: str
    status: ControlStatus
    reason: str


class Framework(BaseModel):
    """A framework with those of its requirements that are told."""

    model_config = _FROZEN
    title: str
    version: str
    counts: dict[ControlStatus, int]
    requirements: list[Requirement]


class Compliance(BaseModel):
    """What the outcomes come to."""

    model_config = _FROZEN
    counts: dict[ControlStatus, int]
    controls: list[Control]
    frameworks: list[Framework] = Field(default_factory=list)


class Waiver(BaseModel):
    """What somebody decided to live with."""

    model_config = _FROZEN
    covers: str
    state: WaiverState
    justification: str
    owner: str
    expires: str


def controls_section(compliance: Compliance | None) -> Html | None:
    """Each control with its status, then each framework; "not assessed" stands apart from satisfied."""
    if compliance is None:
        return None
    rows = [_row((said(each.title), " ", code(each.id)), each.status, each.reason) for each in compliance.controls]
    return element(
        "section",
        element("h2", "Controls", id="controls"),
        element("p", f"{_counts(compliance.counts)}. {_LEAD}", class_="lead"),
        _table(("Control", "Status", "Why"), rows),
        *(_framework(each) for each in compliance.frameworks),
        aria_labelledby="controls",
    )


def _framework(framework: Framework) -> Html:
    rows = [_row((said(each.id),), each.status, each.reason) for each in framework.requirements]
    name = element("b", said(f"{framework.title} {framework.version}"))
    return element(
        "details",
        element("summary", name, ": ", _counts(framework.counts)),
        _table(("Requirement", "Status", "Why"), rows),
        class_="card plain",
    )


def _counts(counts: Mapping[ControlStatus, int]) -> str:
    return ", ".join(f"{counts[each]} {_words(each)}" for each in ControlStatus if counts.get(each)) or "none"


def _words(status: ControlStatus | WaiverState) -> str:
    return status.replace("_", " ")


def _row(name: Sequence[Child], status: ControlStatus, reason: str) -> Html:
    badge = element("span", _words(status), class_=f"badge {_LOOKS.get(status, 'plain')}")
    cells = (element("td", badge, data_label="Status"), element("td", said(reason), data_label="Why"))
    return element("tr", element("th", *name, scope="row"), *cells)


def _table(columns: Sequence[str], rows: Sequence[Html]) -> Html:
    if not rows:
        return element("p", "None of them has to be told here.", class_="hint")
    head = element("tr", *(element("th", each, scope="col") for each in columns))
    table = element("table", element("thead", head), element("tbody", *rows[:MOST_ROWS]))
    more = len(rows) - MOST_ROWS
    rest = element("p", f"And {more} more; the JSON has all of them.", class_="hint") if more > 0 else None
    return joined([element("div", table, class_="card scroll"), rest])


def waivers_section(waivers: Sequence[Waiver]) -> Html | None:
    """What became of each waiver; one that has expired covers nothing."""
    if not waivers:
        return None
    columns = ("Covers", "State", "Why", "Owner", "Until")
    rows = []
    for each in waivers:
        badge = element("span", _words(each.state), class_=f"badge {_LOOKS[each.state]}")
        cells = zip(columns[1:], (badge, said(each.justification), said(each.owner), said(each.expires)), strict=True)
        shown = (element("td", cell, data_label=name) for name, cell in cells)
        rows.append(element("tr", element("th", code(each.covers), scope="row"), *shown))
    lead = "What somebody decided to live with, and until when. One that has expired covers nothing."
    return element(
        "section",
        element("h2", "Waivers", id="waivers"),
        element("p", lead, class_="lead"),
        _table(columns, rows),
        aria_labelledby="waivers",
    )
