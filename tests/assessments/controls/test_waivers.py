"""Waivers: what is covered does not count, what has expired does, and a leftover is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from autocoder_components.assessments.controls.documents import ControlsError
from autocoder_components.assessments.controls.waivers import WaiverSpec, apply_waivers, end_of, load_waivers
from autocoder_components.assessments.model import CheckKind, ControlStatus, Outcome, Status, WaiverState
from autocoder_components.assessments.score import open_findings, waived_findings
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.controls.made import (
    NOW,
    assessed,
    clean,
    finding,
    outcome,
    outcomes,
    specs,
    target,
    waiver,
    written,
)

MANY = st.lists(outcomes(), max_size=6)
SPECS = st.lists(specs(), max_size=4)


class TestApplied:
    @given(MANY, SPECS)
    def test_what_counts_is_what_no_live_waiver_covers(self, made: list[Outcome], waivers: list[WaiverSpec]) -> None:
        judged, _ = apply_waivers(written(*waivers), made, NOW)
        live = [each for each in waivers if end_of(each.expires) > NOW]
        found = [each for one in made for each in one.findings]
        covered = [each for each in found if any(spec.covers(each) for spec in live)]
        assert [each.fingerprint for each in waived_findings(judged)] == [each.fingerprint for each in covered]
        assert [replace(each, waiver=None) for one in judged for each in one.findings] == found
        assert len(open_findings(judged)) == len(found) - len(covered)

    @given(MANY, SPECS)
    def test_an_outcome_is_waived_when_all_of_its_findings_are_and_nothing_else_changes(
        self, made: list[Outcome], waivers: list[WaiverSpec]
    ) -> None:
        judged, _ = apply_waivers(written(*waivers), made, NOW)
        for before, after in zip(made, judged, strict=True):
            if before.status is not Status.FAIL:
                assert after == before
            else:
                whole = all(each.waiver is not None for each in after.findings)
                assert after.status is (Status.WAIVED if whole else Status.FAIL)
            assert (after.target, after.kind, after.planned) == (before.target, before.kind, before.planned)

    @given(MANY, SPECS)
    def test_what_became_of_each_is_told_in_order(self, made: list[Outcome], waivers: list[WaiverSpec]) -> None:
        _, uses = apply_waivers(written(*waivers), made, NOW)
        found = [each for one in made for each in one.findings]
        for spec, use in zip(waivers, uses, strict=True):
            matched = sum(spec.covers(each) for each in found)
            assert use.matched == matched
            if end_of(spec.expires) <= NOW:
                assert use.state is WaiverState.EXPIRED
            else:
                assert use.state is (WaiverState.APPLIED if matched else WaiverState.UNMATCHED)

    @given(MANY, SPECS)
    def test_again_they_change_nothing(self, made: list[Outcome], waivers: list[WaiverSpec]) -> None:
        once, uses = apply_waivers(written(*waivers), made, NOW)
        assert apply_waivers(written(*waivers), once, NOW) == (once, uses)

    @given(MANY, SPECS)
    def test_time_only_ends_waivers(self, made: list[Outcome], waivers: list[WaiverSpec]) -> None:
        now = {each.fingerprint for each in waived_findings(apply_waivers(written(*waivers), made, NOW)[0])}
        later = NOW + timedelta(days=100)
        then = {each.fingerprint for each in waived_findings(apply_waivers(written(*waivers), made, later)[0])}
        assert then <= now

    def test_the_first_that_holds_says_why(self) -> None:
        old, first = waiver("AC-301", days=-1, justification="old"), waiver("AC-301", justification="first")
        made = [outcome(target("a"), CheckKind.SECURITY, "AC-301")]
        (judged,), _ = apply_waivers(written(old, first, waiver("AC-301", justification="second")), made, NOW)
        assert judged.findings[0].waiver is not None
        assert judged.findings[0].waiver.justification == "first"
        assert judged.reason == f"first (Ada, until {first.expires})"

    def test_of_two_findings_one_is_waived_and_the_other_still_fails(self) -> None:
        made = [outcome(target("a"), CheckKind.SECURITY, "AC-301", "AC-401")]
        (judged,), _ = apply_waivers(written(waiver("AC-301")), made, NOW)
        assert judged.status is Status.FAIL
        assert [each.waiver is not None for each in judged.findings] == [True, False]
        assert [each.rule for each in open_findings([judged])] == ["AC-401"]


class TestCovers:
    FOUND = finding("AC-401", target("Notes", "~/.cursor/mcp.json"))

    @pytest.mark.parametrize(
        ("said", "covers"),
        [
            ({"rule": "AC-401"}, True),
            ({"rule": "AC-402"}, False),
            ({"fingerprint": FOUND.fingerprint}, True),
            ({"fingerprint": "0" * 32}, False),
            ({"rule": "AC-401", "server": "no*"}, True),
            ({"rule": "AC-401", "server": "x*"}, False),
            ({"rule": "AC-401", "file": "~/.cursor/*"}, True),
            ({"rule": "AC-401", "file": "~/.CURSOR/*"}, False),
            ({"rule": "AC-401", "server": "notes", "file": "other.json"}, False),
        ],
    )
    def test_all_that_is_said_has_to_fit(self, said: dict[str, str], covers: bool) -> None:
        assert waiver(**said).covers(self.FOUND) is covers

    def test_one_for_servers_covers_no_file_as_a_whole(self) -> None:
        assert not waiver("AC-307", server="*").covers(finding("AC-307", target()))


class TestExpiry:
    def test_a_day_counts_to_its_end(self) -> None:
        assert end_of("2026-11-21") == datetime(2026, 11, 22, tzinfo=UTC)
        assert end_of("2026-11-21T12:00:00+02:00") == datetime(2026, 11, 21, 10, tzinfo=UTC)

    @pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "2026-11-21T12:00:00", "21.11.2026", "", "9999-12-31"])
    def test_what_names_no_end_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "w.yaml"
        path.write_text(f"waivers:\n  - {{rule: AC-301, justification: a, owner: b, expires: '{text}'}}\n")
        with pytest.raises(ControlsError, match=r"w\.yaml:2:\d+: waivers\.0\.expires: write a day"):
            load_waivers(path)

    def test_at_the_moment_itself_it_has_expired(self) -> None:
        made = [outcome(target("a"), CheckKind.SECURITY, "AC-301")]
        until = waiver("AC-301", expires=NOW.isoformat())
        for moment, status in ((NOW - timedelta(microseconds=1), Status.WAIVED), (NOW, Status.FAIL)):
            ((judged,), _) = apply_waivers(written(until), made, moment)
            assert judged.status is status


class TestFile:
    def test_everything_wrong_is_told_at_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "waivers.yaml"
        path.write_text(
            "waivers:\n"
            "  - {server: a, justification: j, owner: o, expires: 2027-01-01}\n"
            "  - {rule: AC-3O1, justification: j, owner: o, expires: 2027-01-01}\n"
        )
        with pytest.raises(ControlsError) as caught:
            load_waivers(path)
        assert [str(each).removeprefix(f"{tmp_path}/") for each in caught.value.problems] == [
            "waivers.yaml:2:5: says neither a rule nor a fingerprint, so it would waive all; "
            "name a rule, or the fingerprint of a finding",
            "waivers.yaml:3:12: there is no rule 'AC-3O1'; did you mean 'AC-301'?",
        ]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{rule: AC-301, owner: o, expires: 2027-01-01}", "2:5: waivers.0.justification is missing"),
            ("{rule: AC-301, justification: ' ', owner: o, expires: 2027-01-01}", "2:35: waivers.0.justification: "),
            ("{rule: AC-301, justification: j, owner: '', expires: 2027-01-01}", "2:45: waivers.0.owner: "),
            (
                "{rule: AC-301, justificaton: j, owner: o, expires: 2027-01-01}",
                "2:20: there is no field 'justificaton' here; did you mean 'justification'?",
            ),
            ("{rule: AC-301, justification: [j], owner: o, expires: 2027-01-01}", "2:35: waivers.0.justification: "),
            ("{fingerprint: abc, justification: j, owner: o, expires: 2027-01-01}", "2:19: waivers.0.fingerprint: "),
        ],
    )
    def test_why_by_whom_and_until_when_have_to_be_said(self, tmp_path: Path, line: str, said: str) -> None:
        path = tmp_path / "w.yaml"
        path.write_text(f"waivers:\n  - {line}\n")
        with pytest.raises(ControlsError) as caught:
            load_waivers(path)
        assert f"w.yaml:{said}" in str(caught.value)

    def test_a_file_may_hold_none(self, tmp_path: Path) -> None:
        (tmp_path / "w.yaml").write_text("waivers: []\n")
        assert load_waivers(tmp_path / "w.yaml").specs == ()


class TestCounted:
    MADE = (*clean("a"), outcome(target("b"), CheckKind.SECURITY, "AC-301"))

    def test_waived_is_neither_satisfied_nor_failed_and_costs_no_points(self) -> None:
        bad, good = assessed(self.MADE), assessed(self.MADE, written(waiver("AC-301")))
        assert (bad.score.value, good.score.value) == (80, 100)
        assert good.compliance is not None
        (control,) = [each for each in good.compliance.controls if each.id == "secrets-kept-out"]
        assert (control.status, control.waived, control.failed) == (ControlStatus.WAIVED, 1, 0)
        assert [each.status for each in good.outcomes].count(Status.WAIVED) == 1
        assert good.findings == ()

    def test_an_expired_one_changes_nothing_but_what_is_told_of_it(self) -> None:
        bad, late = assessed(self.MADE), assessed(self.MADE, written(waiver("AC-301", days=-1)))
        assert replace(late, waivers=()) == bad
        assert [(each.state, each.matched) for each in late.waivers] == [(WaiverState.EXPIRED, 1)]
