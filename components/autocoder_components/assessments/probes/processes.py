"""Programs that a probe starts, and their certain end: whole process groups, and on Linux also what has left its group.

A process that is started gets a group and session of its own and a mark in its environment. At the end it is asked to go
(its input closes, then SIGTERM to the group) and made to (SIGKILL); what carries the mark is found in /proc wherever it went.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import Process
from anyio.to_thread import run_sync

from autocoder_components.assessments.probes.outcome import ProbeError, Trace
from autocoder_components.assessments.rules.status import PROGRAM_MISSING, UNCLEAN_EXIT

MARK: Final = "AUTOCODER_PROBE"
SUPPORTED: Final = os.name == "posix"
_PROC: Final = Path("/proc")
_PAUSE: Final = 0.02
_SWEEPS: Final = 100


@dataclass(slots=True)
class Started:
    """A running program. Whoever is done with it in good order says so, and then its end is judged, too."""

    process: Process
    done: bool = False


@asynccontextmanager
async def started(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path | None, grace: float, trace: Trace
) -> AsyncIterator[Started]:
    """Run a program in the block, with this environment and no other variable than the mark; none of it outlives the block.

    `argv[0]` is a path. Whatever ends the block, cancellation too, all processes are gone when it is left: it takes at most
    two times `grace` seconds and the time that the kernel needs. Raises ProbeError where the program cannot be started.
    """
    mark = secrets.token_hex(16)
    # A cancellation between the start and the block that ends it would leave the process to nobody.
    with anyio.CancelScope(shield=True):
        try:
            process = await anyio.open_process(
                list(argv),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,  # it may hold secrets, and nobody reads it
                cwd=folder,
                env={**environment, MARK: mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be passed on"
            raise ProbeError(PROGRAM_MISSING, f"The program cannot be started: {why}") from None
    running = Started(process)
    try:
        yield running
    finally:
        with anyio.CancelScope(shield=True):
            await _end(running, mark, grace, trace)


async def _end(running: Started, mark: str, grace: float, trace: Trace) -> None:
    process = running.process
    try:
        if process.stdin is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                await process.stdin.aclose()
        left = running.done and not await _ended(process, grace)
        if left:
            trace.remark(UNCLEAN_EXIT, f"The server still runs {grace:g} s after its input has closed")
        if process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            await _ended(process, grace)
        alive = await run_sync(_alive, process.pid, mark)
        if running.done and not left and alive:
            trace.remark(UNCLEAN_EXIT, "The server leaves processes behind")
    finally:
        await _sweep(process, mark)
        await process.aclose()


async def _ended(process: Process, within: float) -> bool:
    """Whether the process ends within so many seconds; its output is read away, so that it cannot wait for a reader."""
    with anyio.move_on_after(within):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_drain, process)
            await process.wait()
            tasks.cancel_scope.cancel()
    return process.returncode is not None


async def _drain(process: Process) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while process.stdout is not None:
            await process.stdout.receive()


async def _sweep(process: Process, mark: str) -> None:
    """Kill all that is left, and again what was being started meanwhile, until there is nothing."""
    for _ in range(_SWEEPS):
        _signal(process.pid, signal.SIGKILL)
        alive = await run_sync(_alive, process.pid, mark)
        for each in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        if process.returncode is not None and not alive:
            return
        await anyio.sleep(_PAUSE)


def _signal(group: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, which)


def _alive(group: int, mark: str) -> list[int]:
    """The processes of the group or with the mark that still run. Where there is no /proc nothing can be seen: none."""
    found: list[int] = []
    wanted = f"{MARK}={mark}".encode()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold anything; state, parent and group follow the last one.
            state, _, own = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:3]
            if state in {b"Z", b"X"}:
                continue
            if int(own) == group or wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found
