"""Runs contenders in turn, so that whatever slows the machine slows them all, and judges medians by their bars."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

OURS = "autocoder"


@dataclass
class Options:
    """How to measure; set once, before anything is measured.

    `quick` is one round of little work: it shows that everything runs, and no more. `long` adds what takes minutes. `cpu`
    takes the CPU time of this process for the time: for a ratio on a machine that others use, too.
    """

    quick: bool = False
    long: bool = False
    cpu: bool = False

    def sized(self, number: int) -> int:
        """So many messages, or with `quick` a twentieth of them."""
        return max(1, number // 20) if self.quick else number

    def clock(self) -> float:
        return time.process_time() if self.cpu else time.perf_counter()


OPTIONS = Options()


@dataclass(frozen=True)
class Contender:
    """Does `messages` messages of work when called, and is timed; or returns a figure of its own.

    `before` is called in front of it, outside the time. `work` is None where it cannot run here, and `absent` says why.
    `unit` is that of its figure where it is another than that of the benchmark.
    """

    name: str
    work: Callable[[], float | None] | None
    messages: int = 1
    absent: str = ""
    before: Callable[[], object] | None = None
    unit: str = ""


@dataclass(frozen=True)
class Bar:
    """The figure of `of` must be at least, or at most, so many times that of `against`; without `against` so much itself."""

    against: str = ""
    least: float | None = None
    most: float | None = None
    of: str = OURS


@dataclass(frozen=True)
class Figure:
    """The median of the rounds, and the extremes."""

    median: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Curve:
    """How figures move with one number: by contender a median for each x."""

    x: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Result:
    """What was measured, in `unit` where a figure has none of its own, and how it stands to each bar."""

    benchmark: str
    unit: str
    rounds: int
    figures: Mapping[str, Figure]
    absent: Mapping[str, str] = field(default_factory=dict)
    bars: Sequence[Mapping[str, object]] = ()
    curve: Curve | None = None


def measure(
    benchmark: str,
    contenders: Sequence[Contender],
    bars: Sequence[Bar] = (),
    *,
    unit: str = "messages/s",
    rounds: int = 7,
    warm_up: bool = True,
) -> Result:
    """Alternate the contenders for so many rounds, after one that warms up."""
    rounds, first = (1, 0) if OPTIONS.quick else (rounds, int(warm_up))
    missing = {each.name: each.absent for each in contenders if each.work is None}
    units = {each.name: each.unit or unit for each in contenders}
    failed: set[str] = set()
    figures: dict[str, list[float]] = {each.name: [] for each in contenders if each.work is not None}
    for number in range(first + rounds):
        for each in contenders:
            if each.name not in missing:
                try:
                    figure = _once(each)
                except Exception as error:  # the others are measured all the same
                    missing[each.name] = f"failed: {_root(error)!r}"
                    failed.add(each.name)
                    figures.pop(each.name)
                else:
                    figures[each.name] += [figure] if number >= first else []
    return Result(
        benchmark,
        unit,
        rounds,
        {name: Figure(statistics.median(each), min(each), max(each), units[name]) for name, each in figures.items()},
        missing,
        [_judged(bar, figures) for bar in bars if _names(bar) <= figures.keys() | failed],
    )


def measure_curve(
    benchmark: str,
    x: str,
    steps: Sequence[int],
    at: Callable[[int], Sequence[Contender]],
    bars: Sequence[Bar] = (),
    *,
    unit: str = "messages/s",
    rounds: int = 5,
    warm_up: bool = True,
) -> Result:
    """As `measure`, over the steps of one number; bars name a contender at a step by `step(name, number, x)`."""
    contenders = [replace(each, name=step(each.name, number, x)) for number in steps for each in at(number)]
    result = measure(benchmark, contenders, bars, unit=unit, rounds=rounds, warm_up=warm_up)
    found = {name: figure.median for name, figure in result.figures.items()}
    lines = {
        each.name: [(float(n), found[step(each.name, n, x)]) for n in steps if step(each.name, n, x) in found]
        for each in at(steps[0])
    }
    return Result(benchmark, unit, result.rounds, result.figures, result.absent, result.bars, Curve(x, lines))


def step(name: str, number: int, x: str) -> str:
    """The name of a contender at one step of a curve."""
    return f"{name}, {number:,} {x}"


def _once(contender: Contender) -> float:
    if contender.before is not None:
        contender.before()
    assert contender.work is not None
    started = OPTIONS.clock()
    figure = contender.work()
    return contender.messages / (OPTIONS.clock() - started) if figure is None else figure


def _names(bar: Bar) -> set[str]:
    return {each for each in (bar.of, bar.against) if each}


def _judged(bar: Bar, figures: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """The median of what each round gives; a bar of which one side failed is missed."""
    if not _names(bar) <= figures.keys():
        return {**asdict(bar), "value": None, "met": False}
    values = list(figures[bar.of])
    if bar.against:
        values = [one / other for one, other in zip(values, figures[bar.against], strict=True)]
    value = statistics.median(values)
    met = (bar.least is None or value >= bar.least) and (bar.most is None or value <= bar.most)
    return {**asdict(bar), "value": float(f"{value:.4g}"), "met": met}


def _root(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
