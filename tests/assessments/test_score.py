"""The score: bounded, never raised by another finding, deaf to order, deducted once per rule and server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from autocoder_components.assessments.model import Outcome, Severity, Status
from autocoder_components.assessments.score import WEIGHTS, count_by_severity, score
from hypothesis import given
from hypothesis import strategies as st

from tests.assessments.examples import RULES, finding, outcome, outcomes, target

ALPHA, BETA = target(".mcp.json", "alpha"), target(".mcp.json", "beta")


def value(*joined: Outcome) -> int | None:
    return score(joined, len(joined), rule_pack="1").value


def test_nothing_found_is_a_hundred() -> None:
    assert value(outcome(ALPHA)) == 100


def test_nothing_assessed_has_no_score() -> None:
    assert value() is None
    assert value(outcome(ALPHA, status=Status.ERROR), outcome(BETA, status=Status.SKIPPED)) is None
    assert value(outcome(None)) is None


@pytest.mark.parametrize("severity", Severity)
def test_one_finding_takes_off_the_weight_of_its_severity(severity: Severity) -> None:
    assert value(outcome(ALPHA, finding("AC-SEC-001", ALPHA, severity=severity))) == 100 - WEIGHTS[severity]


def test_a_rule_that_fires_ten_times_in_one_server_is_deducted_once() -> None:
    ten = [finding("AC-SEC-002", ALPHA, line=line) for line in range(1, 11)]
    assert value(outcome(ALPHA, *ten)) == 92
    assert value(outcome(ALPHA, *ten), outcome(BETA, finding("AC-SEC-002", BETA))) == 84
    assert count_by_severity(ten)[Severity.MEDIUM] == 10


def test_servers_of_one_name_in_two_files_are_two() -> None:
    other = target("other.json", "alpha")
    assert value(outcome(ALPHA, finding("AC-SEC-002", ALPHA)), outcome(other, finding("AC-SEC-002", other))) == 84


def test_the_worst_severity_of_a_rule_in_a_server_is_the_one_deducted() -> None:
    both = [finding("AC-SEC-002", ALPHA, line=at, severity=s) for at, s in enumerate([Severity.LOW, Severity.HIGH], 1)]
    assert value(outcome(ALPHA, *both)) == value(outcome(ALPHA, *reversed(both))) == 80


def test_what_a_waiver_covers_is_neither_deducted_nor_counted() -> None:
    waived = score([outcome(ALPHA, finding("AC-SEC-001", ALPHA), status=Status.WAIVED)], 1, rule_pack="1")
    assert (waived.value, waived.coverage, sum(waived.counts.values())) == (100, 1.0, 0)


def test_coverage_is_what_was_judged_of_what_was_planned() -> None:
    joined = [outcome(ALPHA), outcome(BETA, status=Status.ERROR), outcome(BETA, status=Status.MANUAL)]
    assert score(joined, 4, rule_pack="1").coverage == 0.25
    assert score([], 0, rule_pack="1").coverage == 0.0


def test_the_score_says_which_rules_made_it_and_counts_every_severity_worst_first() -> None:
    scored = score([outcome(ALPHA)], 1, rule_pack="2026.11")
    assert scored.rule_pack == "2026.11"
    assert list(scored.counts) == list(Severity)


def test_more_outcomes_than_planned_are_refused() -> None:
    with pytest.raises(ValueError, match="2 outcomes for 1 planned"):
        score([outcome(ALPHA), outcome(BETA)], 1, rule_pack="1")


@given(st.lists(outcomes(), max_size=8))
def test_it_is_bounded(joined: list[Outcome]) -> None:
    scored = score(joined, len(joined), rule_pack="1")
    assert scored.value is None or 0 <= scored.value <= 100
    assert 0 <= scored.coverage <= 1


@given(st.lists(outcomes(), max_size=8).flatmap(lambda joined: st.tuples(st.just(joined), st.permutations(joined))))
def test_order_does_not_matter(pair: tuple[list[Outcome], list[Outcome]]) -> None:
    one, other = pair
    assert score(one, len(one), rule_pack="1") == score(other, len(other), rule_pack="1")


@given(st.lists(outcomes(), min_size=1, max_size=8), st.data())
def test_another_finding_never_raises_it(joined: list[Outcome], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(joined) - 1))
    where = joined[at].target
    assert where is not None
    more = finding(data.draw(st.sampled_from(sorted(RULES))), where, severity=data.draw(st.sampled_from(Severity)))
    worse = [*joined]
    worse[at] = replace(joined[at], findings=(*joined[at].findings, more))
    before, after = value(*joined), value(*worse)
    assert (before is None) == (after is None)
    assert before is None or after is None or after <= before
