"""The page: one file, nothing of a configuration becomes markup, readable by everyone, complete without script."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from autocoder_components.assessments.model import Assessment, Severity, Status
from autocoder_components.assessments.reports.html import render_html
from autocoder_components.assessments.reports.json_report import render_json
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.examples import RULES, assessment, assessments, example, finding, outcome, target
from tests.assessments.test_reports_json import shuffled

VOID = {"meta", "input", "wbr"}
DATA = re.compile(r"data:application/json;base64,[A-Za-z0-9+/=]+")
"""The one address in the page that leads out of it: to the report itself, as JSON."""
EVENT_OR_FETCH = re.compile(r"on\w+|src|srcset|style|action|formaction|data|poster|background|ping")


class Page(HTMLParser):
    """Reads the page as a tree would be read: every element closed, every id once; collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(attributes) == len(dict(attributes))
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    def classes(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


def page_of(one: Assessment) -> Page:
    return Page(render_html(one, RULES))


@given(assessments())
def test_nothing_from_a_configuration_becomes_markup(one: Assessment) -> None:
    page = page_of(one)
    for tag, attributes in page.elements:
        assert tag not in {"img", "iframe", "link", "object", "base", "form"}
        assert not any(EVENT_OR_FETCH.fullmatch(name) for name in attributes)
        assert (attributes.get("href") or "#").startswith("#") or "download" in attributes
    (download,) = [each for each in page.all("a") if "download" in each]
    assert DATA.sub("", str(download["href"])) == ""
    assert base64.b64decode(str(download["href"]).partition(",")[2]).decode() == render_json(one)
    assert len(list(page.all("script"))) == 1
    assert len(list(page.all("style"))) == 1
    assert len(page.classes("finding")) == len(one.findings)


@pytest.mark.parametrize("field", ["message", "server", "file", "remedy", "evidence", "reason"])
def test_markup_in_any_value_is_shown_as_it_was_written(field: str) -> None:
    hostile = "</style></script><img src=x onerror=alert(1)>\"'"
    where = target(hostile if field == "file" else "a.json", hostile if field == "server" else "s")
    found = finding("AC-SEC-001", where)
    if field in ("message", "remedy", "evidence"):
        found = replace(found, **{field: hostile})
    text = render_html(assessment(outcome(where, found, status=Status.WAIVED, reason=hostile)), RULES)
    assert "<img" not in text
    assert html.escape(hostile) in text
    Page(text)


@given(assessments(), st.data())
def test_order_does_not_matter(one: Assessment, data: st.DataObject) -> None:
    assert render_html(shuffled(one, data), RULES) == render_html(one, RULES)


def test_the_policy_allows_exactly_our_style_and_script() -> None:
    text = render_html(example(), RULES)
    (policy,) = [
        meta["content"] for meta in Page(text).all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_fetched_from_anywhere() -> None:
    text = render_html(example(), RULES)
    assert not re.search(
        r"https?:|url\(|@import|//[a-z]", re.sub(r"^\s*//.*$", "", DATA.sub("", text), flags=re.MULTILINE)
    )


def test_a_reader_finds_landmarks_headings_in_order_and_names_of_controls() -> None:
    page = page_of(example())
    names = [tag for tag, _ in page.elements]
    assert [names.count(tag) for tag in ("main", "footer", "h1")] == [1, 1, 1]
    levels = [int(tag[1]) for tag in names if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert "download" in link or (link["href"] or "")[1:] in ids
    for section in page.all("section"):
        assert section.get("aria-labelledby", ids[0]) in ids
    assert next(page.all("html"))["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert {svg.get("role") or svg.get("aria-hidden") for svg in page.all("svg")} == {"img", "true"}


def test_every_finding_says_its_severity_in_words_and_is_complete() -> None:
    text = render_html(example(), RULES)
    for severity in Severity:
        assert re.search(rf'<li class="finding {severity}[^>]*>.*?{severity.capitalize()}</span>', text, re.DOTALL)
    for word in (
        "env API_TOKEN holds a literal token",
        "Move the value into an input variable",
        "OWASP MCP01:2025",
        "line 7, column 9",
        "/mcpServers/notes/args/7",
        "Whoever can read the file",
        "<em>unseen</em>",
    ):
        assert word in text


def test_findings_are_grouped_by_file_and_server_the_worst_group_first() -> None:
    mild, bad = target("a.json", "mild"), target("z.json", "bad")
    page = page_of(assessment(outcome(mild, finding("AC-CFG-001", mild)), outcome(bad, finding("AC-SEC-001", bad))))
    assert [group["data-name"] for group in page.classes("file")] == ["z.json", "a.json"]
    assert [group["data-name"] for group in page.classes("server")] == ["bad", "mild"]


def test_a_path_may_break_behind_a_slash_and_nowhere_inside_its_markup() -> None:
    assert "<code><bdi>desktop/<wbr>config.json</bdi></code>" in render_html(example(), RULES)


def test_each_severity_found_has_a_box_that_filters_without_script() -> None:
    text = render_html(example(), RULES)
    for severity in Severity:
        assert f'id="show-{severity}" checked' in text
        assert f"main:has(#show-{severity}:not(:checked)) .finding.{severity}" in text
    assert "main:has(#only-new:checked) .finding:not(.is-new)" in text


def test_what_is_new_is_marked_and_nothing_is_without_a_baseline() -> None:
    assert len(page_of(example()).classes("is-new")) == 4
    known_nothing = page_of(replace(example(), baseline=None))
    assert known_nothing.classes("is-new") == []
    assert "only-new" not in {box.get("id") for box in known_nothing.all("input")}


def test_score_coverage_errors_and_what_was_not_assessed_are_told() -> None:
    text = render_html(example(), RULES)
    for word in (
        'aria-label="Score 30 of 100"',
        "57 %",
        "4 of 7 checks judged",
        "1 check ended in an error and is missing here",
        "the file changed while it was read",
        "no server to judge",
        "ask who runs it",
        "2 of 4 servers have findings",
    ):
        assert word in text


def test_an_empty_and_a_clean_assessment_are_said_apart() -> None:
    assert "Nothing was assessed" in render_html(assessment(), RULES)
    assert "No score: nothing was assessed" in render_html(assessment(), RULES)
    clean = render_html(assessment(outcome(target("a.json", "s"))), RULES)
    assert "Nothing found in 1 server." in clean
    assert 'aria-label="Score 100 of 100"' in clean


def test_without_details_there_is_no_evidence() -> None:
    one = example()
    assert "Evidence" in render_html(one, RULES)
    assert "Evidence" not in render_html(replace(one, request=replace(one.request, include_details=False)), RULES)


def test_a_rule_nobody_described_is_shown_all_the_same() -> None:
    assert "env API_TOKEN holds a literal token" in render_html(example(), {})


def luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio, 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


PALETTES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", render_html(assessment(), {}), re.DOTALL)
]


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark", "print"])
def test_text_stands_out_from_its_ground(palette: dict[str, str]) -> None:
    tinted = [*Severity, "good", "new"]
    pairs = [(kind, f"{kind}-tint") for kind in tinted]
    pairs += [(ink, ground) for ink in ("text", "muted", "accent", "good") for ground in ("page", "card")]
    pairs += [(ink, "well") for ink in ("text", "muted")]
    ratios = {(ink, ground): contrast(palette[ink], palette[ground]) for ink, ground in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}
    marks = {f"{severity}-mark": contrast(palette[f"{severity}-mark"], palette["card"]) for severity in Severity}
    assert {mark: ratio for mark, ratio in marks.items() if ratio < 3} == {}
