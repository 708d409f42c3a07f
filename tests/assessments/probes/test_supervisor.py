"""Nothing that a probe started outlives it: not when the prober is killed, and not what hides from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from autocoder_components.assessments import ProbeServer
from autocoder_components.assessments.model import Outcome, Status
from autocoder_components.assessments.probes import processes

from tests.assessments.deep.test_component import inspect
from tests.assessments.probes.conftest import Write, check_of, is_running, late, noted, pids_in, probe, rules, stdio
from tests.assessments.probes.test_stdio import DEAF, LEGACY, PARENT, STAY

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

HIDE = """
import os, sys, time
from pathlib import Path
before = len(Path(sys.argv[1]).read_text().splitlines()) if Path(sys.argv[1]).exists() else 0
SLEEPER = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as pids: pids.write(f"{os.getpid()}\\\\n")
time.sleep(1000)
'''
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", SLEEPER, sys.argv[1]], {})
    os._exit(0)
os.wait()
while not Path(sys.argv[1]).exists() or len(Path(sys.argv[1]).read_text().splitlines()) == before: time.sleep(0.01)
"""
"""A daemon: its parent is gone, its session and group are its own, its environment is empty, and it ignores SIGTERM."""
FORKS = """
import os, sys, time
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork() == 0:
                time.sleep(0.1)
                os._exit(0)
            time.sleep(0.05)
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass
"""
CHAIN = """
import os, sys, time
until = time.monotonic() + 20
if os.fork() == 0:
    os.setsid()
    for stream in range(3): os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    while time.monotonic() < until:
        if os.fork(): os._exit(0)
        if APART: os.setsid()
        time.sleep(PAUSE)
    os._exit(0)
"""
"""Each process starts the next one and ends: whoever looks at them one by one sees corpses only."""
PROBER = """
import json, sys, anyio
from tests.assessments.probes.conftest import probe
anyio.run(lambda: probe(json.loads(sys.argv[1]), timeout=600, grace=60))
"""
Prober = Callable[[dict[str, object]], "subprocess.Popen[bytes]"]


@pytest.fixture
def prober() -> Iterator[Prober]:
    """Probes a server in a process of its own, which may be killed."""
    started: list[subprocess.Popen[bytes]] = []

    def starter(server: dict[str, object]) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", PROBER, json.dumps(server)]
        started.append(subprocess.Popen(words, cwd=Path(__file__).parents[3], start_new_session=True))
        return started[-1]

    yield starter
    for process in started:
        process.kill()
        process.wait()


async def gone(pids: list[int]) -> bool:
    """Whether all of them end; false where one does not within a minute."""
    with anyio.move_on_after(60):
        while any(map(is_running, pids)):
            await anyio.sleep(0.01)
    return not any(map(is_running, pids))


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "stat").read_bytes().rpartition(b")")[2].split()[1] == str(parent).encode():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_when_the_prober_is_killed_nothing_is_left(
    program: Write, tmp_path: Path, prober: Prober, how: signal.Signals
) -> None:
    pids = tmp_path / "pids"
    process = prober(stdio([*program(DEAF + PARENT + HIDE + STAY), str(pids)]))
    started = await pids_in(pids, 4)
    supervisors = children_of(process.pid)
    assert supervisors
    assert all(map(is_running, [*started, *supervisors]))
    process.send_signal(how)
    assert await gone([*started, *supervisors])


async def test_a_prober_that_hangs_and_is_killed_together_with_its_group_leaves_nothing(
    program: Write, tmp_path: Path, prober: Prober
) -> None:
    pids = tmp_path / "pids"
    process = prober(stdio([*program(DEAF + PARENT + HIDE + STAY), str(pids)]))
    started = await pids_in(pids, 4)
    process.send_signal(signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGKILL)
    assert await gone(started)


async def test_no_session_no_double_fork_and_no_empty_environment_hides_a_process(
    program: Write, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    outcome = await probe(stdio([*program(HIDE + LEGACY), str(pids)]))
    (hidden,) = await pids_in(pids, 1)
    assert not is_running(hidden)
    assert rules(outcome) == ["AC-815"]
    assert "leaves processes behind" in outcome.findings[0].message


async def test_what_forks_on_and_on_is_ended(program: Write) -> None:
    server = program(FORKS + LEGACY)
    outcome = await probe(stdio(server))
    assert rules(outcome) == ["AC-815"]
    assert not running(server[1])


@pytest.mark.parametrize(("pause", "apart"), [("0", "False"), ("0.02", "False"), ("0", "True")])
async def test_what_goes_from_process_to_process_is_seen_and_ended(program: Write, pause: str, apart: str) -> None:
    server = program(CHAIN.replace("PAUSE", pause).replace("APART", apart) + LEGACY)
    for _ in range(4):
        outcome = await probe(stdio(server))
        assert rules(outcome) == ["AC-815"]
        assert "leaves processes behind" in outcome.findings[0].message
        # One look may see none, too.
        assert not any(running(server[1]) for _ in range(10))


async def test_the_chain_ends_with_the_prober_that_is_killed(program: Write, prober: Prober) -> None:
    server = program(CHAIN.replace("PAUSE", "0").replace("APART", "False") + STAY)
    process = prober(stdio(server))
    with anyio.fail_after(60):
        while len(running(server[1])) < 2:
            await anyio.sleep(0.01)
    process.kill()
    process.wait()
    with anyio.fail_after(10):  # it would go on for 20 seconds by itself
        while any(running(server[1]) for _ in range(10)):
            await anyio.sleep(0.01)


@pytest.fixture
def lame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The supervisor kills nothing."""
    changed = tmp_path / "supervisor.py"
    source = processes._SUPERVISOR.read_text(encoding="utf-8")
    changed.write_text(source.replace("GIVE_UP: Final = 10.0", "GIVE_UP: Final = 0.2").replace("signal.SIGKILL)", "0)"))
    monkeypatch.setattr(processes, "_SUPERVISOR", changed)


@pytest.mark.usefixtures("lame")
async def test_what_cannot_be_ended_is_told(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    server = stdio([*program(HIDE + LEGACY), str(pids)])
    for outcome in (await probe(server), await inspect(server)):
        assert outcome.status is Status.FAIL
        assert rules(outcome) == ["AC-815"]
        assert "could not all be ended" in outcome.findings[0].message
    for each in await pids_in(pids, 2):
        os.kill(each, signal.SIGKILL)


@pytest.mark.usefixtures("lame")
async def test_what_cannot_be_ended_is_told_where_the_server_had_too_little_time(
    program: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    async def left_little(server: dict[str, object], *, timeout: float) -> Outcome:
        async def little(_: object) -> float:
            return timeout

        monkeypatch.setattr("autocoder_components.assessments.probes.asking.seconds_left", little)
        return await probe(server, timeout=600, grace=0.1)

    outcome, _ = await late(lambda: noted(pids) > 0, stdio([*program(HIDE + STAY), str(pids)]), ask=left_little)
    for each in await pids_in(pids, 1):
        os.kill(each, signal.SIGKILL)
    assert "all that was left of the assessment's time" in (outcome.reason or "")
    assert (outcome.status, rules(outcome)) == (Status.ERROR, ["AC-815"])


def running(word: str) -> list[str]:
    """The processes with this word in their command."""
    here = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [each.name for each in here if word.encode() in command_of(each)]


def command_of(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def test_one_that_kills_its_supervisor_leaves_nothing_all_the_same(program: Write, tmp_path: Path) -> None:
    pids, kills = tmp_path / "pids", tmp_path / "kills"
    kill = "open(sys.argv[2], 'w').close()\nos.kill(os.getppid(), signal.SIGKILL)\n"
    # Its children hold its output open, so that the end of the program alone is not seen.
    server = stdio([*program(DEAF + PARENT + kill + STAY), str(pids), str(kills)])
    outcome, _ = await late(kills.exists, server)
    assert await gone(await pids_in(pids, 3))
    assert rules(outcome) == ["AC-812", "AC-815"]
    assert "What watched over the server was killed" in outcome.findings[1].message


async def test_one_that_stops_itself_is_ended(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stop = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"
    outcome, _ = await late(lambda: noted(pids) > 0, stdio([*program(DEAF + stop + STAY), str(pids)]), grace=0.1)
    assert rules(outcome) == ["AC-812"]
    assert not any(map(is_running, await pids_in(pids, 1)))


async def test_the_supervisor_has_nothing_of_this_environment_and_nothing_of_the_programs(
    program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sk-never-passed-on")
    seen = tmp_path / "seen"
    look = f"import os\nopen({str(seen)!r}, 'wb').write(open(f'/proc/{{os.getppid()}}/environ', 'rb').read())\n"
    outcome = await probe(stdio(program(look + LEGACY), env={"OWN": "1", "LD_PRELOAD": ""}))
    assert outcome.status is Status.PASS
    names = {each.partition(b"=")[0].decode() for each in seen.read_bytes().split(b"\0") if each}
    assert names <= {"PATH", "LD_LIBRARY_PATH"}


async def test_without_a_supervisor_nothing_is_started(
    program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    server = stdio([*program(DEAF + LEGACY), str(pids)])
    component = ProbeServer(allow_exec=True)
    await component.open()
    for executable in ("", "/no/such/python", "/bin/true"):
        monkeypatch.setattr(processes.sys, "executable", executable)
        outcome = await component.process(check_of(server))
        assert outcome.status is Status.ERROR
        assert "the process that is to watch over the program" in (outcome.reason or "")
    assert not pids.exists()
