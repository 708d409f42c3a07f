"""The process between a probe and the program that it starts: it sees to it that nothing of the program outlives the probe.

Run as a script of its own (`python -I -S`), with a socket to the probe as its standard error and nothing of this package.
The socket is the lifeline: when its other end closes, because the probe is done or because its process was killed in
whatever way, everything that the program started is killed. On Linux this process adopts what has left its parent, so that
no new session, double fork or cleared environment hides a process from it, and the program is killed with it. Elsewhere
what has left the program's process group is not seen.

What adopts knows for certain that nothing is left: it has no child, and the kernel says so. No look into /proc does, for a
chain of processes, each of which starts the next and ends, goes on between two looks.

To the probe: `S` the program runs, `E errno` it could not be started (0: its words cannot be passed on), `X status left` it
has ended, and whether (1) others of its processes have not. From the probe: the length and JSON of what to start, then `T`
for SIGTERM.
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
AT_ONCE: Final = 10_000
"""Corpses that are buried before anything else is looked at again."""
_SET_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
_ALL_KINDS: Final = 0x40000000  # __WALL: also children whose end sends another signal than SIGCHLD


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
        status, left = _ended(child)
        if status is not None and not told:
            told = True
            _say(control, f"X {status} {int(left)}")
        ready, _, _ = select.select([control.fileno(), woken], [], [], LOOK)
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
        if control.fileno() in ready:
            asked = _heard(control)
            if not asked:
                return
            if not told:  # its number may be another's since
                _signal(child, signal.SIGTERM)


def _heard(control: socket.socket) -> bytes:
    try:
        return control.recv(16)
    except OSError:
        return b""


def _ended(child: int) -> tuple[int | None, bool]:
    """The exit code of the program (a signal is negative; None while it runs), and whether others of its processes run."""
    if LINUX:
        ended, left = _bury()
        return ended.get(child), left
    if hasattr(os, "waitid"):  # its corpse stays: so long its number, which is its group's, is nobody else's
        with suppress(ChildProcessError):
            seen = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None:
                status = seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
                return status, _signal(child, 0)
        return None, True
    with suppress(ChildProcessError):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), _signal(child, 0)
    return None, True


def _bury() -> tuple[dict[int, int], bool]:
    """Bury the children that have ended: their exit codes, and whether there are others.

    That there are none is certain: whatever a child leaves behind is a child of this process before its corpse can be buried.
    """
    ended: dict[int, int] = {}
    for _ in range(AT_ONCE):
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | _ALL_KINDS)
        except ChildProcessError:
            return ended, False
        if not pid:
            break
        ended[pid] = os.waitstatus_to_exitcode(status)
    return ended, True


def _end(child: int) -> bool:
    """Kill all that is left, and what was being started meanwhile, until there is nothing; whether there is nothing."""
    until = time.monotonic() + GIVE_UP
    before: list[int] | None = None
    while time.monotonic() < until:
        if not (_bury()[1] if LINUX else _signal(child, signal.SIGKILL)):
            return True
        found = _children() if LINUX else []
        for each in reversed(found):  # the youngest is the one that may just be starting another
            _kill(each)
        if found == before:  # else the race is on with what starts others, and each pause would lose it
            time.sleep(PAUSE)
        before = found
    return False


def _kill(child: int) -> None:
    """Kill a child with its group.

    The kernel kills a whole group at once: what starts others as fast as it can does not get away in between. The number of a
    child that only this process may bury, and has not, is nobody else's; nor is that of its group, for the program began a
    session of its own and no stranger can enter that or those that come of it.
    """
    with suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(child)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)


def _children() -> list[int]:
    """The children of this process, as far as they can be seen; the youngest is the last where the kernel lists them."""
    own = str(os.getpid())
    try:
        if Path("/proc/self").readlink() != Path(own):
            return []  # the numbers in there are those of another namespace
        return [int(each) for each in Path(f"/proc/self/task/{own}/children").read_bytes().split()]
    except OSError:  # a kernel without such a list
        return sorted(_scanned(own.encode()))


def _scanned(parent: bytes) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold anything; the state and the parent follow the last one.
            if (entry / "stat").read_bytes().rpartition(b")")[2].split()[1] == parent:
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
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
