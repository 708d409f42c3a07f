"""What the servers of one client configuration can do together: the model that reads one of them may call all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from autocoder_components.assessments.deep.powers import Power
from autocoder_components.assessments.model import Outcome, Status, Target
from autocoder_components.assessments.rules.base import excerpt, found_at
from autocoder_components.assessments.rules.tools import TOOL_COMBINATION

_NEEDED: Final = (Power.PRIVATE, Power.STRANGERS, Power.SENDS)
Configuration = tuple[str, str, str, str]


def judged_across(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The same outcomes; where servers make a way out together that none of them has alone, a finding stands at the one that
    sends."""
    able: dict[Configuration, list[int]] = {}
    for at, each in enumerate(outcomes):
        if each.target is not None and each.powers:
            able.setdefault(_configuration(each.target), []).append(at)
    judged = list(outcomes)
    for places in able.values():
        sender = _sender(judged, places)
        if sender is not None:
            judged[sender] = _with_finding(judged, places, sender)
    return judged


def _configuration(target: Target) -> Configuration:
    """What a client reads as one: a file, and in it the servers that stand side by side."""
    return target.path, target.file, target.sha256, target.place.pointer.rpartition("/")[0]


def _sender(outcomes: Sequence[Outcome], places: Sequence[int]) -> int | None:
    having = [frozenset(power for power, _ in outcomes[at].powers) for at in places]
    if not frozenset(_NEEDED) <= frozenset().union(*having) or any(each >= frozenset(_NEEDED) for each in having):
        return None
    # By the place in the file, for outcomes come in any order.
    senders = [at for at, powers in zip(places, having, strict=True) if Power.SENDS in powers]
    return min(senders, key=lambda at: _order(outcomes[at]))


def _with_finding(outcomes: Sequence[Outcome], places: Sequence[int], sender: int) -> Outcome:
    ordered = sorted((outcomes[at] for at in places), key=_order)
    named: dict[str, str] = {}
    for each in (*ordered, outcomes[sender]):
        server = excerpt(each.target.server or "") if each.target is not None else ""
        for power, tool in each.powers:
            if power not in named or each is outcomes[sender]:
                named[power] = f"{excerpt(tool)} of {server}"
    one = outcomes[sender]
    if one.target is None:
        return one
    message = (
        f"Together with the other servers of this configuration the tools can read private data ({named[Power.PRIVATE]}), "
        f"take in what strangers wrote ({named[Power.STRANGERS]}) and send something out ({named[Power.SENDS]})"
    )
    finding = found_at(one.target, TOOL_COMBINATION, one.target.place, message, distinct="across")
    return replace(one, status=Status.FAIL, findings=(*one.findings, finding))


def _order(outcome: Outcome) -> tuple[int, int, str]:
    target = outcome.target
    return (0, 0, "") if target is None else (target.place.line, target.place.column, target.server or "")
