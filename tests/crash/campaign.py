"""Which cases are run, on two workers, and what all of them together came to."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.crash import processes  # first: it arms the failpoints

# isort: split
from tests.crash import assessments
from tests.crash.bugs import BUGS, plant
from tests.crash.cancellation import cancelled_at
from tests.crash.case import Life, Plan, Result, run
from tests.crash.databases import Databases
from tests.crash.planting import Bug
from tests.crash.topologies import TOPOLOGIES

T = TypeVar("T")
R = TypeVar("R")
WORKERS: Final = 2
LIVES: Final = 4
USUAL: Final = 0.5
START: Final = 0.03
"""Seconds of processor time in which no life has begun to work."""
# Works beside the run, each with the places that only it reaches.
BESIDE: Final = {
    "save": ("savepoint.saved", "savepoint.restoring", "savepoint.restored"),
    "replay": ("replay.changed",),
    "clean": ("retention.batch", "retention.checkpoint"),
}
BARE: Final = {
    "run": ("schema.create", "schema.created"),
    "migrate": ("schema.create", "schema.created", "migration.begin", "migration.done"),
}


def random_plans(backend: str, busy: dict[str, float], kills: int) -> Iterator[Plan]:
    """Cases with `LIVES` lives, each ended at a random time: early ones fall into start and recovery.

    `busy` is the processor time that each topology takes without a kill.
    """
    for seed in range(1, 1 + -(-kills // (LIVES * len(busy)))):
        for topology, whole in busy.items():
            chance = random.Random(f"{seed} {topology} {backend}")
            lives = [_killed(chance, whole) for _ in range(LIVES)]
            if seed % 3 == 2:
                lives.insert(2, Life(chance.choice(list(BESIDE))))
            yield Plan(topology, backend, "random", seed, tuple(lives), grows=_grows(topology, seed))


def _killed(chance: random.Random, whole: float) -> Life:
    return Life(seconds=chance.uniform(START, max(2 * START, whole * chance.choice((0.25, 0.5, 0.8)))))


def counted_plans(backend: str, topologies: Sequence[str]) -> Iterator[Plan]:
    """One case of each topology without a kill, to see which places it passes, and how often."""
    for topology in topologies:
        yield Plan(topology, backend, "none", 0, counted=True)


def failpoint_plans(
    backend: str, passages: dict[str, dict[str, int]], kills: int, *, seed_from: int = 1
) -> Iterator[Plan]:
    """Cases whose lives are ended at named places, in turn over all pairs of a topology and a place that it passes.

    `passages` are those of the counted cases. The passage is drawn so that several lives of a case find work left.
    """
    turns = {topology: _turn(topology, backend, reached) for topology, reached in passages.items() if reached}
    planned, seed = 0, seed_from
    while planned < kills and turns:
        for topology, turn in turns.items():
            chance = random.Random(f"{seed} {topology} {backend} failpoint")
            lives = []
            for _ in range(LIVES):
                name = next(turn)
                most = max(1, passages[topology][name] // (LIVES + 1))
                lives.append(Life(failpoint=f"{name}:{1 + int(most * chance.random() ** 2)}"))
            planned += len(lives)
            yield Plan(topology, backend, "failpoint", seed, tuple(lives), grows=_grows(topology, seed))
        seed += 1


def _turn(topology: str, backend: str, reached: dict[str, int]) -> Iterator[str]:
    """The places of a topology in a random order, again and again; those that only the end reaches are less frequent."""
    chance = random.Random(f"{topology} {backend}")
    names = sorted(reached)
    while True:
        chance.shuffle(names)
        yield from names


def takeover_plans(backend: str, busy: dict[str, float], rounds: int) -> Iterator[Plan]:
    """Owners that are stopped until another has taken over, commits whose answer is lost, and several instances at once."""
    for number in range(rounds):
        for topology, whole in busy.items():
            chance = random.Random(f"{number} {topology} {backend} takeover")
            frozen = [Life(seconds=chance.uniform(2 * START, whole / 2), frozen=True), _killed(chance, whole)]
            lost = [_killed(chance, whole), Life(lost=chance.randint(2, 5))]
            yield Plan(topology, backend, "frozen", number, tuple(frozen[:: chance.choice((1, -1))]))
            yield Plan(topology, backend, "lost", number, tuple(lost))
            crowd = Life(seconds=chance.uniform(4 * START, whole / 2), crowd=chance.randint(2, 4))
            yield Plan(topology, backend, "crowd", number, (crowd,))


def beside_plans(backend: str, busy: dict[str, float], rounds: int) -> Iterator[Plan]:
    """Savepoints, replays, retention and the making of tables, ended at each of their places between two kills of the run."""
    topologies = list(busy)
    for number in range(rounds):
        for at, (work, names) in enumerate(BESIDE.items()):
            for name in names:
                topology = topologies[(number * 5 + at) % len(topologies)]
                chance = random.Random(f"{number} {name} {backend}")
                # The first is ended where there is something to save, to give again, and to delete.
                kill = [Life(failpoint=f"commit.done:{chance.randint(10, 13)}"), _killed(chance, busy[topology])]
                # The second savepoint is there so that retention has one to delete.
                first = [Life("save")] if name == "retention.checkpoint" else []
                lives = (kill[0], *first, Life(work, failpoint=f"{name}:1"), kill[1], Life(work))
                yield Plan(topology, backend, "beside", number, lives)
        for work, names in BARE.items():
            for name in names:
                topology = topologies[number % len(topologies)]
                passage = 2 if work == "migrate" and name.startswith("migration") and number % 2 else 1
                yield Plan(topology, backend, "beside", number, (Life(work, failpoint=f"{name}:{passage}"),), bare=True)


def bug_plans(bug: Bug, backend: str, most: int) -> Iterator[Plan]:
    """Cases in which a rule is broken, over the topologies and faults where it should show."""
    for number in range(most):
        topology = bug.topologies[number % len(bug.topologies)]
        fault = bug.faults[number // len(bug.topologies) % len(bug.faults)]
        chance = random.Random(f"{number} {topology} {backend} {bug.name}")
        yield Plan(topology, backend, fault, number, _lives_of(fault, chance), bug=bug.name)


def _lives_of(fault: str, chance: random.Random) -> tuple[Life, ...]:
    if fault == "none":
        return ()
    if fault == "random":
        return tuple(_killed(chance, USUAL) for _ in range(LIVES))
    if fault == "late-early":
        return tuple(Life(failpoint=f"commit.done:{chance.randint(*span)}") for span in ((7, 10), (2, 3)) * 2)
    if fault == "frozen":
        return (Life(seconds=chance.uniform(0.06, 0.2), frozen=True),)
    if fault == "lost":
        return (Life(lost=chance.randint(2, 5)),)
    if fault in BESIDE:
        return tuple(life for _ in range(2) for life in (_killed(chance, USUAL), Life(fault)))
    return tuple(Life(failpoint=f"{fault}:{chance.randint(2, 7)}") for _ in range(LIVES))


def _grows(topology: str, seed: int) -> bool:
    return TOPOLOGIES[topology].grows and seed % 4 == 1


# -- running ----------------------------------------------------------------------------------------------------------

_context: tuple[dict[str, Databases], Path] | None = None


def run_all(plans: Iterable[Plan], databases: dict[str, Databases], folder: Path) -> Iterator[Result]:
    """Run cases on `WORKERS` processes, results as they come. Called where no thread runs, since the workers are forked."""
    yield from _spread(_run, plans, databases, folder)


def run_bugs(
    bugs: Iterable[Bug], backend: str, most: int, databases: dict[str, Databases], folder: Path
) -> Iterator[Caught]:
    """Run cases with each bug until one is violated, at most so many."""
    yield from _spread(_run_bug, ((each.name, backend, most) for each in bugs), databases, folder)


def _spread(work: Callable[[T], R], given: Iterable[T], databases: dict[str, Databases], folder: Path) -> Iterator[R]:
    global _context  # noqa: PLW0603  what workers inherit
    _context = (databases, folder)
    gc.collect()
    gc.freeze()
    with multiprocessing.get_context("fork").Pool(WORKERS, _begin) as pool:
        yield from pool.imap_unordered(work, given)
    gc.unfreeze()


def _begin() -> None:
    processes.die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert _context is not None
    for each in _context[0].values():
        each.forget()


def _run(plan: Plan) -> Result:
    assert _context is not None
    databases, folder = _context
    one = assessments.run if plan.topology in assessments.KINDS else run
    try:
        return one(plan, databases[plan.backend], folder)
    except Exception:
        return Result(plan, violations=[f"the harness failed: {traceback.format_exc()[-1500:]}"])


@dataclass(frozen=True)
class Cancelled:
    """What came of cancelling a topology at many of its awaits."""

    topology: str
    awaits: int
    tried: int
    violations: tuple[str, ...]


def run_cancellations(
    topologies: Iterable[str], stride: int, databases: dict[str, Databases], folder: Path
) -> Iterator[Cancelled]:
    """Cancel each topology at every `stride`th await, on SQLite."""
    yield from _spread(_cancel, ((each, stride) for each in topologies), databases, folder)


def _cancel(given: tuple[str, int]) -> Cancelled:
    assert _context is not None
    topology, stride = given
    template, at, tried = _context[1] / "template.db", 1, 0
    wrong: list[str] = []
    while True:
        running, found = cancelled_at(topology, 1, at, template, _context[1])
        wrong += [f"{topology} cancelled at await {at}: {each}" for each in found]
        if not running:
            return Cancelled(topology, at, tried, tuple(wrong))
        tried += 1
        at += stride


@dataclass(frozen=True)
class Caught:
    """How a seeded bug was caught: after how many cases, and by what; `by` is empty where it was not."""

    name: str
    backend: str
    cases: int
    by: str


async def _planted(name: str) -> bool:
    plant(name)
    return True


def _context_folder() -> Path:
    assert _context is not None
    return _context[1]


def _run_bug(given: tuple[str, str, int]) -> Caught:
    name, backend, most = given
    processes.ask(
        lambda: _planted(name), _context_folder() / f"{name}.log"
    )  # raises where it cannot be planted any more
    for number, plan in enumerate(bug_plans(BUGS[name], backend, most), 1):
        result = _run(plan)
        # The same case without the bug has to hold: else it is not the bug that was caught.
        if result.violations and not _run(replace(plan, bug="")).violations:
            return Caught(name, backend, number, f"{plan}: {result.violations[0]}")
    return Caught(name, backend, most, "")


# -- results ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """Some cases summed up."""

    cases: int = 0
    kills: int = 0
    violated: int = 0
    seconds: float = 0.0
    first: str = ""

    def add(self, result: Result) -> None:
        """Count a case."""
        self.cases += 1
        self.kills += result.killed.total()
        self.seconds += result.seconds
        if result.violations:
            self.violated += 1
            self.first = self.first or f"{result.plan}: {result.violations[0]}"

    @property
    def bound(self) -> float:
        """The 95 % upper bound of the probability that a case is violated, after no violation in `cases` independent ones.

        The rule of three: 1 - 0.05 ** (1 / n), nearly 3 / n (Hanley and Lippman-Hand, JAMA 249, 1983).
        """
        return 1.0 if self.violated or not self.cases else min(1.0, 3 / self.cases)


@dataclass
class Outcome:
    """All cases of a campaign."""

    tallies: dict[tuple[str, str, str], Tally] = field(default_factory=dict)
    killed: dict[str, Counter[str]] = field(default_factory=dict)
    passages: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    busy: dict[tuple[str, str], float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    bugs: list[Caught] = field(default_factory=list)
    cancelled: list[Cancelled] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Take in a case."""
        plan = result.plan
        self.tallies.setdefault((plan.backend, plan.topology, plan.fault), Tally()).add(result)
        self.killed.setdefault(plan.backend, Counter()).update(result.killed)
        if plan.counted:
            self.passages[plan.backend, plan.topology] = result.passages
            self.busy[plan.backend, plan.topology] = result.busy or USUAL
        self.violations += [f"{plan}: {each}" for each in result.violations]

    def total(self, backend: str, fault: str | None = None) -> Tally:
        """The sum over a backend, or over one kind of fault in it."""
        total = Tally()
        for (of, _, kind), each in self.tallies.items():
            if of == backend and fault in (None, kind):
                total.cases += each.cases
                total.kills += each.kills
                total.violated += each.violated
                total.seconds += each.seconds
        return total

    def as_json(self) -> dict[str, Any]:
        """All figures as JSON can hold them."""
        return {
            "topologies": [
                {"database": backend, "topology": topology, "fault": fault, "cases": each.cases, "kills": each.kills}
                | {"violated": each.violated, "first": each.first}
                for (backend, topology, fault), each in sorted(self.tallies.items())
            ],
            "totals": {
                backend: {"cases": total.cases, "kills": total.kills, "violated": total.violated, "bound": total.bound}
                for backend in self.killed
                for total in [self.total(backend)]
            },
            "killed_at": {backend: dict(sorted(counts.items())) for backend, counts in self.killed.items()},
            "passages": {f"{backend} {topology}": each for (backend, topology), each in sorted(self.passages.items())},
            "violations": self.violations,
            "cancelled": [asdict(each) for each in self.cancelled],
            "seeded_bugs": [asdict(each) for each in sorted(self.bugs, key=lambda each: (each.backend, each.name))],
            "workers": WORKERS,
            "machine": {"cores": os.cpu_count()},
        }
