"""Servers that are harmless each, and dangerous side by side in one configuration."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from autocoder_components.assessments import JoinOutcomes
from autocoder_components.assessments.deep.across import judged_across
from autocoder_components.assessments.model import CheckKind, Outcome, Place, Request, Status, Target

TARGET = Target("a", "mcp.json", "/w/mcp.json", "client", "project", "generic", "0")


def server(name: str, line: int, *powers: str, under: str = "/mcpServers", file: str = "mcp.json") -> Outcome:
    place = Place(file, f"{under}/{name}", line, 1)
    target = replace(TARGET, file=file, path=f"/w/{file}", server=name, place=place)
    having = tuple((each, f"{each}_tool") for each in powers)
    return Outcome(Request("a"), target, CheckKind.DEEP, Status.PASS, planned=3, powers=having)


FILES, WEB, MAIL = server("files", 2, "private"), server("web", 3, "strangers"), server("mail", 4, "sends")


def test_a_way_out_over_several_servers_is_found_once_at_the_one_that_sends() -> None:
    seen = set()
    for order in permutations([FILES, WEB, MAIL, server("later", 9, "sends", "private")]):
        failed = [each for each in judged_across(order) if each.status is Status.FAIL]
        (finding,) = [finding for each in failed for finding in each.findings]
        seen.add((finding.rule, finding.server, finding.place.line, finding.message, finding.fingerprint))
    ((rule, name, line, message, _),) = seen
    assert (rule, name, line) == ("AC-907", "mail", 4)
    for said in ("'private_tool' of 'files'", "'strangers_tool' of 'web'", "'sends_tool' of 'mail'"):
        assert said in message


@pytest.mark.parametrize(
    "outcomes",
    [
        [FILES, WEB],
        [FILES, WEB, server("mail", 4, "sends", file="other.json")],
        [FILES, WEB, server("mail", 4, "sends", under="/projects/x/mcpServers")],
        [FILES, WEB, MAIL, server("all", 5, "private", "strangers", "sends")],  # which has a finding of its own
        [Outcome(Request("a"), None, CheckKind.SKIPPED, Status.ERROR, planned=1)],
    ],
)
def test_what_is_not_together_or_is_said_already_is_not_found(outcomes: list[Outcome]) -> None:
    assert judged_across(outcomes) == outcomes


def test_outcomes_that_are_joined_are_judged_together() -> None:
    join = JoinOutcomes()
    for each in (FILES, WEB, MAIL):
        join.arrived.begin(join.key(each))
        joined = join.on_deep(each)
    assert joined is not None
    assert [finding.rule for each in joined.outcomes for finding in each.findings] == ["AC-907"]
