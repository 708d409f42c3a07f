"""The terminal's table: worst first, nothing that steers the terminal, no line too wide, colour on terminals only."""

from __future__ import annotations

import io
import os
import pty
import re
import unicodedata

import pytest
from autocoder_components.assessments.model import Assessment, Status
from autocoder_components.assessments.reports.table import render_table, show_table
from autocoder_components.assessments.reports.text import percent
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.assessments.examples import assessment, assessments, example, finding, outcome, target

WIDTHS = [40, 60, 80, 99, 100, 160, 220]


@pytest.mark.parametrize("width", [60, 120])
def test_findings_stand_worst_first_with_place_rule_server_message_and_remedy(width: int) -> None:
    text = render_table(example(), width=width)
    at = [text.index(word) for word in ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")]
    assert at == sorted(at)
    for word in ("desktop/config.json:7", "AC-SEC-001 new", "notes", "env API_TOKEN holds a", "→ Move the value"):
        assert word in text


@pytest.mark.parametrize("width", [60, 120])
def test_of_one_severity_the_order_is_file_then_line(width: int) -> None:
    a, b = target("a.json", "s"), target("b.json", "s")
    found = [finding("AC-SEC-003", where, line=line) for where, line in ((b, 2), (a, 10), (a, 9))]
    text = render_table(assessment(outcome(b, found[0]), outcome(a, *found[1:])), width=width)
    assert re.findall(r"[ab]\.json:\d+", text) == ["a.json:9", "a.json:10", "b.json:2"]


def test_the_summary_has_score_coverage_counts_new_and_every_check_without_a_verdict() -> None:
    text = render_table(example())
    assert "Score 30/100 · coverage 57 % (4 of 7 checks) · rules 2026.11" in text
    assert "5 findings: 1 critical, 1 high, 1 medium, 1 low, 1 info" in text
    assert "4 new since baseline.json" in text
    assert "4 servers in 3 files" in text
    assert "error: broken.json (config): the file changed while it was read" in text
    assert "skipped: broken.json (skipped): no server to judge" in text
    assert text.index("error:") < text.index("manual:") < text.index("skipped:")


def test_nothing_assessed_and_nothing_found_are_said_apart() -> None:
    assert "no score · coverage 0 % (0 of 0 checks)" in render_table(assessment())
    clean = render_table(assessment(outcome(target("a.json", "s"))))
    assert "Score 100/100" in clean
    assert "No findings." in clean


def test_a_waived_finding_is_shown_as_such_and_not_counted() -> None:
    where = target("a.json", "s")
    text = render_table(assessment(outcome(where, finding("AC-SEC-001", where), status=Status.WAIVED, reason="by Ada")))
    assert "AC-SEC-001 waived" in text
    assert "1 finding waived, not counted" in text
    assert "waived: a.json server s (security): by Ada" in text


def test_long_values_are_cut_and_of_a_path_the_end_stays() -> None:
    where = target("deep/" * 60 + "mcp.json", "s" * 200)
    text = render_table(assessment(outcome(where, finding("AC-SEC-001", where, message="m" * 5000))), width=60)
    (place,) = [line for line in text.splitlines() if line.endswith("/mcp.json:1")]
    assert place.startswith("  …")
    assert cell_len(place) == 60
    assert text.count("m") < 600
    assert "s" * 41 not in text.replace("\n", "").replace(" ", "")


@given(assessments(), st.sampled_from(WIDTHS))
def test_no_character_from_a_file_reaches_the_terminal_that_is_not_seen(one: Assessment, width: int) -> None:
    text = render_table(one, width=width).replace("\n", "")
    assert {unicodedata.category(character) for character in text}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@given(assessments(), st.sampled_from(WIDTHS))
def test_no_line_is_wider_than_the_terminal(one: Assessment, width: int) -> None:
    assert max(cell_len(line) for line in render_table(one, width=width).splitlines()) <= width


@given(assessments())
def test_colour_changes_nothing_but_colour(one: Assessment) -> None:
    colored = render_table(one, width=100, color=True)
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == render_table(one, width=100).splitlines()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_colour_of_a_severity_stays_with_it(width: int) -> None:
    painted = re.findall(r"\x1b\[1;37;41m(.*?)\x1b\[0m", render_table(example(), width=width, color=True))
    assert painted == ["CRITICAL"]


@pytest.mark.parametrize("width", [72, 80, 100, 120])
def test_a_finding_has_the_width_of_the_terminal_for_itself(width: int) -> None:
    where = target("project/.mcp.json", "notes")
    message = "word " * 40
    text = render_table(assessment(outcome(where, finding("AC-SEC-001", where, line=7, message=message))), width=width)
    head, first, *_ = text.splitlines()
    assert head == "CRITICAL  AC-SEC-001  notes  project/.mcp.json:7"
    assert first.startswith("          word")
    assert width - len("word ") <= cell_len(first) <= width


def test_a_stream_that_is_no_terminal_gets_no_colour() -> None:
    stream = io.StringIO()
    show_table(example(), stream)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("1", False)])
def test_a_terminal_gets_colour_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w", encoding="utf-8") as terminal:
        show_table(assessment(), terminal, width=60)
        terminal.flush()
        shown = os.read(reading, 65536)
    os.close(reading)
    assert (b"\x1b[" in shown) is colored
    assert b"no score" in shown


def test_a_stream_that_cannot_say_everything_gets_escapes_instead_of_an_error() -> None:
    where = target("日本.json", "s")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    show_table(assessment(outcome(where, finding("AC-SEC-001", where))), stream)
    stream.flush()
    assert b"\\u65e5\\u672c.json:1" in raw.getvalue()
    assert b"-> Move the value" in raw.getvalue()


@pytest.mark.parametrize(("share", "shown"), [(0, "0 %"), (0.001, "1 %"), (0.5, "50 %"), (0.999, "99 %"), (1, "100 %")])
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, shown: str) -> None:
    assert percent(share) == shown
