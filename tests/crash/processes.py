"""Processes made by forking this one, which has imported everything and has neither threads nor an event loop: cheap enough
for thousands of lives. Must be imported before the framework, so that the failpoints are compiled in.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("AUTOCODER_FAILPOINTS", "none:1")

import anyio

from autocoder.store import failpoints

del os.environ["AUTOCODER_FAILPOINTS"]  # it is not for other programs that a process with this module starts


def check() -> None:
    """Raise ImportError where the framework was imported before this module, so that its failpoints do nothing."""
    if failpoints.reached.__name__ == "_pass":
        raise ImportError("the framework was imported without failpoints: import tests.crash.processes first")


class Broken(Exception):  # noqa: N818  it names what happened
    """A process did what none may do: it hung, or ended with an error."""


PATIENCE = 300.0
"""Seconds after which a process is taken to hang: others may have the machine at the same time."""
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG
_SCHEDULED = 2  # CPUCLOCK_SCHED


def die_with_parent() -> None:
    """Let the kernel end this process with the one that started it, however that ends."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)


def fork(work: Callable[[], Awaitable[Any]], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run an async function in a forked process; its output goes to `log`. Returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(target, 1)
        os.dup2(target, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        prepare()
        anyio.run(work)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The wait status of a process, or None where it still runs after so many seconds."""
    return _wait(pid, time.monotonic, time.monotonic() + seconds)


def wait_busy(pid: int, seconds: float, linger: float, *, longest: float = 5.0) -> int | None:
    """As `wait`, but until the process has used so many seconds of processor time, and `linger` seconds by the clock more.

    How far it has come then does not depend on what else the machine does; the rest lets a kill fall where it waits, too.
    By the clock at most `longest`.
    """
    limit = time.monotonic() + longest
    status = _wait(pid, lambda: seconds if time.monotonic() > limit else busy(pid), seconds)
    return wait(pid, linger) if status is None else status


def busy(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    return time.clock_gettime((~pid << 3) | _SCHEDULED)  # clock_getcpuclockid(3) of Linux


def _wait(pid: int, clock: Callable[[], float], until: float) -> int | None:
    pause = 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if clock() >= until:
            return None
        time.sleep(pause)
        pause = min(0.004, pause * 1.5)


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ask(work: Callable[[], Awaitable[Any]], log: Path) -> Any:
    """What an async function returns (JSON) in a forked process; raises Broken where it fails."""
    answer = log.with_suffix(".answer")

    async def answering() -> None:
        answer.write_text(json.dumps(await work()))

    status = wait(pid := fork(answering, log), PATIENCE)
    if status is None:
        kill(pid)
    if status != 0:
        raise Broken(f"the oracle failed: {log.read_text()[-2000:]}")
    found = json.loads(answer.read_text())
    answer.unlink()
    return found
