"""Programs that a probe starts, and their certain end, also when this process is killed: a supervisor stands between.

Each program gets a supervisor of its own (`supervisor.py`), which holds the other end of a socket and kills all that the
program started when the socket closes: at the end of the block here, or at the end of this process, whatever ends it. The
program is asked to go before (its input closes, then SIGTERM to its group). Should it have killed its supervisor, what
carries a mark in its environment is found in /proc and killed from here.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Final

import anyio
from anyio.abc import Process
from anyio.to_thread import run_sync

from autocoder_components.assessments.probes.outcome import ProbeError, Trace, UnavailableError
from autocoder_components.assessments.rules.status import PROGRAM_MISSING, UNCLEAN_EXIT

MARK: Final = "AUTOCODER_PROBE"
SUPPORTED: Final = os.name == "posix"
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
_OWN_VARIABLES: Final = ("DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PATH")
"""What the supervisor may need to start. The program's variables are not among them: they could change the supervisor."""
_PROC: Final = Path("/proc")
_END: Final = 15.0
_PAUSE: Final = 0.02
_SWEEPS: Final = 100
_ESCAPED: Final = {
    True: "The server left processes behind that could not all be ended; look for them here",
    False: "What watched over the server was killed: whether it left processes behind is not known; look for them here",
}
"""What is known by whether the supervisor came to its end."""


@dataclass(slots=True)
class Started:
    """A running program. Whoever is done with it in good order says so, and then its end is judged, too.

    `process` is its supervisor, whose standard streams are those of the program. `returncode` is the program's, negative for
    a signal, None while it runs or where its supervisor was killed; `left` says that it left processes of its own behind.
    """

    process: Process
    done: bool = False
    returncode: int | None = None
    left: bool = False
    _control: socket.socket = field(kw_only=True)
    _heard: bytearray = field(default_factory=bytearray)
    _over: bool = False

    async def wait(self) -> None:
        """Until the program has ended, or nothing can be known of it any more."""
        while not self._over:
            word, *numbers = (await self._said()).split()
            if word == "X":
                self.returncode, self.left = int(numbers[0]), numbers[1] != "0"
            self._over = word in {"X", "gone"}

    async def _begin(self, argv: Sequence[str], environment: Mapping[str, str], folder: Path | None) -> None:
        """Have the program started; raises ProbeError where it cannot be, UnavailableError where its supervisor cannot."""
        wanted = {
            "argv": list(argv),
            "environment": dict(environment),
            "folder": None if folder is None else str(folder),
        }
        data = json.dumps(wanted).encode()
        await self._send(len(data).to_bytes(4, "big") + data)
        word, *numbers = (await self._said()).split()
        if word == "S":
            return
        self._over = True
        if word != "E":
            raise UnavailableError(
                "the process that is to watch over the program does not start; look into the system's log"
            )
        why = os.strerror(int(numbers[0])) if int(numbers[0]) else "it cannot be passed on"
        raise ProbeError(PROGRAM_MISSING, f"The program cannot be started: {why}")

    async def _said(self) -> str:
        """What the supervisor says next; `gone` where it is there no more."""
        while (end := self._heard.find(b"\n")) < 0:
            try:
                data = self._control.recv(4096)
            except BlockingIOError:
                await anyio.wait_readable(self._control)
                continue
            except OSError:
                data = b""
            if not data:
                return "gone"
            self._heard += data
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line.decode(errors="replace")

    async def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._control.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._control)
            except OSError:
                return

    async def _ended(self, within: float) -> bool:
        """Whether the program ends within so many seconds; its output is read away, so that it waits for no reader."""
        with anyio.move_on_after(within):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._drain)
                await self.wait()
                tasks.cancel_scope.cancel()
        return self._over

    async def _drain(self) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while self.process.stdout is not None:
                await self.process.stdout.receive()

    async def _leave(self, grace: float, trace: Trace) -> None:
        """Ask the program to go, and remark on how it does."""
        if self.process.stdin is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                await self.process.stdin.aclose()
        late = self.done and not await self._ended(grace)
        if late:
            trace.remark(UNCLEAN_EXIT, f"The server still runs {grace:g} s after its input has closed")
        if not self._over:
            await self._send(b"T")
            await self._ended(grace)
        if self.done and not late and self.left:
            trace.remark(UNCLEAN_EXIT, "The server leaves processes behind")

    async def _close(self, mark: str, trace: Trace) -> None:
        """Let the supervisor kill what is left, and do it from here where it was killed itself or cannot.

        It alone knows for certain that nothing is left; without its word no probe has come to a good end.
        """
        self._control.close()
        with anyio.move_on_after(_END):
            await self.process.wait()
        code = self.process.returncode
        if code != 0:
            with suppress(ProcessLookupError):
                self.process.kill()
            await _sweep(mark)
            trace.escape(UNCLEAN_EXIT, _ESCAPED[code == 1])
        await self.process.aclose()


@asynccontextmanager
async def started(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path | None, grace: float, trace: Trace
) -> AsyncIterator[Started]:
    """Run a program in the block, with this environment and no other variable than the mark; none of it outlives the block.

    `argv[0]` is a path. Whatever ends the block, cancellation and the death of this process too, all processes are gone when
    it is left, or the trace says that this is not certain: it takes at most two times `grace` seconds and the time that the
    kernel needs. Raises ProbeError where the program cannot be started.
    """
    mark = secrets.token_hex(16)
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        # A cancellation between the start and the block that ends it would leave the process to nobody.
        with anyio.CancelScope(shield=True), theirs:
            process = await _supervisor(theirs)
    except BaseException:
        ours.close()
        raise
    running = Started(process, _control=ours)
    begun = False
    try:
        await running._begin(argv, {**environment, MARK: mark}, folder)
        begun = True
        yield running
    finally:
        with anyio.CancelScope(shield=True):
            try:
                if begun:
                    await running._leave(grace, trace)
            finally:
                await running._close(mark, trace)


async def _supervisor(control: socket.socket) -> Process:
    try:
        return await anyio.open_process(
            [sys.executable, "-I", "-S", str(_SUPERVISOR)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=control.fileno(),
            env={name: os.environ[name] for name in _OWN_VARIABLES if name in os.environ},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "there is no Python to run it"
        raise UnavailableError(f"the process that is to watch over the program cannot be started: {why}") from None


async def _sweep(mark: str) -> None:
    """Kill all that carries the mark, and again what was being started meanwhile, until there is nothing."""
    for _ in range(_SWEEPS):
        alive = await run_sync(_marked, mark)
        for each in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        if not alive:
            return
        await anyio.sleep(_PAUSE)


def _marked(mark: str) -> list[int]:
    """The processes with the mark that still run. Where there is no /proc nothing can be seen: none."""
    found: list[int] = []
    wanted = f"{MARK}={mark}".encode()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold anything; the state follows the last one.
            if (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}:
                continue
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found
