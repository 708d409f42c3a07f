"""files.WriteJsonLines, WriteCsv and WriteParquet: what is written, and that it appears in one step or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.files import (
    ReadCsv,
    ReadJsonLines,
    ReadParquet,
    WriteCsv,
    WriteJsonLines,
    WriteParquet,
)
from autocoder_components.files.atomic import AtomicFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import BaseModel, Field, SecretStr

from autocoder import Sink
from tests.packs.test_files_reading import assert_resumes, payloads

pytestmark = pytest.mark.anyio
SINKS = [WriteJsonLines, WriteCsv, WriteParquet]


@dataclass
class Order:
    number: int
    when: date | None = None
    tags: list[str] = field(default_factory=list)
    paid: bool = False


class Login(BaseModel):
    user: str = Field(alias="userName")
    password: SecretStr


async def written(sink: Sink[Any], *batches: Sequence[Any]) -> None:
    await sink.open()
    try:
        for batch in batches:
            await sink.write(batch)  # type: ignore[attr-defined]
            await sink.flush()
        await sink.finish()
    finally:
        await sink.close()


def entries(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


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


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two columns are called 'a'"):
        WriteCsv(path="x", columns=["a", "b", "a"])


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


async def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    orders = [Order(1, date(2026, 1, 31), ["a", 'b"'], True), Order(2)]
    await written(WriteCsv(path=str(path)), orders)
    assert path.read_text() == ('number,when,tags,paid\n1,2026-01-31,"[""a"",""b\\""""]",true\n2,,[],false\n')


cell = st.text(st.sampled_from('ab,;"\n\réあ '), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(rows=st.lists(st.fixed_dictionaries({"one": cell, 'tw"o\r': cell}), min_size=1, max_size=8))
async def test_csv_comes_back(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    path = tmp_path / "x.csv.gz"
    await written(WriteCsv(path=str(path), delimiter=";"), rows[:2], rows[2:])
    assert await payloads(ReadCsv(path=str(path), delimiter=";")) == rows


async def test_csv_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    await written(WriteCsv(path=str(path), columns=["b", "a"]), [{"a": 1, "c": 3}, {"b": SecretStr("hush")}])
    assert path.read_text() == "b,a\n,1\n**********,\n"
    sink = WriteCsv(path=str(path))
    await sink.open()
    await sink.write([{"a": 1, "b": None}])
    with pytest.raises(ValueError, match=r"no column for 'c'; the columns are \['a', 'b'\]"):
        await sink.write([{"a": 1, "c": 2}])
    with pytest.raises(ValueError, match="a payload of type str has no fields"):
        await sink.write(["text"])
    await sink.write([{"b": 2}])
    await sink.finish()
    await sink.close()
    assert path.read_text() == "a,b\n1,\n,2\n"


async def test_csv_without_payloads(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    await written(WriteCsv(path=str(path)))
    assert path.read_text() == ""
    await written(WriteCsv(path=str(path), columns=["a", "b"]))
    assert path.read_text() == "a,b\n"


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
async def test_appending_to_csv(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    await written(WriteCsv(path=str(path), append=True), [{"a": 1, "b": 2}])
    await written(WriteCsv(path=str(path), append=True), [{"b": 4, "a": 3}])
    assert await payloads(ReadCsv(path=str(path))) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with pytest.raises(ValueError, match=r"has the columns \['a', 'b'\], not \['b', 'a'\]"):
        await WriteCsv(path=str(path), append=True, columns=["b", "a"]).open()
    assert entries(tmp_path) == [name]


@dataclass
class Measure:
    at: datetime
    value: Decimal
    secret: SecretStr
    raw: bytes


async def test_parquet_keeps_types(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    measure = Measure(datetime(2026, 1, 31, 12, tzinfo=UTC), Decimal("1.50"), SecretStr("hush"), b"\xff")
    await written(WriteParquet(path=str(path)), [measure])
    [row] = await payloads(ReadParquet(path=str(path)))
    assert row == {"at": measure.at, "value": Decimal("1.50"), "secret": "**********", "raw": b"\xff"}


async def test_parquet_finds_its_columns_from_all_payloads(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    sink = WriteParquet(path=str(path), types={"small": "int8"}, compression="zstd", row_group=2)
    await written(sink, [{"a": None, "n": 1}], [{"a": "x", "n": 1.5}, {"new": [1], "small": 3}], [{"a": "y"}])
    table = parquet.read_table(path)
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "a": "string",
        "n": "double",
        "new": "list<element: int64>",
        "small": "int8",
    }
    assert table.column("n").to_pylist() == [1.0, 1.5, None, None]
    assert parquet.ParquetFile(path).metadata.num_row_groups == 2


async def test_parquet_refuses_a_field_that_changes_its_type(tmp_path: Path) -> None:
    sink = WriteParquet(path=str(tmp_path / "x"))
    await sink.open()
    await sink.write([{"a": 1}])
    for wrong in ([{"a": "text"}], [{"a": 1}, {"a": "text"}]):
        with pytest.raises(ValueError, match=r"another type|cannot hold"):
            await sink.write(wrong)
    await sink.close()
    with pytest.raises(ValueError, match="Arrow knows no type 'integer'"):
        await WriteParquet(path=str(tmp_path / "x"), types={"a": "integer"}).open()


async def test_parquet_of_many_small_batches_has_full_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await written(WriteParquet(path=str(path), row_group=10), *([{"n": number}] for number in range(25)))
    file = parquet.ParquetFile(path)
    groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    assert groups == [10, 10, 5]
    assert file.read().column("n").to_pylist() == list(range(25))


@pytest.mark.parametrize("batch", [1, 3, 1000])
async def test_parquet_resumes_exactly(tmp_path: Path, batch: int) -> None:
    await written(WriteParquet(path=str(tmp_path / "a"), row_group=4), [{"number": number} for number in range(11)])
    await written(WriteParquet(path=str(tmp_path / "b"), row_group=4), [{"number": number} for number in range(11, 13)])
    whole = await assert_resumes(lambda: ReadParquet(path=f"{tmp_path}/*", payload=Order, batch=batch))
    assert [payload for each in whole for payload in each.payloads] == [Order(number) for number in range(13)]


async def test_parquet_rows_that_do_not_fit_are_rejected_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await written(
        WriteParquet(path=str(path), row_group=2), [{"number": n, "when": None} for n in ("1", "x", "3", "y")]
    )
    whole = await assert_resumes(lambda: ReadParquet(path=str(path), payload=Order, batch=2))
    assert [payload.number for each in whole for payload in each.payloads] == [1, 3]
    rejected = [rejected for each in whole for rejected in each.rejected]
    assert [each.place for each in rejected] == [f"{path}:2", f"{path}:4"]
    assert str(rejected[0].error).startswith("number: Input should be a valid integer")


async def test_parquet_columns_and_files_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x"
    await written(WriteParquet(path=str(path)), [{"a": 1, "b": 2}])
    assert await payloads(ReadParquet(path=str(path), columns=["b"])) == [{"b": 2}]
    with pytest.raises(ValueError, match="no column 'c'; found a, b"):
        await payloads(ReadParquet(path=str(path), columns=["c"]))
    path.write_text("no parquet at all")
    with pytest.raises(ValueError, match="x: no Parquet file"):
        await payloads(ReadParquet(path=str(path)))
    with pytest.raises(ValueError, match="saved position"):
        await payloads(ReadParquet(path=str(path)), 3)


@pytest.mark.parametrize(
    ("use", "feeds"),
    [("files.WriteParquet", "a"), ("files.ReadParquet", None)],
)
def test_without_pyarrow_nothing_runs_and_the_extra_is_named(tmp_path: Path, use: str, feeds: str | None) -> None:
    wanted = f"use: {use}, with: {{path: x.parquet}}"
    text = (
        f"pipeline: p\ncomponents:\n  a: {{use: flow.Generate, with: {{count: 1}}}}\n  b: {{{wanted}, from: a}}\n"
        if feeds
        else f"pipeline: p\ncomponents:\n  a: {{{wanted}}}\n  b: {{use: flow.Discard, from: a}}\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    code = """
import sys; sys.modules["pyarrow"] = None; sys.modules["pyarrow.parquet"] = None
from autocoder.cli.main import execute
sys.exit(execute(["validate", "p.yaml"]) + execute(["run", "--in-memory", "p.yaml"]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 78 + 78, run.stderr
    assert run.stderr.count("pip install 'autocoder[parquet]'") == 2
    assert f"p.yaml:{4 if feeds else 3}:" in run.stderr and entries(tmp_path) == ["p.yaml"]


def test_an_arrow_type_that_is_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="types: amount: Arrow knows no type 'flot64'"):
        WriteParquet(path="x", types={"amount": "flot64"})
