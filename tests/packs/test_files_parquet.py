"""files.WriteParquet and ReadParquet: types and row groups come back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from autocoder_components.files import ReadParquet, WriteParquet
from pyarrow import parquet
from pydantic import SecretStr

from tests.packs.files_read import assert_resumes, payloads
from tests.packs.files_written import Order, entries, written

pytestmark = pytest.mark.anyio


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
