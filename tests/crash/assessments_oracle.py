"""Judges the assessments of a case after the faults stopped: one verdict each, no gap in a trail, no orphan, no ticket lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.states import Action, AssessmentState, AuditEntry, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.tables import assessment_metrics
from autocoder_components.assessments.lifecycle.upkeep import GIVEN_UP

from autocoder import open_database
from autocoder.store.tables import port_messages, regions
from tests.assessments.lifecycle.conftest import folded
from tests.crash.assessments_lives import HOPELESS, Wanted, policy_of

MOST_SHOWN: Final = 3
PAGE: Final = 10_000
Trails = Mapping[str, Sequence[AuditEntry]]


async def judge(url: str, kind: str, asked: int) -> list[str]:
    """What is wrong with the first `asked` assessments; empty where all holds."""
    wrong: list[str] = []
    async with open_store(url, policy=policy_of(kind)) as store:
        if kind == "service":
            # The pipeline has ended, and with it what looks for dead letters.
            swept = await store.sweep()
            if swept.rescued or swept.given_up or swept.retried:
                wrong.append(f"orphans: {swept}")
        found = await _states(store)
        trails = await _trails(store)
        health = await store.health()
        if (health.pending, health.processing, health.status) != (0, 0, "healthy"):
            wrong.append(f"health: {health}")
    wanted = {each.id: each for each in map(Wanted, range(asked))}
    wrong += _differ("assessments", Counter(list(wanted)), Counter(list(found)))
    wrong += _differ("trails", Counter(list(wanted)), Counter(list(trails)))
    for name in wanted.keys() & found.keys() & trails.keys():
        wrong += _row(wanted[name], found[name], trails[name], kind)
    async with open_database(url) as database, database.reading() as connection:
        messages = list(await connection.execute(sa.select(port_messages)))
        owners = list(await connection.execute(sa.select(regions.c.region).where(regions.c.owner.is_not(None))))
        measured = assessment_metrics.c
        metrics = Counter(
            (each.assessment_id, each.metric_type)
            for each in await connection.execute(sa.select(measured.assessment_id, measured.metric_type))
        )
    if owners:
        wrong.append(f"open leases: {owners}")
    wrong += _differ("metrics", _expected_metrics(trails), metrics)
    return wrong + _messages(messages, trails, kind)


async def _states(store: AssessmentStore) -> dict[str, AssessmentState]:
    ids, after = list[str](), None
    while True:
        page = await store.list_assessments(limit=1000, after=after)
        ids += [each.assessment_id for each in page.assessments]
        after = page.next
        if after is None:
            return {each: await store.get_state(each, fresh=True) for each in ids}


async def _trails(store: AssessmentStore) -> dict[str, list[AuditEntry]]:
    found: dict[str, list[AuditEntry]] = {}
    after = 0
    while entries := await store.audit(limit=PAGE, after=after):
        after = entries[-1].id
        for each in entries:
            found.setdefault(each.assessment_id, []).append(each)
    return found


def _row(wanted: Wanted, state: AssessmentState, trail: Sequence[AuditEntry], kind: str) -> list[str]:
    try:
        came_to = folded(trail)
    except AssertionError as error:
        return [f"the trail of {wanted.id} has a gap: {error}"]
    wrong = []
    if came_to != (state.state, state.version):
        wrong.append(f"{wanted.id} is {state.state} {state.version}, and its trail comes to {came_to}")
    if not state.is_settled:
        wrong.append(f"{wanted.id} has no end: {state}")
    allowed = _allowed(wanted, kind)
    if state.state not in allowed:
        said = f"{state.error_message}; {[each.change_action for each in trail]}"
        wrong.append(f"{wanted.id} is {state.state}, and may be {allowed}: {said}")
    # A result that comes too late is noted beside whatever state it finds, waiting as well, and changes none.
    attempts = sum(each.new_state is State.PENDING and each.old_state not in (None, State.PENDING) for each in trail)
    if attempts != state.retry_count or (kind == "service" and attempts):
        wrong.append(f"{wanted.id} has {state.retry_count} retries, its trail {attempts}")
    if state.state is State.COMPLETED:
        wrong += _verdict(wanted, state, kind)
    said = state.error_message or ""
    if state.state is State.FAILED and not (
        "dead letter" in said if kind == "service" else said == HOPELESS or said.endswith(GIVEN_UP)
    ):
        wrong.append(f"{wanted.id} has failed with {said!r}")
    return wrong


def _allowed(wanted: Wanted, kind: str) -> set[State]:
    allowed = {State.FAILED if wanted.is_broken else State.COMPLETED}
    if wanted.is_cancelled:
        allowed.add(State.CANCELLED)
    if wanted.is_tried_once and kind != "service":
        allowed.add(State.FAILED)  # its only worker died, or was too slow
    return allowed


def _verdict(wanted: Wanted, state: AssessmentState, kind: str) -> list[str]:
    """The result is that of the attempt that counts, and of this assessment."""
    result: Any = state.result or {}
    if kind == "service":
        of = result.get("assessment", {}).get("id")
        return [] if of == wanted.id else [f"{wanted.id} has the result of {of}"]
    by = result.get("attempt")
    return [] if by == state.retry_count else [f"{wanted.id} has the result of attempt {by}, not {state.retry_count}"]


def _expected_metrics(trails: Trails) -> Counter[tuple[str, str]]:
    expected: Counter[tuple[str, str]] = Counter()
    for name, trail in trails.items():
        moves = [each for each in trail if each.old_state not in (None, each.new_state)]
        expected[name, "queue_time"] += int(any(each.new_state is State.PROCESSING for each in moves))
        expected[name, "processing_time"] += sum(each.old_state is State.PROCESSING for each in moves)
        expected[name, "error_count"] += sum(each.new_state is State.FAILED for each in moves)
        expected[name, "retry_count"] += sum(each.new_state is State.PENDING for each in moves)
    return +expected


def _messages(messages: Sequence[Any], trails: Trails, kind: str) -> list[str]:
    """A ticket for every time that one came to wait for a worker; what the pipeline passed on has come to its end."""
    tickets = Counter(
        json.loads(each.message_data)["assessment_id"]
        for each in messages
        if each.target_component == "inbox" and not each.source_component
    )
    became = Counter({name: sum(map(_waits, trail, [*trail[1:], None])) for name, trail in trails.items()})
    wrong = _differ("tickets", became, tickets)
    if kind == "service":
        going = Counter((each.target_component, each.status) for each in messages if each.status != "completed")
        dead = [each for each in messages if each.status == "dead_letter"]
        strange = [each.message_data for each in dead if '"broken-' not in (each.message_data or "")]
        if strange or len(dead) != sum(going.values()):
            wrong.append(f"messages without an end: {dict(going)}, {strange[:MOST_SHOWN]}")
    return wrong


def _waits(entry: AuditEntry, following: AuditEntry | None) -> bool:
    """Whether it waits for a worker from this entry on. Who cancels a retry that is ahead begins it and gives it up at once."""
    if following is not None and (following.change_action, following.created_at) == (Action.CANCEL, entry.created_at):
        return False
    return entry.new_state is State.PENDING and entry.old_state is not State.PENDING


def _differ(what: str, expected: Counter[Any], found: Counter[Any]) -> list[str]:
    missing, extra = expected - found, found - expected
    wrong = []
    if missing:
        wrong.append(f"{what}: {missing.total()} missing, such as {list(missing)[:MOST_SHOWN]}")
    if extra:
        wrong.append(f"{what}: {extra.total()} too many, such as {list(extra)[:MOST_SHOWN]}")
    return wrong
