"""One case: a topology on an empty database, some lives that are cut short, one that is not, and the judgement."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.crash import processes  # first: it arms the failpoints

# isort: split
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from autocoder.database import open_database
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError
from autocoder.store import failpoints, migrate
from autocoder.store.dead_letters import DeadLetters, Selection
from autocoder.store.retention import Retention, clean_up
from autocoder.store.savepoints import Savepoints
from autocoder.store.tables import regions
from tests.crash import bugs
from tests.crash.components import side_file
from tests.crash.databases import Databases, make_tables
from tests.crash.oracle import UNCOUNTED, judge, marks
from tests.crash.planting import lose_answers
from tests.crash.topologies import TOPOLOGIES

MESSAGES: Final = 100
MORE: Final = 9
BUG_PATIENCE: Final = 20.0
LINGER: Final = 0.006
_numbers = count()


@dataclass(frozen=True)
class Life:
    """One process: what it does, and what ends it: nothing, a failpoint (`name:passage`), or a kill.

    The kill comes after so many `seconds` of processor time (so it does not matter how fast the machine is) and up to a few
    milliseconds more. With `frozen` the process is not killed then but stopped until its lease has expired, another has taken
    over, and it goes on. With `crowd` so many start at once, and all but one are killed, each when it has come so far. With
    `lost` every so many commits are told to have failed although they succeeded.
    """

    work: str = "run"
    seconds: float | None = None
    failpoint: str = ""
    frozen: bool = False
    lost: int = 0
    crowd: int = 0

    def __str__(self) -> str:
        said = f"@{self.failpoint}" if self.failpoint else "" if self.seconds is None else f"@{self.seconds:.3f}s"
        said += " frozen" if self.frozen else ""
        said += f" lost/{self.lost}" if self.lost else ""
        said += f" of {self.crowd}" if self.crowd else ""
        return self.work + said


@dataclass(frozen=True)
class Plan:
    """What is done to a case. After its lives one more run, which nothing ends, has to finish everything.

    `bare` starts without any table; `grows` lets the input grow after that and runs once more; `bug` breaks a rule.
    """

    topology: str
    backend: str
    fault: str
    seed: int
    lives: tuple[Life, ...] = ()
    bare: bool = False
    grows: bool = False
    bug: str = ""
    counted: bool = False

    def __str__(self) -> str:
        lives = " ".join(map(str, self.lives))
        return f"{self.topology} on {self.backend}, seed {self.seed}: {lives or 'no kill'}"


@dataclass
class Result:
    """What came of it. `killed` counts kills by failpoint (empty: at a random time), `passages` those of a counted run,
    `busy` its processor time in seconds."""

    plan: Plan
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    passages: dict[str, int] = field(default_factory=dict)
    busy: float = 0.0
    violations: list[str] = field(default_factory=list)


def run(plan: Plan, databases: Databases, folder: Path) -> Result:
    """Run a case on a database of its own."""
    with databases.fresh(tables=not plan.bare) as url:
        return _Case(plan, url, folder).run()


class _Case:
    def __init__(self, plan: Plan, url: str, folder: Path) -> None:
        self._plan = plan
        self._url = url
        self._topology = TOPOLOGIES[plan.topology]
        self._name = f"{plan.topology}_{plan.seed}_{os.getpid()}_{next(_numbers)}"
        self._log = folder / f"{self._name}.log"
        self._result = Result(plan)
        self._patience = BUG_PATIENCE if plan.bug else processes.PATIENCE
        self._chance = random.Random(plan.seed)
        self._before: dict[str, list[int]] = {}

    def run(self) -> Result:
        started = time.monotonic()
        plan, result = self._plan, self._result
        try:
            for number, life in enumerate(plan.lives):
                self._live(number, life)
                if not plan.bare and (plan.bug or number % 3 == 2):
                    self._look_at_marks()
            for upto in (MESSAGES, MESSAGES + MORE) if plan.grows else (MESSAGES,):
                if not result.violations:
                    self._finish(upto)
        except processes.Broken as error:
            result.violations.append(str(error))
        side_file(self._name).unlink(missing_ok=True)
        if not result.violations:
            self._log.unlink(missing_ok=True)
        result.seconds = time.monotonic() - started
        return result

    def _live(self, number: int, life: Life) -> None:
        pid = self._start(number, life, MESSAGES)
        if life.crowd:
            self._crowd(pid, number, life)
            return
        if life.frozen:
            self._freeze(pid, number, life)
            return
        if life.seconds is None:
            status = processes.wait(pid, self._patience)
        else:
            status = processes.wait_busy(pid, life.seconds, self._chance.uniform(0, LINGER))
        if status is None:
            processes.kill(pid)
            if life.seconds is None:
                raise processes.Broken(f"a life hangs ({life}): {tail_of(self._log)}")
            self._result.killed[""] += 1
        elif os.WIFSIGNALED(status):
            self._result.killed[life.failpoint.partition(":")[0]] += 1
        elif status:
            raise processes.Broken(f"a life ({life}) ends with {status >> 8}: {tail_of(self._log)}")

    def _freeze(self, pid: int, number: int, life: Life) -> None:
        """Stop a process until another has taken over; when it goes on, one of the two ends, and the other finishes.

        It need not be the one that was frozen: stopped between lock and lease, it holds the lock and takes over again.
        """
        if processes.wait_busy(pid, life.seconds or 0.0, self._chance.uniform(0, LINGER)) is not None:
            return  # it was faster
        os.kill(pid, signal.SIGSTOP)
        while processes.ask(self._expire, self._log) is False:  # it holds the row (or the file) in a transaction
            os.kill(pid, signal.SIGCONT)
            if processes.wait(pid, self._chance.uniform(0, LINGER)) is not None:
                return
            os.kill(pid, signal.SIGSTOP)
        self._result.killed["frozen"] += 1
        successor = self._start(number + 50, Life(), MESSAGES)
        ended = processes.wait_busy(successor, self._chance.uniform(0.05, 0.3), 0)
        os.kill(pid, signal.SIGCONT)
        beaten = 0
        for each, what in ((pid, "one that was frozen"), (successor, "its successor")):
            status = ended if each == successor and ended is not None else processes.wait(each, self._patience)
            if status is None:
                processes.kill(each)
                raise processes.Broken(f"{what} hangs: {tail_of(self._log)}")
            beaten += bool(status)
            if status and (beaten > 1 or "LeaseLost" not in self._log.read_text()):
                raise processes.Broken(f"{what} ends with {status >> 8}: {tail_of(self._log)}")

    def _crowd(self, first: int, number: int, life: Life) -> None:
        """Several instances at once: whoever owns the pipeline and has come far enough is killed, and another takes over."""
        running = [first, *(self._start(number + 10 * more, Life(), MESSAGES) for more in range(1, life.crowd))]
        until = time.monotonic() + self._patience
        while running and time.monotonic() < until:
            for pid in list(running):
                enough = (life.seconds or 0.0) if len(running) > 1 else self._patience
                status = processes.wait_busy(pid, enough, 0, longest=0.01)
                if status is None and processes.busy(pid) >= enough:
                    processes.kill(pid)
                    self._result.killed["crowd"] += 1
                    running.remove(pid)
                elif status is not None:
                    running.remove(pid)
                    if status:
                        raise processes.Broken(f"one of {life.crowd} ends with {status >> 8}: {tail_of(self._log)}")
        for pid in running:
            processes.kill(pid)
        if running:
            raise processes.Broken(f"{len(running)} of {life.crowd} instances hang: {tail_of(self._log)}")

    async def _expire(self) -> bool:
        """Let the lease of the pipeline expire; False where somebody holds it locked."""
        options = DatabaseOptions(self._url, busy_timeout=0.2, lock_timeout=0.2, retry_attempts=1)
        past = datetime(2000, 1, 1, tzinfo=UTC)
        try:
            async with open_database(options) as database, database.transaction() as connection:
                mine = regions.c.pipeline == self._name
                await connection.execute(sa.update(regions).where(mine).values(expires_at=past))
        except (DBAPIError, UnreachableError):
            return False
        return True

    def _finish(self, upto: int) -> None:
        pid = self._start(99, Life(), upto)
        status = processes.wait(pid, self._patience)
        if status is None:
            processes.kill(pid)
            raise processes.Broken(f"the last life hangs: {tail_of(self._log)}")
        if status:
            raise processes.Broken(f"the last life ends with {status >> 8}: {tail_of(self._log)}")
        expected = self._topology.fold(self._plan.seed, upto)
        expected.cleaned = any("clean" in life.work for life in self._plan.lives)
        self._result.violations += processes.ask(lambda: judge(self._url, self._name, expected), self._log)
        counts = self._log.with_suffix(".counts")
        if counts.exists():
            self._result.passages, self._result.busy = json.loads(counts.read_text())
            counts.unlink()

    def _look_at_marks(self) -> None:
        after = processes.ask(lambda: marks(self._url, self._name), self._log)
        for key in after:
            if key.startswith(UNCOUNTED):
                raise processes.Broken(key)
        for key, before in self._before.items():
            if key in after and after[key] < before:
                raise processes.Broken(f"I10 {key} went from {before} to {after[key]}")
        self._before = after

    def _start(self, number: int, life: Life, upto: int) -> int:
        plan = self._plan

        def ready() -> None:
            random.seed(plan.seed * 100 + number)
            bugs.plant(plan.bug)
            if life.lost:
                lose_answers(life.lost)
            failpoints.arm(life.failpoint)

        async def work() -> None:
            if plan.bare and life.work == "run":
                await make_tables(self._url)
            await WORKS[life.work](self, number, upto)
            if plan.counted:
                found = [failpoints.passages(), time.process_time()]
                self._log.with_suffix(".counts").write_text(json.dumps(found))

        return processes.fork(work, self._log, ready)

    # -- what a life may do ---------------------------------------------------------------------------------------

    async def run_pipeline(self, _: int, upto: int) -> None:
        """Run the pipeline to the end of its input."""
        pipeline = self._topology.build(self._name, self._plan.seed, upto)
        await pipeline.run_async(database=self._url, wait=True)

    async def save_and_restore(self, number: int, _: int) -> None:
        """Take a savepoint and restore it at once, which changes nothing."""
        if not await marks(self._url, self._name):
            return  # killed before it owned the pipeline: there is nothing to save
        async with self._opened() as database:
            savepoints = Savepoints(database, self._name)
            await savepoints.save(f"s{number}", expires=timedelta(0))
            await savepoints.restore(f"s{number}")

    async def replay(self, _: int, __: int) -> None:
        """Give all dead letters back, to fail as they did."""
        async with self._opened() as database:
            letters = DeadLetters(database)
            async for page in letters.matching(Selection(self._name)):
                await letters.replay([each for each in page if each.data is not None])

    async def clean(self, _: int, __: int) -> None:
        """Delete all that retention may ever delete."""
        async with self._opened() as database:
            await clean_up(database, Retention(metrics=0.0, messages=0.0, checkpoints=0))

    async def down_and_up(self, _: int, __: int) -> None:
        """Take an empty database down to nothing and up again, step by step."""
        async with self._opened() as database:
            await migrate.upgrade(database)
            await migrate.downgrade(database, "base")
            await migrate.upgrade(database, "0001")

    def _opened(self) -> Any:
        return open_database(self._url)


WORKS: Final[dict[str, Callable[[_Case, int, int], Awaitable[None]]]] = {
    "run": _Case.run_pipeline,
    "save": _Case.save_and_restore,
    "replay": _Case.replay,
    "clean": _Case.clean,
    "migrate": _Case.down_and_up,
}


def tail_of(log: Path) -> str:
    """The last lines of what a process said."""
    return "\n".join(log.read_text().splitlines()[-30:]) if log.exists() else ""
