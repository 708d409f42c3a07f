"""Pipelines of different shapes: one way, several ways that part or meet."""

from __future__ import annotations

import json
from collections import Counter

from autocoder import Pipeline
from autocoder.declaration import ChannelOptions
from tests.crash.components import Fated, Halves, InTurn, Item, Items, Pass, Sides, Table, Total, Twice
from tests.crash.expected import Expected
from tests.crash.topologies.common import DURABLE, RETRY, SMALL, fold_total, items_of, pipeline_of


def build_chain(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("fated", Fated(), after=at, on_error=RETRY)
    at = pipeline.add("twice", Twice(), after=at, channel=DURABLE)
    at = pipeline.add("second", Fated(shift=1), after=at, on_error=RETRY, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=DURABLE)
    return pipeline


def fold_chain(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    for one in items_of(seed, upto):
        if not expected.fate("fated", one):
            continue
        expected.channels["twice", "in"] += 1
        for each in Twice().process(one):
            if expected.fate("second", each, 1):
                expected.channels["table", "in"] += 1
                expected.row("table", each)
    return expected


def build_splitter(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    halves = pipeline.add("halves", Halves(), after=at)
    total = pipeline.add("total", Total(), after=halves.port(Halves.even), channel=DURABLE)
    pipeline.add("evens", Table(pipeline=name, sink="evens"), after=total)
    passed = pipeline.add("pass", Pass(), after=halves.port(Halves.odd), channel=SMALL)
    pipeline.add("odds", Table(pipeline=name, sink="odds"), after=passed, channel=SMALL)
    return pipeline


def fold_splitter(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("evens", "odds"))
    evens = []
    for one in items_of(seed, upto):
        if one.v % 5 == 0:
            continue
        if one.v % 2:
            expected.row("odds", one)
        else:
            evens.append(one)
    expected.channels["total", "in"] = len(evens)
    fold_total(expected, "total", "evens", evens, whole=True)
    return expected


def build_merger(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    left = pipeline.add("lefts", Items(seed=seed, upto=upto))
    right = pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2, size=3))
    right = pipeline.add("fated", Fated(), after=right, on_error=RETRY)
    at = pipeline.add("sides", Sides(), after={"left": left, "right": right})
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_merger(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    rights = [one for one in items_of(seed + 1, upto // 2) if expected.fate("fated", one)]
    _fold_sides(expected, list(items_of(seed, upto)), rights)
    return expected


def _fold_sides(expected: Expected, lefts: list[Item], rights: list[Item]) -> None:
    for name, items in (("left", lefts), ("right", rights)):
        counts: Counter[str] = Counter()
        for one in items:
            counts[one.k] += 1
        # A retried message comes later than it was read, so only the counts that were reached are certain.
        for key, count in counts.items():
            expected.state["sides", f"{name}s", key] = count
        expected.rows[
            f"={name}", json.dumps(sorted(each for count in counts.values() for each in range(1, count + 1)))
        ] = 1


def build_diamond(name: str, seed: int, upto: int) -> Pipeline:
    """Two ways to one merger, of which one leaves the region and comes back to it."""
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    halves = pipeline.add("halves", Halves(), after=at)
    around = pipeline.add("fated", Fated(), after=halves.port(Halves.odd), on_error=RETRY, channel=DURABLE)
    at = pipeline.add("sides", Sides(), after={"left": halves.port(Halves.even), "right": around})
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_diamond(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    kept = [one for one in items_of(seed, upto) if one.v % 5]
    odds = [one for one in kept if one.v % 2]
    expected.channels["fated", "in"] = len(odds)
    evens = [one for one in kept if one.v % 2 == 0]
    _fold_sides(expected, evens, [one for one in odds if expected.fate("fated", one)])
    return expected


def build_fanout(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("pass", Pass(), after=at)
    pipeline.add("one", Table(pipeline=name, sink="one"), after=at, channel=DURABLE)
    total = pipeline.add("total", Total(), after=at, channel=DURABLE)
    pipeline.add("two", Table(pipeline=name, sink="two"), after=total)
    pipeline.add("three", Table(pipeline=name, sink="three"), after=at, channel=SMALL)
    return pipeline


def fold_fanout(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("one", "two", "three"))
    expected.channels["one", "in"] = expected.channels["total", "in"] = upto
    for one in items_of(seed, upto):
        expected.row("one", one)
        expected.row("three", one)
    fold_total(expected, "total", "two", items_of(seed, upto), whole=True)
    return expected


def build_turns(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    left = pipeline.add("lefts", Items(seed=seed, upto=upto))
    right = pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2))
    at = pipeline.add("turns", InTurn(), after={"left": left, "right": right}, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_turns(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    for one in items_of(seed, upto):
        expected.row("table", Item(one.n, "left", one.v))
    for one in items_of(seed + 1, upto // 2):
        expected.row("table", Item(one.n, "right", one.v))
    return expected


def build_narrow(name: str, seed: int, upto: int) -> Pipeline:
    """Two writers of one channel, whose reader takes few at once of what is handed over."""
    pipeline = pipeline_of(name)
    both = [
        pipeline.add("lefts", Items(seed=seed, upto=upto)),
        pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2, size=3)),
    ]
    narrow = ChannelOptions(durable=True, capacity=3)
    at = pipeline.add("fated", Fated(), after=both, on_error=RETRY, channel=narrow)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=narrow)
    return pipeline


def fold_narrow(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    for one in (*items_of(seed, upto), *items_of(seed + 1, upto // 2)):
        expected.channels["fated", "in"] += 1
        if expected.fate("fated", one):
            expected.channels["table", "in"] += 1
            expected.row("table", one)
    return expected
