"""One case: a topology on an empty database, some lives that are cut short, one that is not, and the judgement."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from autocoder.database import open_database
from autocoder.store import failpoints
from autocoder.store.schema import prepare
from tests.crash import processes  # first: it arms the failpoints
from tests.crash.components import metadata
from tests.crash.oracle import judge, marks
from tests.crash.topologies import TOPOLOGIES

MESSAGES = 150
PATIENCE = 30.0
LONGEST_LIFE = {"sqlite": 0.35, "postgresql": 0.45}
_numbers = count()


@dataclass
class Plan:
    """What is done to a case. Each life but the last ends by a kill: after some seconds, or at a failpoint (`name:count`)."""

    topology: str
    backend: str
    fault: str
    seed: int
    lives: list[float | str] = field(default_factory=list)

    def shown(self) -> str:
        lives = ",".join(each if isinstance(each, str) else f"{each:.3f}" for each in self.lives)
        return f"--topology {self.topology} --database {self.backend} --fault {self.fault} --seed {self.seed} [{lives}]"


@dataclass
class Result:
    """What came of it."""

    plan: Plan
    kills: int
    violations: list[str]
    seconds: float


async def make_tables(url: str) -> None:
    """An empty database with every table."""
    async with open_database(url) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await connection.run_sync(metadata.create_all)


def run(plan: Plan, url: str, folder: Path) -> Result:
    """Run a case on a database that has its tables."""
    name = f"{plan.topology}_{plan.seed}_{os.getpid()}_{next(_numbers)}"
    log = folder / f"{name}.log"
    topology = TOPOLOGIES[plan.topology]
    started, kills = time.monotonic(), 0
    wrong: list[str] = []
    before: dict[str, list[int]] = {}
    for number, life in enumerate(plan.lives):
        pid = _start(plan, url, name, log, MESSAGES, number, life if isinstance(life, str) else "")
        status = processes.wait(pid, PATIENCE if isinstance(life, str) else life)
        if status is None:
            processes.kill(pid)
            kills += 1
            if isinstance(life, str):
                wrong.append(f"a life hangs: {_tail(log)}")
                break
        elif os.WIFSIGNALED(status):
            kills += 1
        elif status:
            wrong.append(f"a life ends with {status >> 8}: {_tail(log)}")
            break
        if number % 3 == 2:
            after = processes.ask(lambda: marks(url, name), log)
            wrong += [
                f"I10 {key} went from {before[key]} to {after[key]}" for key in before if after[key] < before[key]
            ]
            before = after
    grown = MESSAGES + 9 if topology.grows else MESSAGES
    for upto in (MESSAGES, grown) if plan.seed % 2 else (MESSAGES,):
        if wrong:
            break
        wrong += _finish(plan, url, name, log, upto)
    if not wrong:
        log.unlink(missing_ok=True)
    return Result(plan, kills, wrong, time.monotonic() - started)


def _finish(plan: Plan, url: str, name: str, log: Path, upto: int) -> list[str]:
    pid = _start(plan, url, name, log, upto, 99, "")
    status = processes.wait(pid, PATIENCE)
    if status is None:
        processes.kill(pid)
        return [f"the last life hangs: {_tail(log)}"]
    if status:
        return [f"the last life ends with {status}: {_tail(log)}"]
    expected = TOPOLOGIES[plan.topology].fold(plan.seed, upto)
    return list(processes.ask(lambda: judge(url, name, expected), log))


def _start(plan: Plan, url: str, name: str, log: Path, upto: int, life: int, failpoint: str) -> int:
    topology = TOPOLOGIES[plan.topology]

    def ready() -> None:
        random.seed(plan.seed * 100 + life)
        failpoints.arm(failpoint)

    async def work() -> None:
        await topology.build(name, plan.seed, upto).run_async(database=url, wait=True)

    return processes.fork(work, log, ready)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-25:]) if log.exists() else ""


def in_new_file(folder: Path, template: Path, work: Callable[[str], Result]) -> Result:
    """Run on an SQLite file of its own, a copy of an empty one."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        file = Path(own) / "case.db"
        file.write_bytes(template.read_bytes())
        return work(f"sqlite:///{file}")
