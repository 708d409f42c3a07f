"""The process between a probe and the program that it starts: it sees to it that nothing of the program outlives the probe.

Run as a script of its own (`python -I -S`), with a socket to the probe as its standard error and nothing of this package.
The socket is the lifeline: when its other end closes, because the probe is done or because its process was killed in
whatever way, everything that the program started is killed. On Linux this process adopts what has left its parent, so that
no new session, double fork or cleared environment hides a process from it, and the program is killed with it. Elsewhere
what has left the program's process group is not seen.

To the probe: `S` the program runs, `E errno` it could not be started (0: its words cannot be passed on), `X status left` it
has ended, so many of its processes have not. From the probe: the length and JSON of what to start, then `T` for SIGTERM.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

LINUX: Final = sys.platform == "linux"
LOOK: Final = 1.0
"""Seconds between two looks at whether the parent is still the same: should another process hold its end of the socket."""
GIVE_UP: Final = 10.0
"""Seconds after which what cannot be killed, another user's process for one, is left."""
PAUSE: Final = 0.01
_SET_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
_DEAD: Final = frozenset({b"Z", b"X"})


def main() -> int:
    """Start the program, watch over it, end it. Exit code 0 says that nothing of it is left, 1 that something may be."""
    parent = os.getppid()
    control = socket.socket(fileno=os.dup(2))
    control.setblocking(True)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 2)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    wanted = _wanted(control)
    if wanted is None:
        return 0
    _control_process(_SET_CHILD_SUBREAPER, 1)
    child, error = _start(wanted, nothing)
    # Only the program may hold its streams, or their ends would never be seen.
    for stream in (0, 1):
        os.dup2(nothing, stream)
    try:
        _say(control, "S" if error is None else f"E {error}")
        if error is None:
            _watch(control, child, parent)
    finally:
        clean = _end(child)
    return 0 if clean else 1


def _wanted(control: socket.socket) -> dict[str, Any] | None:
    """What to start; None where the probe is gone before it has said so."""
    head = _received(control, 4)
    body = None if head is None else _received(control, int.from_bytes(head, "big"))
    return None if body is None else json.loads(body)


def _received(control: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        piece = control.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data


def _start(wanted: dict[str, Any], nothing: int) -> tuple[int, int | None]:
    """The process that the program is in, and why it could not be started (None: it was)."""
    read, write = os.pipe()  # closed by a successful exec
    child = os.fork()
    if child == 0:
        _become(wanted, nothing, write)
    os.close(write)
    said = os.read(read, 16)
    os.close(read)
    return child, int(said) if said else None


def _become(wanted: dict[str, Any], nothing: int, write: int) -> NoReturn:
    """Turn this process into the program, in a session of its own."""
    try:
        os.setsid()
        _control_process(_SET_DEATH_SIGNAL, signal.SIGKILL)
        os.dup2(nothing, 2)  # what a server logs may hold secrets, and nobody reads it
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        if wanted["folder"] is not None:
            os.chdir(wanted["folder"])
        os.execve(wanted["argv"][0], wanted["argv"], wanted["environment"])  # noqa: S606  no shell is wanted
    except OSError as error:
        os.write(write, str(error.errno or 0).encode())
    except BaseException:
        os.write(write, b"0")
    os._exit(127)


def _watch(control: socket.socket, child: int, parent: int) -> None:
    """Until the probe is gone or has closed its end: say when the program ends, pass SIGTERM on, bury what was adopted."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told = False
    while os.getppid() == parent:
        status = None if told else _status(child)
        if status is not None:
            told = True
            _say(control, f"X {status} {len(_children(but=child)) if LINUX else int(_signal(child, 0))}")
        ready, _, _ = select.select([control.fileno(), woken], [], [], LOOK)
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
        if control.fileno() in ready:
            asked = _heard(control)
            if not asked:
                return
            _signal(child, signal.SIGTERM)


def _heard(control: socket.socket) -> bytes:
    try:
        return control.recv(16)
    except OSError:
        return b""


def _status(child: int) -> int | None:
    """The exit code of the program (a signal is negative), None while it runs.

    Its corpse stays, where the system allows to look at one: so long its number, which is its group's, is nobody else's.
    """
    if not hasattr(os, "waitid"):
        with suppress(ChildProcessError):
            pid, status = os.waitpid(child, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if pid else None
        return None
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if ended.si_pid == child:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        os.waitpid(ended.si_pid, os.WNOHANG)
    return None


def _end(child: int) -> bool:
    """Kill all that is left, and what was being started meanwhile, until there is nothing; whether there is nothing.

    Besides the group only children are killed each time: what loses its parent becomes one, and the number of a process that
    only this one may bury, and does not, cannot have gone to another.
    """
    until = time.monotonic() + GIVE_UP
    while time.monotonic() < until:
        alive = _signal(child, signal.SIGKILL)
        if not LINUX:
            if not alive:
                return True
            time.sleep(PAUSE)
            continue
        found = _children(but=None)
        if not found:
            return True
        for each in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        time.sleep(PAUSE)
    return False


def _children(*, but: int | None) -> list[int]:
    """The children of this process that still run, one left out."""
    own = str(os.getpid()).encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == but:
            continue
        try:
            # The name in parentheses may hold anything; the state and the parent follow the last one.
            state, of = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if of == own and state not in _DEAD:
            found.append(int(entry.name))
    return found


def _signal(group: int, which: int) -> bool:
    """Send it to the group; whether there is one. Nobody but this process has buried its leader, so it is no other's."""
    try:
        os.killpg(group, which)
    except ProcessLookupError:
        return False
    except PermissionError:
        return sys.platform == "linux"  # on macOS a group of corpses answers so
    return True


def _control_process(option: int, value: int) -> None:
    """prctl(2), where there is one."""
    if LINUX:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(control: socket.socket, text: str) -> None:
    with suppress(OSError):
        control.sendall(f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
