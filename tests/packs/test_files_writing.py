"""Sinks of the pack `files`: what they write appears in one step or not at all, and JSON Lines come back."""

from __future__ import annotations

import csv
import gzip
import json
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.files import ReadJsonLines, WriteCsv, WriteJsonLines, WriteParquet
from autocoder_components.files.atomic import AtomicFile
from pyarrow import parquet
from pydantic import BaseModel, Field, SecretStr

from tests.packs.files_read import payloads
from tests.packs.files_written import Order, entries, written

pytestmark = pytest.mark.anyio
SINKS = [WriteJsonLines, WriteCsv, WriteParquet]


class Login(BaseModel):
    user: str = Field(alias="userName")
    password: SecretStr


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
async def test_json_lines_come_back(tmp_path: Path, name: str) -> None:
    orders = [Order(1), Order(2, date(2026, 1, 31), ["a\nb", "ü"]), Order(3)]
    await written(WriteJsonLines(path=str(tmp_path / name)), orders[:2], orders[2:])
    assert entries(tmp_path) == [name]
    assert await payloads(ReadJsonLines(path=str(tmp_path / name), payload=Order)) == orders


async def test_json_lines_of_models_and_builtins(tmp_path: Path) -> None:
    path = tmp_path / "x"
    login = Login(userName="ann", password=SecretStr("hunter2"))
    await written(WriteJsonLines(path=str(path)), [login, {"secret": SecretStr("hunter2")}, "a", 1, None, float("nan")])
    assert path.read_text() == (
        '{"userName":"ann","password":"**********"}\n{"secret":"**********"}\n"a"\n1\nnull\nnull\n'
    )


@pytest.mark.parametrize("kind", SINKS)
async def test_nothing_stands_under_the_name_before_the_end(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "x"
    path.write_text("what was there")
    path.chmod(0o640)
    sink = kind(path=str(path))
    await sink.open()
    await sink.write([Order(1)])
    await sink.flush()
    assert path.read_text() == "what was there"
    [hidden] = [name for name in entries(tmp_path) if name != "x"]
    assert hidden.startswith(".x.")
    assert (tmp_path / hidden).stat().st_size > 0
    await sink.finish()
    await sink.close()
    assert entries(tmp_path) == ["x"]
    assert path.read_bytes() != b"what was there"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", SINKS)
async def test_without_a_clean_end_nothing_is_left(tmp_path: Path, kind: Any) -> None:
    sink = kind(path=str(tmp_path / "x"))
    await sink.open()
    await sink.write([Order(1)])
    await sink.flush()
    await sink.close()
    assert entries(tmp_path) == []


@pytest.mark.parametrize("kind", SINKS)
async def test_a_refused_payload_leaves_nothing_of_its_batch(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "x"
    sink = kind(path=str(path))
    await sink.open()
    await sink.write([{"n": 1}])
    with pytest.raises(Exception, match=r"object|field|column"):
        await sink.write([{"n": 2}, {"n": object()}])
    await sink.write([{"n": 3}])
    await sink.finish()
    await sink.close()
    rows = parquet.read_table(path).to_pylist() if kind is WriteParquet else None
    if kind is WriteJsonLines:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    elif kind is WriteCsv:
        rows = [{"n": int(row["n"])} for row in csv.DictReader(path.read_text().splitlines())]
    assert rows == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("kind", SINKS)
async def test_two_sinks_on_one_path_are_refused(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "link").symlink_to("x")
    first, second = kind(path=str(tmp_path / "x")), kind(path=str(tmp_path / "link"))
    await first.open()
    with pytest.raises(ValueError, match="is being written by another sink of this process"):
        await second.open()
    await first.close()
    await written(second, [Order(1)])
    assert entries(tmp_path) == ["link", "x"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("kind", SINKS)
async def test_the_folder_must_exist_unless_it_may_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder for 'a/b/x' \(working folder: .*create_folders"):
        await kind(path="a/b/x").open()
    await written(kind(path="a/b/x", create_folders=True), [Order(1)])
    assert entries(tmp_path / "a" / "b") == ["x"]
    with pytest.raises(IsADirectoryError):
        await kind(path="a/b").open()
    with pytest.raises(ValueError, match="no regular file"):
        await kind(path="/dev/null").open()
    (tmp_path / "loop").symlink_to("/dev/null")
    with pytest.raises(ValueError, match="no regular file"):
        await kind(path="loop").open()


def test_what_stdout_points_to_is_no_file_to_replace() -> None:
    code = (
        "import anyio\nfrom autocoder_components.files import WriteJsonLines\n"
        "try: anyio.run(WriteJsonLines(path='/dev/stdout').open)\nexcept ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "no regular file and cannot be replaced in one step; console.Print writes to stdout" in done.stdout


async def test_the_suffix_of_gzip_may_be_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "X.JSONL.GZ"
    await written(WriteJsonLines(path=str(path)), [Order(1)])
    assert gzip.decompress(path.read_bytes()).startswith(b'{"number":1')
    assert await payloads(ReadJsonLines(path=str(path), payload=Order)) == [Order(1)]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
@pytest.mark.parametrize("before", [b"", b'{"n":0}\n', b'{"n":0}'])
async def test_appending(tmp_path: Path, name: str, before: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(before) if name.endswith(".gz") else before)
    await written(WriteJsonLines(path=str(path), append=True), [{"n": 1}])
    await written(WriteJsonLines(path=str(path), append=True), [{"n": 2}])
    expected = [0, 1, 2] if before else [1, 2]
    assert [payload["n"] for payload in await payloads(ReadJsonLines(path=str(path)))] == expected
    assert entries(tmp_path) == [name]


async def test_appending_to_no_file_makes_one(tmp_path: Path) -> None:
    await written(WriteJsonLines(path=str(tmp_path / "x"), append=True), [1])
    assert (tmp_path / "x").read_text() == "1\n"


async def test_appending_does_not_undo_what_someone_else_wrote_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("1\n")
    sink = WriteJsonLines(path=str(path), append=True)
    await sink.open()
    await sink.write([2])
    with path.open("a") as other:
        other.write("theirs\n")
    with pytest.raises(FileExistsError, match="changed by someone else"):
        await sink.finish()
    await sink.close()
    assert (entries(tmp_path), path.read_text()) == (["x"], "1\ntheirs\n")


async def test_appending_to_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"1\n")[:-4])
    with pytest.raises(ValueError, match="cannot be appended to"):
        await WriteJsonLines(path=str(path), append=True).open()
    assert entries(tmp_path) == ["x.gz"]


FULL_DISK = """
import resource, sys, anyio
from autocoder_components.files import WriteJsonLines

async def main():
    sink = WriteJsonLines(path=sys.argv[1])
    await sink.open()
    try:
        await sink.write(["small"])
        await sink.flush()
        try:
            await sink.write(["x" * 3_000_000])
        except OSError as error:
            print(type(error).__name__, error)
        await sink.write(["again"])
        if sys.argv[2] == "finish":
            await sink.finish()
    finally:
        await sink.close()

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
anyio.run(main)
"""


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_a_full_disk_leaves_no_half_line(tmp_path: Path, end: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "x"), end], capture_output=True, text=True, check=True
    )
    assert "File too large" in run.stdout
    if end == "finish":
        assert (tmp_path / "x").read_text() == '"small"\n"again"\n'
    else:
        assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["x", "x.gz"])
async def test_what_was_synced_is_good_up_to_its_size(tmp_path: Path, name: str) -> None:
    file = AtomicFile(str(tmp_path / name), append=False, create_folders=False)
    file.write(b"committed\n")
    file.sync()
    committed = file.size
    file.write(b"x" * 3_000_000)
    file.sync()
    content = file.part.read_bytes()[:committed]
    file.close()
    assert (gzip.decompress(content) if name == "x.gz" else content) == b"committed\n"
