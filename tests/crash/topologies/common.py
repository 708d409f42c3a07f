"""What pipelines that are killed have in common, and the fold of a component that is in several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from autocoder import Pipeline
from autocoder.declaration import ChannelOptions, ErrorPolicy, RetryPolicy
from tests.crash.components import ATTEMPTS, Item, encoded, item, poison
from tests.crash.expected import Expected

DURABLE = ChannelOptions(durable=True)
SMALL = ChannelOptions(capacity=16)
RETRY = ErrorPolicy(RetryPolicy(ATTEMPTS, 0.001, 0.004, ("FlakyError",)), "dead_letter")


@dataclass(frozen=True)
class Topology:
    """A pipeline by name, seed and number of messages, and its fold."""

    name: str
    build: Callable[[str, int, int], Pipeline]
    fold: Callable[[int, int], Expected]
    grows: bool = True


def items_of(seed: int, upto: int) -> Iterable[Item]:
    return (item(seed, n) for n in range(upto))


def pipeline_of(name: str) -> Pipeline:
    return Pipeline(name, every=0.004, messages=25)


def fold_total(expected: Expected, name: str, sink: str, items: Iterable[Item], *, whole: bool) -> None:
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
