"""Folding outcomes to controls: nothing is satisfied that was not judged whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from autocoder_components.assessments.controls.judging import MISSING, combine, fold, judge
from autocoder_components.assessments.controls.packs import Catalogue, RulePackSpec
from autocoder_components.assessments.model import (
    CheckKind,
    Compliance,
    ControlResult,
    ControlStatus,
    Outcome,
    Status,
)
from autocoder_components.assessments.rules import KINDS
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.controls.made import SHIPPED, clean, outcome, outcomes, target

SATISFIED, NOT_SATISFIED = ControlStatus.SATISFIED, ControlStatus.NOT_SATISFIED
NOT_ASSESSED, WAIVED = ControlStatus.NOT_ASSESSED, ControlStatus.WAIVED
VERDICTS = st.dictionaries(st.sampled_from(["r", "s", "t"]), st.lists(st.sampled_from(Status), max_size=5), max_size=3)


def status_of(control: str, compliance: Compliance) -> ControlStatus:
    return result_of(control, compliance).status


def result_of(control: str, compliance: Compliance) -> ControlResult:
    return next(each for each in compliance.controls if each.id == control)


def requirement(compliance: Compliance, framework: str, name: str) -> ControlStatus:
    found = next(each for each in compliance.frameworks if each.id == framework)
    return next(each.status for each in found.requirements if each.id == name)


class TestFold:
    @given(VERDICTS)
    def test_satisfied_means_that_every_rule_was_judged_and_none_found_anything(
        self, verdicts: Mapping[str, Collection[Status]]
    ) -> None:
        found = {status for each in verdicts.values() for status in each}
        if fold(verdicts) is SATISFIED:
            assert verdicts
            assert all(verdicts.values())
            assert found <= {Status.PASS, Status.NOT_APPLICABLE}
            assert Status.PASS in found
        assert (fold(verdicts) is NOT_SATISFIED) == (Status.FAIL in found)
        if found & MISSING or not all(verdicts.values()) or not verdicts:
            assert fold(verdicts) in (NOT_SATISFIED, NOT_ASSESSED)

    @given(VERDICTS, st.randoms())
    def test_the_order_of_rules_and_verdicts_does_not_matter(
        self, verdicts: dict[str, list[Status]], random: st.DataObject
    ) -> None:
        shuffled = list(verdicts.items())
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        again = {rule: sorted(each, key=str) * 2 for rule, each in shuffled}
        assert fold(again) is fold(verdicts)

    @given(VERDICTS, st.sampled_from(["r", "s", "t"]), st.sampled_from([Status.FAIL, *MISSING]))
    def test_one_more_verdict_of_a_kind_that_is_no_pass_never_makes_it_satisfied(
        self, verdicts: dict[str, list[Status]], rule: str, more: Status
    ) -> None:
        assert fold({**verdicts, rule: [*verdicts.get(rule, []), more]}) in (NOT_SATISFIED, NOT_ASSESSED)

    @pytest.mark.parametrize(
        ("verdicts", "status"),
        [
            ({}, NOT_ASSESSED),
            ({"r": []}, NOT_ASSESSED),
            ({"r": [Status.PASS], "s": []}, NOT_ASSESSED),
            ({"r": [Status.PASS], "s": [Status.PASS]}, SATISFIED),
            ({"r": [Status.PASS, Status.SKIPPED]}, NOT_ASSESSED),
            ({"r": [Status.PASS], "s": [Status.ERROR]}, NOT_ASSESSED),
            ({"r": [Status.PASS, Status.MANUAL]}, NOT_ASSESSED),
            ({"r": [Status.ERROR, Status.FAIL]}, NOT_SATISFIED),
            ({"r": [Status.WAIVED, Status.PASS]}, WAIVED),
            ({"r": [Status.WAIVED, Status.ERROR]}, NOT_ASSESSED),
            ({"r": [Status.WAIVED, Status.FAIL]}, NOT_SATISFIED),
            ({"r": [Status.NOT_APPLICABLE]}, ControlStatus.NOT_APPLICABLE),
            ({"r": [Status.NOT_APPLICABLE], "s": [Status.PASS]}, SATISFIED),
        ],
    )
    def test_by_example(self, verdicts: dict[str, list[Status]], status: ControlStatus) -> None:
        assert fold(verdicts) is status


class TestCombine:
    @given(st.lists(st.sampled_from(ControlStatus)))
    def test_a_requirement_is_satisfied_only_by_controls_that_are(self, statuses: list[ControlStatus]) -> None:
        status = combine(statuses)
        assert status in statuses or (not statuses and status is NOT_ASSESSED)
        if status is SATISFIED:
            assert set(statuses) <= {SATISFIED, ControlStatus.NOT_APPLICABLE}
        assert combine(reversed(statuses)) is status

    @given(st.lists(st.sampled_from(ControlStatus)), st.lists(st.sampled_from(ControlStatus)))
    def test_it_does_not_matter_what_is_combined_first(
        self, some: list[ControlStatus], others: list[ControlStatus]
    ) -> None:
        halves = [combine(each) for each in (some, others) if each]
        assert combine(halves) is combine([*some, *others])


class TestJudge:
    @given(st.lists(outcomes(), max_size=8))
    def test_no_control_is_satisfied_whose_checks_were_not_all_made(self, made: list[Outcome]) -> None:
        compliance = judge(SHIPPED, made)
        lost = any(each.target is None and each.status in MISSING for each in made)
        for each in compliance.controls:
            found = {finding.rule for one in made for finding in one.findings if finding.waiver is None}
            assert (each.status is NOT_SATISFIED) == bool(found & set(each.rules)), each
            if each.status is not SATISFIED:
                continue
            assert each.rules
            assert not lost
            kinds = {KINDS[rule] for rule in each.rules}
            for one in made:
                if one.kind in kinds and one.target is not None and one.target.server is None:
                    assert one.status not in MISSING, one
            assert each.passed > 0
            assert (each.failed, each.missing) == (0, 0)
        for framework in compliance.frameworks:
            for requirement in framework.requirements:
                assert requirement.status is combine(status_of(name, compliance) for name in requirement.controls)

    @given(st.lists(outcomes(), min_size=1, max_size=8), st.randoms())
    def test_the_order_of_outcomes_decides_no_status(self, made: list[Outcome], random: st.DataObject) -> None:
        shuffled = list(made)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert [each.status for each in judge(SHIPPED, shuffled).controls] == [
            each.status for each in judge(SHIPPED, made).controls
        ]

    def test_with_everything_judged_and_nothing_found_all_that_has_rules_is_satisfied(self) -> None:
        compliance = judge(SHIPPED, clean("a", "b"))
        left = {each.id for each in compliance.controls if each.status is not SATISFIED}
        assert left == {"activity-is-recorded"}
        assert result_of("activity-is-recorded", compliance).reason == "no rule judges it"
        assert requirement(compliance, "owasp-mcp-top-10", "MCP01:2025") is SATISFIED
        assert requirement(compliance, "owasp-mcp-top-10", "MCP08:2025") is NOT_ASSESSED
        assert requirement(compliance, "nist-800-53", "CM-14") is NOT_ASSESSED

    def test_one_finding_fails_its_control_and_what_asks_for_it_and_nothing_else(self) -> None:
        made = [*clean("a"), outcome(target("b"), CheckKind.SECURITY, "AC-301")]
        compliance = judge(SHIPPED, made)
        assert [each.id for each in compliance.controls if each.status is NOT_SATISFIED] == ["secrets-kept-out"]
        assert requirement(compliance, "nist-800-53", "IA-5(7)") is NOT_SATISFIED
        assert requirement(compliance, "iso-27001", "A.5.17") is NOT_SATISFIED
        assert requirement(compliance, "iso-27001", "A.8.2") is SATISFIED
        failed = result_of("secrets-kept-out", compliance)
        assert failed.reason == "1 verdict of 6 against it"
        (against, *_) = failed.evidence
        assert (against.place.file, against.rule, against.server) == (".mcp.json", "AC-301", "b")
        assert against.sha256 == target("b").sha256

    @pytest.mark.parametrize("status", sorted(MISSING, key=str))
    def test_a_check_of_one_server_without_a_verdict_is_enough(self, status: Status) -> None:
        made = [*clean("a"), outcome(target("b"), CheckKind.SECURITY, status=status, reason="the disk is gone")]
        compliance = judge(SHIPPED, made)
        missed = result_of("secrets-kept-out", compliance)
        assert missed.status is NOT_ASSESSED
        assert missed.reason == f"3 {status}: the disk is gone"
        assert status_of("servers-are-declared-right", compliance) is SATISFIED
        assert status_of("files-are-private", compliance) is SATISFIED

    def test_no_check_of_a_kind_is_no_pass_of_it(self) -> None:
        made = [each for each in clean("a") if each.kind is not CheckKind.STATUS]
        result = result_of("redirects-are-safe", judge(SHIPPED, made))
        assert (result.status, result.reason) == (
            NOT_ASSESSED,
            "no status check of servers was made for AC-810",
        )

    def test_without_servers_nothing_is_known_of_them(self) -> None:
        compliance = judge(SHIPPED, clean())
        assert status_of("secrets-kept-out", compliance) is NOT_ASSESSED
        assert status_of("files-can-be-read", compliance) is SATISFIED
        assert {each.status for each in judge(SHIPPED, []).controls} == {NOT_ASSESSED}

    def test_a_rule_that_was_left_out_keeps_its_control_open(self) -> None:
        made = [replace(each, left_out=("AC-409",)) for each in clean("a")]
        assert status_of("servers-are-approved", judge(SHIPPED, made)) is NOT_ASSESSED
        assert status_of("secrets-kept-out", judge(SHIPPED, made)) is SATISFIED

    def test_a_file_that_could_not_be_read_hides_servers(self) -> None:
        broken = outcome(target(file="b.json"), CheckKind.SECURITY, status=Status.ERROR, reason="cannot be read")
        compliance = judge(SHIPPED, [*clean("a"), broken])
        assert status_of("secrets-kept-out", compliance) is NOT_ASSESSED

    def test_a_probe_that_failed_did_not_come_to_the_rest(self) -> None:
        made = [*clean("a"), outcome(target("b"), CheckKind.STATUS, "AC-803")]
        compliance = judge(SHIPPED, made)
        assert status_of("servers-answer", compliance) is NOT_SATISFIED
        assert status_of("servers-prove-who-they-are", compliance) is NOT_ASSESSED

    def test_what_was_asked_for_and_is_not_there_satisfies_nothing(self) -> None:
        lost = outcome(None, CheckKind.SKIPPED, status=Status.ERROR, reason="no server's name matches the filter 'x'")
        compliance = judge(SHIPPED, [*clean("a"), lost])
        assert {each.status for each in compliance.controls} == {NOT_ASSESSED}

    def test_evidence_names_file_and_hash_and_is_left_out_with_the_details(self) -> None:
        result = result_of("secrets-kept-out", judge(SHIPPED, [*clean("a", "b"), *clean("c", file="x.json")]))
        assert [(each.place.file, each.count, each.status) for each in result.evidence] == [
            (".mcp.json", 6, Status.PASS),
            ("x.json", 3, Status.PASS),
        ]
        assert [each.sha256 for each in result.evidence] == [target().sha256, target(file="x.json").sha256]
        bare = result_of("secrets-kept-out", judge(SHIPPED, clean("a", "b"), details=False))
        assert bare.evidence == ()
        assert bare.passed == 6

    def test_a_control_without_rules_is_never_satisfied(self) -> None:
        pack = RulePackSpec.model_validate(
            {"rule_pack": "mine", "version": "1", "title": "t", "controls": {"c": {"title": "t", "statement": "s"}}}
        )
        assert judge(Catalogue((pack,), ()), clean("a")).controls[0].status is NOT_ASSESSED
