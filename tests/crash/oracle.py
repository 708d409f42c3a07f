"""Judges a database after the faults stopped: against the fold, in a process of its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from autocoder.database import open_database
from tests.crash.components import side_file
from tests.crash.expected import Expected

MOST_SHOWN = 4
UNCOUNTED = "I3 failed without a counted attempt: message"


async def judge(url: str, pipeline: str, expected: Expected) -> list[str]:
    """What is wrong, each with the invariant that it breaks; empty where all holds."""
    async with open_database(url) as database, database.reading() as connection:

        async def rows(query: str) -> list[Any]:
            return list(await connection.execute(sa.text(query), {"pipeline": pipeline}))

        sinks = await rows("SELECT sink, data, number FROM crash_rows WHERE pipeline = :pipeline ORDER BY id")
        messages = await rows(
            "SELECT target_component, port_name, status, source_component, message_data, error_type, retry_count, seq"
            " FROM port_messages WHERE pipeline = :pipeline ORDER BY seq"
        )
        state = await rows(
            "SELECT component_name, state_name, state_key, state_data FROM component_state"
            " WHERE pipeline = :pipeline AND state_name <> ''"
        )
        positions = await rows(
            "SELECT component_name, checkpoint_data FROM checkpoints WHERE pipeline = :pipeline AND checkpoint_name = ''"
        )
        notes = await rows(
            "SELECT component_name, state_data FROM component_state"
            " WHERE pipeline = :pipeline AND state_name = '' AND state_key = '!call'"
        )
        owners = await rows("SELECT region, owner FROM regions WHERE pipeline = :pipeline AND owner IS NOT NULL")
    wrong = _sinks(sinks, expected)
    wrong += _messages(messages, expected)
    found = {(each[0], each[1], each[2]): json.loads(each[3]) for each in state}
    wrong += _differ("I1 state", Counter(_flat(expected.state)), Counter(_flat(found)))
    at = {each[0]: json.loads(each[1]) for each in positions if each[0] in expected.positions}
    if at != expected.positions:
        wrong.append(f"I10 positions: {at} instead of {expected.positions}")
    wrong += _outside(side_file(pipeline), expected)
    if notes:
        wrong.append(f"I9 careful mode is not over: {notes}")
    if owners:
        wrong.append(f"I2 open leases: {owners}")
    return wrong


def _outside(file: Path, expected: Expected) -> list[str]:
    """What a receiver that tells messages apart by their keys has got."""
    if not expected.outside:
        return []
    got: dict[str, str] = {}
    for line in file.read_text().splitlines():
        key, _, data = line.partition(" ")
        if got.setdefault(key, data) != data:
            return [f"I4 one key for two messages: {got[key]} and {data}"]
    return _differ("I4 messages outside, by key", expected.outside, Counter(got.values()))


def _flat(state: dict[tuple[str, str, str], Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in state.items()]


def _sinks(sinks: list[Any], expected: Expected) -> list[str]:
    found = Counter((each.sink, each.data) for each in sinks)
    compared = sorted(key[0] for key in expected.rows if key[0].startswith("="))
    if compared:  # the rows of a side are known only as the counts that they hold
        found = Counter()
        for key in compared:
            values = sorted(one["v"] for one in (json.loads(each.data) for each in sinks) if f"={one['k']}" == key)
            found[key, json.dumps(values)] += 1
    wrong = _differ("I1/I3 sink rows", expected.rows, found)
    for sink in expected.ordered:
        numbers = [each.number for each in sinks if each.sink == sink]
        if numbers != sorted(numbers):
            at = next(n for n in range(1, len(numbers)) if numbers[n] < numbers[n - 1])
            wrong.append(f"I8 order of {sink}: {numbers[at]} comes after {numbers[at - 1]}")
    return wrong


def _messages(messages: list[Any], expected: Expected) -> list[str]:
    dead = Counter(
        (
            each.target_component,
            each.port_name,
            each.message_data,
            each.error_type if each.error_type in ("PoisonError", "FlakyError") else "refused",
            each.retry_count,
        )
        for each in messages
        if each.status == "dead_letter"
    )
    wrong = _differ("I3 dead letters", expected.dead, dead)
    open_rows = Counter(
        (each.target_component, each.status) for each in messages if each.status not in ("completed", "dead_letter")
    )
    if open_rows:
        wrong.append(f"I9 messages that are neither completed nor dead: {dict(open_rows)}")
    sent = Counter((each.target_component, each.port_name) for each in messages if each.source_component)
    wrong += _differ("I9 messages of durable channels", sent if expected.cleaned else expected.channels, sent)
    extra = Counter(
        (each.target_component, each.status)
        for each in messages
        if not each.source_component and (each.target_component, each.port_name) in expected.channels
    )
    if extra:
        wrong.append(f"I3 rows beside those of the channel: {dict(extra)}")
    return wrong


def _differ(what: str, expected: Counter[Any], found: Counter[Any]) -> list[str]:
    missing, extra = expected - found, found - expected
    wrong = []
    if missing:
        wrong.append(f"{what}: {missing.total()} missing, such as {list(missing)[:MOST_SHOWN]}")
    if extra:
        wrong.append(f"{what}: {extra.total()} too many, such as {list(extra)[:MOST_SHOWN]}")
    return wrong


async def marks(url: str, pipeline: str) -> dict[str, list[int]]:
    """What never goes back (I2, I3, I10): token and epoch of every region, replays and attempts of every parked message."""
    async with open_database(url) as database, database.reading() as connection:
        query = sa.text("SELECT region, token, epoch FROM regions WHERE pipeline = :pipeline")
        of_regions = await connection.execute(query, {"pipeline": pipeline})
        found = {f"region {name}": [token, epoch] for name, token, epoch in of_regions}
        query = sa.text(
            "SELECT seq, replayed, retry_count, error_type FROM port_messages WHERE pipeline = :pipeline AND parked"
            " AND status IN ('failed', 'dead_letter')"
        )
        parked = await connection.execute(query, {"pipeline": pipeline})
        for seq, replayed, attempts, error in parked:
            found[f"message {seq}"] = [replayed, attempts]
            if error is not None and attempts == 0:
                found[f"{UNCOUNTED} {seq}"] = [0]
        return found
