"""The command line as its user has it: in this process where that suffices, as a process of its own elsewhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from autocoder.cli.main import execute
from tests.cli.answer import Answer, Run, Start, Write

PARTS = '''
"""Components of a project."""

from collections.abc import AsyncIterator, Iterator, Sequence

import anyio
from pydantic import SecretStr

from autocoder import Batch, Emission, In, Merger, Out, Sink, Source, Splitter, Transformer


class Numbers(Source[int]):
    """Count from zero to `upto`, ten at a time, `pause` seconds before each ten."""

    upto: int = 30
    pause: float = 0.0

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, 10):
            await anyio.sleep(self.pause)
            yield Batch(list(range(at, min(at + 10, self.upto))), resume=at + 10)


class Double(Transformer[int, int]):
    """Twice the number; 13 has bad luck."""

    token: SecretStr = SecretStr("")

    def process(self, number: int, /) -> int:
        if number == 13:
            raise ValueError(f"unlucky {self.token.get_secret_value()}")
        return 2 * number


class Halt(Transformer[int, int]):
    """Never done."""

    async def process(self, number: int, /) -> int:
        await anyio.sleep_forever()


class Parity(Splitter[int]):
    """Even and odd."""

    even = Out(int)
    odd = Out(int)

    def process(self, number: int, /) -> Emission:
        return (self.odd if number % 2 else self.even)(number)


class Both(Merger[int]):
    """Left and right."""

    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        return number


class Show(Sink[int]):
    """One line each."""

    def write(self, batch: Sequence[int], /) -> None:
        for number in batch:
            print(number, flush=True)
'''

DEMO = """
pipeline: demo
components:
  numbers: {use: parts:Numbers}
  double: {use: parts:Double, from: numbers}
  show: {use: parts:Show, from: double}
"""


@pytest.fixture(autouse=True)
def unmarked_process(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from outside; what a test imports from its folder, and how it sets up logging, is forgotten."""
    for name in [each for each in os.environ if each.startswith("AUTOCODER_") or each == "NO_COLOR"]:
        monkeypatch.delenv(name)
    base = str(tmp_path_factory.getbasetemp())
    modules, path, handlers = dict(sys.modules), list(sys.path), list(logging.getLogger().handlers)
    levels = logging.getLogger().level, logging.getLogger("autocoder").level
    yield
    for name in set(sys.modules) - set(modules):
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(base):
            del sys.modules[name]
    sys.path[:] = path
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(levels[0])
    logging.getLogger("autocoder").setLevel(levels[1])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, a project with a module `parts` and the pipeline `demo.yaml`."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "demo.yaml").write_text(DEMO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(project: Path) -> Write:
    """Writes a file of the project."""

    def writer(name: str, text: str) -> Path:
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return writer


@pytest.fixture
def cli(project: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def runner(*arguments: str) -> Answer:
        capfd.readouterr()
        code = execute(arguments)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return runner


def command_line(*arguments: str) -> list[str]:
    """The console script, whether or not it is installed."""
    return [sys.executable, "-c", "from autocoder.cli.main import main; main()", *arguments]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts a command as a process of its own, whose streams are pipes; it does not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def starter(
        *arguments: str, environ: Mapping[str, str] | None = None, python: Sequence[str] | None = None
    ) -> subprocess.Popen[str]:
        environment = {**os.environ, **(environ or {})}
        process = subprocess.Popen(
            python or command_line(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=project,
        )
        processes.append(process)
        return process

    yield starter
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
