"""Files that a kept run writes: whatever ends a run, the next one goes on, and each payload is there once."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autocoder import Pipeline, PipelineError

PIPELINE = """
pipeline: copy
components:
  lines: {{use: files.ReadLines, with: {{path: {folder}/in.txt, batch: 10}}}}
  table: {{use: flow.Map, from: lines, with: {{fields: {{line: payload}}}}}}
  out:   {{use: {sink}, from: table, with: {{path: "{folder}/{name}"}}}}
commit: {{every: 5ms, messages: 20}}
"""


def copy(folder: Path, name: str = "out.jsonl", *, restart: bool = False) -> None:
    sink = {"jsonl": "files.WriteJsonLines", "csv": "files.WriteCsv", "parquet": "files.WriteParquet"}
    text = PIPELINE.format(folder=folder, name=name, sink=sink[name.removesuffix(".gz").rpartition(".")[2]])
    Pipeline.from_yaml(text).run(database=f"sqlite:///{folder}/kept.db", restart=restart)


def lines_of(file: Path) -> list[str]:
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    if ".csv" in file.name:
        header, *rows = raw.decode().splitlines()
        assert header == "line"
        return rows
    return [json.loads(line)["line"] for line in raw.decode().splitlines()]


def more(folder: Path, *numbers: int) -> None:
    with (folder / "in.txt").open("a") as file:
        file.writelines(f"{number}\n" for number in numbers)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv"])
def test_a_later_run_adds_to_what_an_earlier_one_published(tmp_path: Path, name: str) -> None:
    more(tmp_path, *range(25))
    copy(tmp_path, name)
    before = (tmp_path / name).stat()
    copy(tmp_path, name)
    assert (tmp_path / name).stat().st_mtime_ns == before.st_mtime_ns, "nothing new, nothing written"
    more(tmp_path, *range(25, 60))
    copy(tmp_path, name)
    assert lines_of(tmp_path / name) == [str(number) for number in range(60)]
    assert not list(tmp_path.glob(".*.part"))
    copy(tmp_path, name, restart=True)
    assert lines_of(tmp_path / name) == [str(number) for number in range(60)]


def test_a_file_that_someone_else_changed_is_not_overwritten(tmp_path: Path) -> None:
    more(tmp_path, 1)
    copy(tmp_path)
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.jsonl").write_text("mine")
    more(tmp_path, 2)
    with pytest.raises(PipelineError, match=r"is not as this pipeline left it .* --restart writes it anew"):
        copy(tmp_path)
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    copy(tmp_path, restart=True)
    assert lines_of(tmp_path / "out.jsonl") == ["1", "2"]


def test_a_published_parquet_file_says_that_it_is_full(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    more(tmp_path, 1)
    copy(tmp_path, "out.parquet")
    copy(tmp_path, "out.parquet")
    more(tmp_path, 2)
    with pytest.raises(PipelineError, match="published by an earlier run and cannot be added to; --restart"):
        copy(tmp_path, "out.parquet")


CHILD = """
import sys
from pathlib import Path
from tests.packs.test_files_kept import copy
copy(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv"])
def test_a_killed_run_is_gone_on_with(tmp_path: Path, name: str) -> None:
    more(tmp_path, *range(5000))
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    kills = 0
    while True:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), name], env=environment)
        parts = None
        while child.poll() is None and kills < 4:
            grown = sum(part.stat().st_size for part in tmp_path.glob(".*.part"))
            if parts is not None and grown > parts:
                child.send_signal(signal.SIGKILL)
            parts = grown if parts is None or grown < parts else parts
            time.sleep(0.002)
        if child.wait() == 0:
            break
        kills += 1
    assert kills, "no run was killed, so nothing was shown"
    assert lines_of(tmp_path / name) == [str(number) for number in range(5000)]
