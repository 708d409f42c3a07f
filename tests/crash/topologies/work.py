"""Pipelines whose components do different work: slow, in order, refused, with an end, with a world outside."""

from __future__ import annotations

from collections import Counter

from autocoder import Pipeline
from autocoder.declaration import ErrorPolicy, RetryPolicy
from tests.crash.components import (
    ATTEMPTS,
    Acknowledged,
    AtTheEnd,
    Fated,
    Fives,
    Item,
    Items,
    Outside,
    Pass,
    Slow,
    SlowNumber,
    SlowTotal,
    SmallNumbers,
    Stubborn,
    Table,
    Total,
    encoded,
    hopeless,
    poison,
    side_file,
    stubborn,
)
from tests.crash.expected import Expected
from tests.crash.topologies.common import DURABLE, RETRY, SMALL, fold_total, items_of, pipeline_of

# Long enough between attempts for a kill to fall into the middle of them, and for the next life not to make up for it.
TAKES_TIME = ErrorPolicy(RetryPolicy(ATTEMPTS, 0.02, 0.03, ("FlakyError",)), "dead_letter")


def build_pool(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("slow", Slow(), after=at, on_error=RETRY, channel=DURABLE)
    at = pipeline.add("behind", Fated(shift=2), after=at, on_error=RETRY)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_pool(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    expected.channels["slow", "in"] = upto
    for one in items_of(seed, upto):
        if expected.fate("slow", one) and expected.fate("behind", one, 2):
            expected.row("table", one)
    return expected


def build_ordered(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    dead = ErrorPolicy(RetryPolicy(), "dead_letter")
    at = pipeline.add("slow", Slow(), after=at, ordered=True, on_error=dead)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=DURABLE)
    return pipeline


def fold_ordered(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    for one in items_of(seed, upto):
        failing = "PoisonError" if poison(one) else "FlakyError" if hopeless(one) or one.v % 11 == 3 else None
        if failing:
            expected.dead["slow", "in", encoded(one), failing, 1] += 1
        else:
            expected.channels["table", "in"] += 1
            expected.row("table", one)
    return expected


def build_keyed(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("total", Total(), after=at)
    at = pipeline.add("slow", SlowTotal(), after=at, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_keyed(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    first = Expected()
    fold_total(first, "total", "x", items_of(seed, upto), whole=True)
    expected.dead, expected.state = first.dead, first.state
    between, totals = [], Counter[str]()
    for one in items_of(seed, upto):
        if not poison(one):
            totals[one.k] += one.v
            between.append(Item(one.n, one.k, totals[one.k]))
    fold_total(expected, "slow", "table", between, whole=False)
    return expected


def build_refused(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("pass", Pass(), after=at)
    pipeline.add("table", Table(pipeline=name, sink="table", refuse=13), after=at, channel=DURABLE)
    pipeline.add("other", Table(pipeline=name, sink="other", refuse=9), after=at, channel=SMALL)
    return pipeline


def fold_refused(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table", "other"))
    expected.channels["table", "in"] = upto
    for one in items_of(seed, upto):
        for sink, by in (("table", 13), ("other", 9)):
            if one.v % by == 3:
                expected.dead[sink, "in", encoded(one), "refused", 1] += 1
            else:
                expected.row(sink, one)
    return expected


def build_numbers(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("numbers", SmallNumbers(seed=seed, upto=upto))
    at = pipeline.add("slow", SlowNumber(), after=at, on_error=RETRY, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_numbers(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"numbers": upto})
    expected.channels["slow", "in"] = upto
    for one in items_of(seed, upto):
        expected.row("table", one.v % 5)
    return expected


def build_endings(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    fives = pipeline.add("fives", Fives(), after=at)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=fives, channel=DURABLE)
    end = pipeline.add("end", AtTheEnd(), after=at, channel=SMALL)
    pipeline.add("totals", Table(pipeline=name, sink="totals"), after=end, channel=SMALL)
    return pipeline


def fold_endings(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    values = [one.v for one in items_of(seed, upto)]
    groups = [values[at : at + 5] for at in range(0, len(values), 5)]
    for number, group in enumerate(groups, 1):
        expected.row("table", Item(number, "five", sum(group)))
    expected.channels["table", "in"] = len(groups)
    expected.row("totals", Item(1, "total", sum(values)))
    expected.state = {
        ("fives", "held", ""): [],
        ("fives", "groups", ""): len(groups),
        ("end", "total", ""): sum(values),
    }
    return expected


def build_acknowledged(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Acknowledged(seed=seed, upto=upto, file=side_file(name)))
    at = pipeline.add("pass", Pass(), after=at, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_acknowledged(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    expected.channels["pass", "in"] = upto
    for one in items_of(seed, upto):
        expected.row("table", one)
    return expected


def build_outside(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("fated", Fated(shift=3), after=at, on_error=RETRY)
    at = pipeline.add("slow", Slow(), after=at, on_error=RETRY)
    pipeline.add("receiver", Outside(file=side_file(name)), after=at, channel=SMALL)
    return pipeline


def fold_outside(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    for one in items_of(seed, upto):
        if expected.fate("fated", one, 3) and expected.fate("slow", one):
            expected.outside[encoded(one)] += 1
    return expected


def build_stubborn(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = pipeline_of(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("stubborn", Stubborn(), after=at, on_error=TAKES_TIME, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def fold_stubborn(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    expected.channels["stubborn", "in"] = upto
    for one in items_of(seed, upto):
        if stubborn(one):
            expected.dead["stubborn", "in", encoded(one), "FlakyError", ATTEMPTS] += 1
        else:
            expected.row("table", one)
    return expected
