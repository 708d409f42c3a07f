"""The lifecycle of assessments under kills: some hundred are asked for while two workers on one database work on them.

`service`: two instances of the shipped pipeline, of which one waits for the other's place. `workers`: two processes that
work through the store, as a service of one's own would, with the sweep that gives orphans their next attempt.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from tests.crash import processes  # first: it arms the failpoints

# isort: split
from autocoder.runtime.careful import DEATHS
from autocoder.store import failpoints
from tests.crash.assessments_bugs import BUGS, plant
from tests.crash.assessments_lives import ask, serve, work
from tests.crash.assessments_oracle import judge
from tests.crash.case import Life, Plan, Result, tail_of
from tests.crash.databases import Databases

KINDS: Final = ("service", "workers")
ALL: Final = 200
"""So many are asked for in a case of several lives."""
PORTION: Final = 40
"""So many in each life of a short one."""
# Two instances die in each life, so the service soon makes one call at a time; who then kills it from outside in the same call
# three times convicts a sound one. The first two deaths are before that.
LIVES: Final = {"workers": 4, "service": DEATHS - 1}
PATIENCE: Final = 600.0
"""One call at a time, as after several deaths, takes ten seconds of processor time, of which others may leave little."""
LINGER: Final = 0.02
SLOWEST: Final = 20.0
ASKER: Final = "ask"
WORKER: Final = "work"
WORKERS: Final = (f"{WORKER}0", f"{WORKER}1")
# What only those come by who find something that was orphaned.
LATER: Final[Mapping[str, tuple[str, ...]]] = {"workers": ("work rescue.changed", "work sweep.given_up")}
SELDOM: Final = 2
"""So many times a place is passed which surely is passed again; the others come last in their turn."""
_numbers = count()


def counted_plans(backend: str, kinds: Sequence[str] = KINDS) -> Iterator[Plan]:
    """One case of each kind without a kill, to see which places it passes, and how often."""
    for kind in kinds:
        yield Plan(kind, backend, "none", 0, counted=True)


def plans(
    backend: str, passages: Mapping[str, Mapping[str, int]], busy: Mapping[str, float], kills: int
) -> Iterator[Plan]:
    """Cases for so many kills: at every named place in turn, at random times, and with workers that are frozen for a while.

    `passages` are those of the counted cases, by kind and then `process place`; `busy` the processor time of one worker.
    """
    places = {
        kind: _turn(kind, backend, {**dict.fromkeys(LATER.get(kind, ()), 0), **names})
        for kind, names in passages.items()
    }
    planned = 0
    for seed in count(1):
        for kind, turn in places.items():
            chance = random.Random(f"{seed} {kind} {backend}")
            fault = ("failpoint", "failpoint", "random", "frozen" if kind == "workers" else "random")[seed % 4]
            most = max(1, min(LIVES[kind], kills // len(places)))
            lives = [_life(fault, chance, next(turn), passages[kind], busy[kind]) for _ in range(most)]
            planned += most
            yield Plan(kind, backend, fault, seed, tuple(lives))
            if planned >= kills:
                return


def bug_plans(backend: str) -> Iterator[Plan]:
    """One case for each rule that is broken, in which it has to show."""
    for name, bug in BUGS.items():
        yield Plan(bug.kind, backend, "bug", 1, (bug.life,), bug=name)


def _turn(kind: str, backend: str, passed: Mapping[str, int]) -> Iterator[str]:
    """The places in an order of chance that no other place changes: some are passed on a slow machine alone (`lease.renew`)."""

    def order(place: str) -> tuple[bool, float]:
        return passed[place] < SELDOM, random.Random(f"{kind} {backend} {place}").random()

    return cycle(sorted(passed, key=order))


def _life(fault: str, chance: random.Random, place: str, passages: Mapping[str, int], busy: float) -> Life:
    who, _, name = place.partition(" ")
    if fault == "failpoint":
        most = max(1, passages.get(place, 1) // 2)
        return Life(who, failpoint=f"{name}:{1 + int(most * chance.random() ** 2)}")
    seconds = chance.uniform(0.05, busy)
    return Life(
        WORKER if fault == "frozen" else chance.choice((WORKER, WORKER, ASKER)), seconds, frozen=fault == "frozen"
    )


def run(plan: Plan, databases: Databases, folder: Path) -> Result:
    """Run a case on a database of its own."""
    with databases.fresh() as url:
        return _Case(plan, url, folder).run()


class _Case:
    def __init__(self, plan: Plan, url: str, folder: Path) -> None:
        self._plan, self._url = plan, url
        self._name = f"{plan.topology}_{plan.seed}_{os.getpid()}_{next(_numbers)}"
        self._log = folder / f"{self._name}.log"
        self._reports = folder / self._name
        self._chance = random.Random(plan.seed)
        self._result = Result(plan)

    def run(self) -> Result:
        started, result = time.monotonic(), self._result
        lives = len(self._plan.lives) + 1
        portion = -(-ALL // lives) if lives > 2 else PORTION
        asked = portion * lives
        try:
            for number, life in enumerate(self._plan.lives):
                self._live(life, portion * (number + 1))
            # First whoever asks: the service ends when its inbox is empty.
            self._live(Life(ASKER), asked, [ASKER])
            self._live(Life(), asked, WORKERS)
            result.violations += processes.ask(lambda: judge(self._url, self._plan.topology, asked), self._log)
        except processes.Broken as error:
            result.violations.append(str(error))
        if not result.violations:
            self._log.unlink(missing_ok=True)
        result.seconds = time.monotonic() - started
        return result

    def _live(self, life: Life, upto: int, names: Sequence[str] = (ASKER, *WORKERS)) -> None:
        """One process asks, two work; what the life says happens to one of them or to both workers, the others go on."""
        running = {self._start(name, self._doing(name, upto), life): name for name in names}
        try:
            self._disturb(running, life)
            self._end(running, life)
        finally:
            for pid in running:
                processes.kill(pid)
        if self._plan.counted:
            self._count(names)

    def _doing(self, name: str, upto: int) -> Callable[[], Awaitable[Any]]:
        kind, url = self._plan.topology, self._url
        if name == ASKER:
            return partial(ask, url, kind, upto)
        return partial(serve, url, self._reports) if kind == "service" else partial(work, url, name)

    def _disturb(self, running: dict[int, str], life: Life) -> None:
        """Kill or freeze after some processor time; what a named place ends needs nobody."""
        if life.seconds is None:
            return
        for pid in [each for each, name in running.items() if name.startswith(life.work)]:
            status = processes.wait_busy(pid, life.seconds, self._chance.uniform(0, LINGER), longest=SLOWEST)
            if status is not None:
                self._ended(pid, running, status, life)
            elif life.frozen:
                os.kill(pid, signal.SIGSTOP)
                # Behind its deadline: another sweeps, and works on what this one has.
                time.sleep(self._chance.uniform(0.5, 2.0))
                os.kill(pid, signal.SIGCONT)
                self._result.killed["frozen"] += 1
                return
            else:
                processes.kill(pid)
                del running[pid]
                self._result.killed[life.work] += 1

    def _end(self, running: dict[int, str], life: Life) -> None:
        until = time.monotonic() + PATIENCE
        while running:
            for pid in list(running):
                status = processes.wait(pid, 0.01)
                if status is not None:
                    self._ended(pid, running, status, life)
                elif time.monotonic() > until:
                    raise processes.Broken(f"{running[pid]} hangs ({life}): {tail_of(self._log)}")

    def _ended(self, pid: int, running: dict[int, str], status: int, life: Life) -> None:
        name = running.pop(pid)
        if os.WIFSIGNALED(status):
            self._result.killed[f"{life.work} {life.failpoint.partition(':')[0]}"] += 1
        elif status and not (self._plan.topology == "service" and "LeaseLost" in self._log.read_text()):
            # On a machine that stood still for longer than its lease, an instance finds another in its place, and stops.
            raise processes.Broken(f"{name} ends with {status >> 8} ({life}): {tail_of(self._log)}")

    def _start(self, name: str, doing: Callable[[], Awaitable[Any]], life: Life) -> int:
        armed = life.failpoint if name.startswith(life.work) else ""

        def ready() -> None:
            random.seed(f"{self._plan.seed} {name}")
            plant(self._plan.bug)
            failpoints.arm(armed)

        async def working() -> None:
            await doing()
            if self._plan.counted:
                found = [failpoints.passages(), time.process_time()]
                self._log.with_suffix(f".{name}").write_text(json.dumps(found))

        return processes.fork(working, self._log, ready)

    def _count(self, names: Sequence[str]) -> None:
        """What each process came by; of the workers the one that did more."""
        for file in [each for each in (self._log.with_suffix(f".{name}") for name in names) if each.exists()]:
            name = file.suffix[1:]
            passed, seconds = json.loads(file.read_text())
            file.unlink()
            who = WORKER if name.startswith(WORKER) else name
            for place, times in passed.items():
                key = f"{who} {place}"
                self._result.passages[key] = max(times, self._result.passages.get(key, 0))
            if who == WORKER:
                self._result.busy = max(seconds, self._result.busy)
