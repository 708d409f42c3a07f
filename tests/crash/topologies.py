"""The pipelines that are killed, each with the fold that says what an uninterrupted run leaves in the database.

A fold is single-threaded and knows nothing of the runtime: it walks over the messages in order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autocoder import Pipeline
from autocoder.declaration import ChannelOptions, ErrorPolicy, RetryPolicy
from tests.crash.components import (
    ATTEMPTS,
    Acknowledged,
    AtTheEnd,
    Fated,
    Fives,
    Halves,
    InTurn,
    Item,
    Items,
    Outside,
    Pass,
    Sides,
    Slow,
    SlowNumber,
    SlowTotal,
    SmallNumbers,
    Stubborn,
    Table,
    Total,
    Twice,
    encoded,
    hopeless,
    item,
    poison,
    side_file,
    stubborn,
)
from tests.crash.expected import Expected

DURABLE = ChannelOptions(durable=True)
SMALL = ChannelOptions(capacity=16)
RETRY = ErrorPolicy(RetryPolicy(ATTEMPTS, 0.001, 0.004, ("FlakyError",)), "dead_letter")
# Long enough between attempts for a kill to fall into the middle of them, and for the next life not to make up for it.
TAKES_TIME = ErrorPolicy(RetryPolicy(ATTEMPTS, 0.02, 0.03, ("FlakyError",)), "dead_letter")


@dataclass(frozen=True)
class Topology:
    """A pipeline by name, seed and number of messages, and its fold."""

    name: str
    build: Callable[[str, int, int], Pipeline]
    fold: Callable[[int, int], Expected]
    grows: bool = True


def _items(seed: int, upto: int) -> Iterable[Item]:
    return (item(seed, n) for n in range(upto))


def _pipeline(name: str) -> Pipeline:
    return Pipeline(name, every=0.004, messages=25)


def _chain(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("fated", Fated(), after=at, on_error=RETRY)
    at = pipeline.add("twice", Twice(), after=at, channel=DURABLE)
    at = pipeline.add("second", Fated(shift=1), after=at, on_error=RETRY, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=DURABLE)
    return pipeline


def _chain_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    for one in _items(seed, upto):
        if not expected.fate("fated", one):
            continue
        expected.channels["twice", "in"] += 1
        for each in Twice().process(one):
            if expected.fate("second", each, 1):
                expected.channels["table", "in"] += 1
                expected.row("table", each)
    return expected


def _splitter(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    halves = pipeline.add("halves", Halves(), after=at)
    total = pipeline.add("total", Total(), after=halves.port(Halves.even), channel=DURABLE)
    pipeline.add("evens", Table(pipeline=name, sink="evens"), after=total)
    passed = pipeline.add("pass", Pass(), after=halves.port(Halves.odd), channel=SMALL)
    pipeline.add("odds", Table(pipeline=name, sink="odds"), after=passed, channel=SMALL)
    return pipeline


def _splitter_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("evens", "odds"))
    evens = []
    for one in _items(seed, upto):
        if one.v % 5 == 0:
            continue
        if one.v % 2:
            expected.row("odds", one)
        else:
            evens.append(one)
    expected.channels["total", "in"] = len(evens)
    _fold_total(expected, "total", "evens", evens, whole=True)
    return expected


def _fold_total(expected: Expected, name: str, sink: str, items: Iterable[Item], *, whole: bool) -> None:
    totals: dict[str, int] = {}
    seen: dict[str, list[int]] = {}
    last: dict[str, str] = {}
    for one in items:
        if poison(one):
            expected.dead[name, "in", encoded(one), "PoisonError", 1] += 1
            continue
        totals[one.k] = totals.get(one.k, 0) + one.v
        seen.setdefault(one.k, []).append(one.n)
        last[one.k] = f"{one.k}:{one.n}"
        if len(seen[one.k]) > 5:
            del seen[one.k]
        expected.row(sink, Item(one.n, one.k, totals[one.k]))
    expected.state.update({(name, "total", key): value for key, value in totals.items()})
    if whole:
        expected.state.update({(name, "seen", key): value for key, value in seen.items()})
        expected.state.update({(name, "key_of_last", key): value for key, value in last.items()})


def _merger(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    left = pipeline.add("lefts", Items(seed=seed, upto=upto))
    right = pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2, size=3))
    right = pipeline.add("fated", Fated(), after=right, on_error=RETRY)
    at = pipeline.add("sides", Sides(), after={"left": left, "right": right})
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _merger_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    rights = [one for one in _items(seed + 1, upto // 2) if expected.fate("fated", one)]
    _fold_sides(expected, list(_items(seed, upto)), rights)
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


def _diamond(name: str, seed: int, upto: int) -> Pipeline:
    """Two ways to one merger, of which one leaves the region and comes back to it."""
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    halves = pipeline.add("halves", Halves(), after=at)
    around = pipeline.add("fated", Fated(), after=halves.port(Halves.odd), on_error=RETRY, channel=DURABLE)
    at = pipeline.add("sides", Sides(), after={"left": halves.port(Halves.even), "right": around})
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _diamond_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    kept = [one for one in _items(seed, upto) if one.v % 5]
    odds = [one for one in kept if one.v % 2]
    expected.channels["fated", "in"] = len(odds)
    evens = [one for one in kept if one.v % 2 == 0]
    _fold_sides(expected, evens, [one for one in odds if expected.fate("fated", one)])
    return expected


def _fanout(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("pass", Pass(), after=at)
    pipeline.add("one", Table(pipeline=name, sink="one"), after=at, channel=DURABLE)
    total = pipeline.add("total", Total(), after=at, channel=DURABLE)
    pipeline.add("two", Table(pipeline=name, sink="two"), after=total)
    pipeline.add("three", Table(pipeline=name, sink="three"), after=at, channel=SMALL)
    return pipeline


def _fanout_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("one", "two", "three"))
    expected.channels["one", "in"] = expected.channels["total", "in"] = upto
    for one in _items(seed, upto):
        expected.row("one", one)
        expected.row("three", one)
    _fold_total(expected, "total", "two", _items(seed, upto), whole=True)
    return expected


def _pool(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("slow", Slow(), after=at, on_error=RETRY, channel=DURABLE)
    at = pipeline.add("behind", Fated(shift=2), after=at, on_error=RETRY)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _pool_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    expected.channels["slow", "in"] = upto
    for one in _items(seed, upto):
        if expected.fate("slow", one) and expected.fate("behind", one, 2):
            expected.row("table", one)
    return expected


def _ordered(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    dead = ErrorPolicy(RetryPolicy(), "dead_letter")
    at = pipeline.add("slow", Slow(), after=at, ordered=True, on_error=dead)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=DURABLE)
    return pipeline


def _ordered_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    for one in _items(seed, upto):
        failing = "PoisonError" if poison(one) else "FlakyError" if hopeless(one) or one.v % 11 == 3 else None
        if failing:
            expected.dead["slow", "in", encoded(one), failing, 1] += 1
        else:
            expected.channels["table", "in"] += 1
            expected.row("table", one)
    return expected


def _keyed(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("total", Total(), after=at)
    at = pipeline.add("slow", SlowTotal(), after=at, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _keyed_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    first = Expected()
    _fold_total(first, "total", "x", _items(seed, upto), whole=True)
    expected.dead, expected.state = first.dead, first.state
    between, totals = [], Counter[str]()
    for one in _items(seed, upto):
        if not poison(one):
            totals[one.k] += one.v
            between.append(Item(one.n, one.k, totals[one.k]))
    _fold_total(expected, "slow", "table", between, whole=False)
    return expected


def _refused(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("pass", Pass(), after=at)
    pipeline.add("table", Table(pipeline=name, sink="table", refuse=13), after=at, channel=DURABLE)
    pipeline.add("other", Table(pipeline=name, sink="other", refuse=9), after=at, channel=SMALL)
    return pipeline


def _refused_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table", "other"))
    expected.channels["table", "in"] = upto
    for one in _items(seed, upto):
        for sink, by in (("table", 13), ("other", 9)):
            if one.v % by == 3:
                expected.dead[sink, "in", encoded(one), "refused", 1] += 1
            else:
                expected.row(sink, one)
    return expected


def _numbers(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("numbers", SmallNumbers(seed=seed, upto=upto))
    at = pipeline.add("slow", SlowNumber(), after=at, on_error=RETRY, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _numbers_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"numbers": upto})
    expected.channels["slow", "in"] = upto
    for one in _items(seed, upto):
        expected.row("table", one.v % 5)
    return expected


def _turns(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    left = pipeline.add("lefts", Items(seed=seed, upto=upto))
    right = pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2))
    at = pipeline.add("turns", InTurn(), after={"left": left, "right": right}, channel=SMALL)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _turns_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    for one in _items(seed, upto):
        expected.row("table", Item(one.n, "left", one.v))
    for one in _items(seed + 1, upto // 2):
        expected.row("table", Item(one.n, "right", one.v))
    return expected


def _endings(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    fives = pipeline.add("fives", Fives(), after=at)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=fives, channel=DURABLE)
    end = pipeline.add("end", AtTheEnd(), after=at, channel=SMALL)
    pipeline.add("totals", Table(pipeline=name, sink="totals"), after=end, channel=SMALL)
    return pipeline


def _endings_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    values = [one.v for one in _items(seed, upto)]
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


def _acknowledged(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Acknowledged(seed=seed, upto=upto, file=side_file(name)))
    at = pipeline.add("pass", Pass(), after=at, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _acknowledged_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    expected.channels["pass", "in"] = upto
    for one in _items(seed, upto):
        expected.row("table", one)
    return expected


def _outside(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("fated", Fated(shift=3), after=at, on_error=RETRY)
    at = pipeline.add("slow", Slow(), after=at, on_error=RETRY)
    pipeline.add("receiver", Outside(file=side_file(name)), after=at, channel=SMALL)
    return pipeline


def _outside_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto})
    for one in _items(seed, upto):
        if expected.fate("fated", one, 3) and expected.fate("slow", one):
            expected.outside[encoded(one)] += 1
    return expected


def _stubborn(name: str, seed: int, upto: int) -> Pipeline:
    pipeline = _pipeline(name)
    at = pipeline.add("items", Items(seed=seed, upto=upto))
    at = pipeline.add("stubborn", Stubborn(), after=at, on_error=TAKES_TIME, channel=DURABLE)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=SMALL)
    return pipeline


def _stubborn_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"items": upto}, ordered=("table",))
    expected.channels["stubborn", "in"] = upto
    for one in _items(seed, upto):
        if stubborn(one):
            expected.dead["stubborn", "in", encoded(one), "FlakyError", ATTEMPTS] += 1
        else:
            expected.row("table", one)
    return expected


def _narrow(name: str, seed: int, upto: int) -> Pipeline:
    """Two writers of one channel, whose reader takes few at once of what is handed over."""
    pipeline = _pipeline(name)
    both = [
        pipeline.add("lefts", Items(seed=seed, upto=upto)),
        pipeline.add("rights", Items(seed=seed + 1, upto=upto // 2, size=3)),
    ]
    narrow = ChannelOptions(durable=True, capacity=3)
    at = pipeline.add("fated", Fated(), after=both, on_error=RETRY, channel=narrow)
    pipeline.add("table", Table(pipeline=name, sink="table"), after=at, channel=narrow)
    return pipeline


def _narrow_fold(seed: int, upto: int) -> Expected:
    expected = Expected(positions={"lefts": upto, "rights": upto // 2})
    for one in (*_items(seed, upto), *_items(seed + 1, upto // 2)):
        expected.channels["fated", "in"] += 1
        if expected.fate("fated", one):
            expected.channels["table", "in"] += 1
            expected.row("table", one)
    return expected


TOPOLOGIES = {
    each.name: each
    for each in (
        Topology("chain", _chain, _chain_fold),
        Topology("splitter", _splitter, _splitter_fold),
        Topology("merger", _merger, _merger_fold),
        Topology("diamond", _diamond, _diamond_fold),
        Topology("fanout", _fanout, _fanout_fold),
        Topology("pool", _pool, _pool_fold),
        Topology("ordered", _ordered, _ordered_fold),
        Topology("keyed", _keyed, _keyed_fold),
        Topology("refused", _refused, _refused_fold),
        Topology("numbers", _numbers, _numbers_fold),
        Topology("turns", _turns, _turns_fold),
        Topology("endings", _endings, _endings_fold, grows=False),
        Topology("acknowledged", _acknowledged, _acknowledged_fold),
        Topology("outside", _outside, _outside_fold),
        Topology("stubborn", _stubborn, _stubborn_fold),
        Topology("narrow", _narrow, _narrow_fold),
    )
}
