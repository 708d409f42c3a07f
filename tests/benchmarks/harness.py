"""Runs contenders in turn, so that whatever slows the machine slows them all, and prints medians and ratios."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata

ROUNDS = 7


@dataclass(frozen=True)
class Contender:
    """Does `messages` messages of work when called; None where it cannot run here, with the reason."""

    name: str
    work: Callable[[], None] | None
    messages: int
    absent: str = ""


@dataclass(frozen=True)
class Bar:
    """Ours must reach `least` times the rate of `against`."""

    against: str
    least: float


@dataclass(frozen=True)
class Result:
    """Median messages per second by contender, and how ours stands to each bar."""

    benchmark: str
    rates: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]]
    absent: Mapping[str, str]
    bars: Sequence[Mapping[str, object]] = field(default=())


def measure(benchmark: str, contenders: Sequence[Contender], bars: Sequence[Bar], *, ours: str = "autocoder") -> Result:
    """Alternate the contenders for ROUNDS rounds after one that warms up."""
    present = {each.name: each for each in contenders if each.work is not None}
    rates: dict[str, list[float]] = {name: [] for name in present}
    for round_number in range(ROUNDS + 1):
        for name, contender in present.items():
            assert contender.work is not None
            started = time.perf_counter()
            contender.work()
            if round_number:
                rates[name].append(contender.messages / (time.perf_counter() - started))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    judged = []
    for bar in bars:
        if bar.against in medians:
            ratios = [one / other for one, other in zip(rates[ours], rates[bar.against], strict=True)]
            ratio = statistics.median(ratios)
            judged.append(
                {"against": bar.against, "least": bar.least, "ratio": round(ratio, 3), "met": ratio >= bar.least}
            )
    return Result(
        benchmark,
        medians,
        {name: (min(each), max(each)) for name, each in rates.items()},
        {each.name: each.absent for each in contenders if each.work is None},
        judged,
    )


def report(results: Sequence[Result]) -> None:
    """A table on stderr for people, one JSON object on stdout for programs."""
    print(
        f"\n{platform.platform()}, Python {platform.python_version()}, {ROUNDS} alternating rounds, medians",
        file=sys.stderr,
    )
    for result in results:
        print(f"\n{result.benchmark}", file=sys.stderr)
        for name, rate in sorted(result.rates.items(), key=lambda each: -each[1]):
            low, high = result.spread[name]
            print(f"  {name:<44} {rate:>12,.0f}/s   ({low:,.0f} to {high:,.0f})", file=sys.stderr)
        for name, why in result.absent.items():
            print(f"  {name:<44} {'absent':>12}     {why}", file=sys.stderr)
        for bar in result.bars:
            verdict = "met" if bar["met"] else "MISSED"
            print(f"  {verdict}: {bar['ratio']:.2f} x {bar['against']} (bar {bar['least']})", file=sys.stderr)
    json.dump({"machine": machine(), "results": [asdict(each) for each in results]}, sys.stdout, indent=1)
    print()


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "rounds": ROUNDS,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of what was measured."""
    found = {}
    for name in ("autocoder", "bytewax", "anyio", "pydantic"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
