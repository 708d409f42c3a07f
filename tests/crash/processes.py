"""Processes made by forking this one, which has imported everything and has neither threads nor an event loop: cheap enough
for thousands of lives. Must be imported before the framework, so that the failpoints are compiled in.
"""

from __future__ import annotations

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

if failpoints.reached.__name__ == "_pass":
    raise ImportError("the framework was imported without failpoints: import tests.crash.processes first")


def fork(work: Callable[[], Awaitable[Any]], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run an async function in a forked process; its output goes to `log`. Returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(target, 1)
        os.dup2(target, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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
    until = time.monotonic() + seconds
    pause = 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(0.01, pause * 1.5)


def kill(pid: int) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ask(work: Callable[[], Awaitable[Any]], log: Path) -> Any:
    """What an async function returns (JSON) in a forked process; raises RuntimeError where it fails."""
    answer = log.with_suffix(".answer")

    async def answering() -> None:
        answer.write_text(json.dumps(await work()))

    status = wait(pid := fork(answering, log), 60)
    if status is None:
        kill(pid)
    if status != 0:
        raise RuntimeError(f"the oracle failed: {log.read_text()[-2000:]}")
    found = json.loads(answer.read_text())
    answer.unlink()
    return found
