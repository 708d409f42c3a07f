"""SIGTERM ends a run in peace from its first moment on: while it is loaded, and while it waits for its database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from autocoder.database import open_database
from autocoder.store.ownership import owning
from autocoder.store.schema import prepare

PARTS = """
import os
import time
from pathlib import Path

from autocoder import Transformer

Path("loading").touch()
time.sleep(float(os.environ.get("LOADS", "0")))


class Pass(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        if busy := float(os.environ.get("BUSY", "0")):
            Path("busy").touch()
            time.sleep(busy)
        return number
"""
PIPELINE = """
pipeline: stopped
components:
  numbers: {use: flow.Generate, with: {count: 3, value: "i"}}
  pass: {use: "stopparts:Pass", from: numbers}
  out: {use: console.Print, from: pass}
"""


def start(folder: Path, *words: str, loads: float = 0, busy: float = 0) -> subprocess.Popen[str]:
    """A command on its way: its pipeline is being loaded."""
    (folder / "pyproject.toml").touch()
    (folder / "stopparts.py").write_text(PARTS)
    (folder / "stopped.yaml").write_text(PIPELINE)
    command = [sys.executable, "-c", "from autocoder.cli.main import main; main()", *words]
    process = subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LOADS": str(loads), "BUSY": str(busy)},
    )
    while not (folder / "loading").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


def test_while_it_is_loaded(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "stopped.yaml", loads=600)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert "stopped as asked, before anything was read" in err


def test_a_command_that_drains_nothing_ends_as_ever(tmp_path: Path) -> None:
    process = start(tmp_path, "validate", "stopped.yaml", loads=600)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("seconds", [0.0, 1.5])
def test_while_it_waits_for_another_instance(tmp_path: Path, seconds: float) -> None:
    """At once it may still be opening its database, later it waits: it ends the same way."""
    url = f"sqlite:///{tmp_path}/x.db"
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        database = stack.enter_context(portal.wrap_async_context_manager(open_database(url)))
        portal.call(prepare, database)
        stack.enter_context(portal.wrap_async_context_manager(owning(database, "stopped", ["numbers"], wait=False)))
        process = start(tmp_path, "run", "stopped.yaml", "--wait", "--database", url)
        time.sleep(seconds)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert "stopped as asked" in err


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_what_keeps_the_event_loop_busy(tmp_path: Path, second: signal.Signals) -> None:
    process = start(tmp_path, "run", "stopped.yaml", "--in-memory", busy=600)
    while not (tmp_path / "busy").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # two of a kind at once are one
    process.send_signal(second)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + second, err
    assert f"stopped by force by a second {second.name}; a component kept the event loop busy" in err
