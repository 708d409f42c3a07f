"""A machine with nothing on it, and the command run there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autocoder.cli.main import execute


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one JSON document; fails for anything before or behind it."""
        return json.loads(self.out)


Assess = Callable[..., Answer]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, on a machine whose user has an empty home; nothing from outside decides what happens."""
    for name in os.environ:
        is_ours = name.startswith(("AUTOCODER_", "XDG_")) and not name.startswith("AUTOCODER_TEST_")
        if is_ours or name in {"NO_COLOR", "APPDATA", "COLUMNS"}:
            monkeypatch.delenv(name)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    root, own = logging.getLogger(), logging.getLogger("autocoder")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield work
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


@pytest.fixture
def assess(machine: Path, capfd: pytest.CaptureFixture[str]) -> Assess:
    """Runs `autocoder assess` in this process."""

    def runner(*arguments: str) -> Answer:
        capfd.readouterr()
        code = execute(["assess", *arguments])
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return runner


@pytest.fixture
def start(machine: Path) -> Iterator[Start]:
    """Starts a program of Python text as a process of its own, which does not outlive the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def starter(program: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=machine, **{**streams, **options})
        processes.append(process)
        return process

    yield starter
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


COMMAND = "from autocoder.cli.main import main; main()"
"""The console script, whether or not it is installed."""


def write(path: Path, config: object) -> Path:
    """A configuration file, its folders included; a text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2), encoding="utf-8")
    path.chmod(0o600)
    return path


def servers(**named: object) -> dict[str, object]:
    return {"mcpServers": named}


SOUND = {"command": "npx", "args": ["-y", "@acme/notes-mcp@1.4.2"]}
UNPINNED = {"command": "npx", "args": ["-y", "@acme/notes-mcp"]}
ROOTED = {"command": "docker", "args": ["run", "-i", "--rm", "--privileged", "acme/x@sha256:" + "0" * 64]}
