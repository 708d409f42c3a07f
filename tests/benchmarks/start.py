"""From the start of the process: `autocoder --help`, and `autocoder run` of a one-line pipeline to its first message."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.harness import Bar, Contender, Result, measure

COMMAND = str(Path(sys.executable).parent / "autocoder")
PIPELINE = (
    "{pipeline: one, components: {n: {use: flow.Generate, with: {count: 1}}, out: {use: console.Print, from: n}}}\n"
)


def helped() -> float:
    started = time.perf_counter()
    done = subprocess.run([COMMAND, "--help"], check=True, capture_output=True, text=True)
    assert "Usage" in done.stdout, done.stdout
    return time.perf_counter() - started


def first_message(*options: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one.yaml").write_text(PIPELINE, encoding="utf-8")
        started = time.perf_counter()
        command = [COMMAND, "run", "one.yaml", *options]
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - started
            process.communicate()
        assert (line, process.returncode) == ("0\n", 0), (line, process.returncode)
    return seconds


def python() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


def run() -> list[Result]:
    return [
        measure(
            "start of the command line",
            [
                Contender("autocoder --help", helped),
                Contender("autocoder run, to the first message", first_message),
                Contender("autocoder run --in-memory, to the first message", lambda: first_message("--in-memory")),
                Contender("python -c pass, for comparison", python),
            ],
            [Bar(most=0.3, of="autocoder --help"), Bar(most=1.0, of="autocoder run, to the first message")],
            unit="s",
        )
    ]
