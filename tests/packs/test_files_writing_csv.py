"""files.WriteCsv: columns, quotes, and what is appended to."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from autocoder_components.files import ReadCsv, WriteCsv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.packs.files_read import payloads
from tests.packs.files_written import Order, entries, written

pytestmark = pytest.mark.anyio


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two columns are called 'a'"):
        WriteCsv(path="x", columns=["a", "b", "a"])


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
