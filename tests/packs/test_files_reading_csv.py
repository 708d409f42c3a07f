"""files.ReadCsv: what becomes of a row, what is rejected, and that reading resumes exactly."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest
from autocoder_components.files import ReadCsv
from hypothesis import given
from hypothesis import strategies as st

from tests.packs.files_read import PROPERTY, Order, Person, assert_resumes, batches, payloads, rejections, write

pytestmark = pytest.mark.anyio
cell = st.text(st.sampled_from('ab,;"\n\réあ '), max_size=6)


@PROPERTY
@given(
    rows=st.lists(st.tuples(cell, cell), max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    packed=st.booleans(),
    unended=st.booleans(),
    batch=st.integers(1, 5),
)
async def test_csv_resumes_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    rows: list[tuple[str, str]],
    ending: str,
    bom: bool,
    packed: bool,
    unended: bool,
    batch: int,
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", 'sec"ond\ncolumn'), *rows])
    content = (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().removesuffix(ending if unended else "").encode()
    path = write(tmp_path_factory.mktemp("csv") / ("x.csv.gz" if packed else "x.csv"), content)
    whole = await assert_resumes(lambda: ReadCsv(path=str(path), batch=batch))
    assert not any(each.rejected for each in whole)
    expected = [{"first": one, 'sec"ond\ncolumn': other} for one, other in rows]
    assert [payload for each in whole for payload in each.payloads] == expected


@PROPERTY
@given(content=st.text(st.sampled_from('ab,"\n\r'), max_size=40), batch=st.integers(1, 5))
async def test_csv_of_any_content_resumes_exactly(
    tmp_path_factory: pytest.TempPathFactory, content: str, batch: int
) -> None:
    path = write(tmp_path_factory.mktemp("csv") / "x.csv", content.encode())
    whole = await assert_resumes(lambda: ReadCsv(path=str(path), batch=batch, columns=["one", "two"]))
    in_one = await batches(ReadCsv(path=str(path), columns=["one", "two"]))
    assert [each for batch in whole for each in batch.payloads] == [each for batch in in_one for each in batch.payloads]
    places = [[each.place for batch in some for each in batch.rejected] for some in (whole, in_one)]
    assert places[0] == places[1]


async def test_csv_rows_that_are_wrong_are_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv",
        b'number,when\n1,2026-01-31\n2\n3,,\nx,2026-01-31\n"4"5,\n5,"never closed\n6,2026-02-01\n\xff,\n7,\n',
    )
    whole = await assert_resumes(lambda: ReadCsv(path=str(path), payload=Order, batch=3))
    assert [payload for each in whole for payload in each.payloads] == [
        Order(1, date(2026, 1, 31)),
        Order(6, date(2026, 2, 1)),
        Order(7, None),
    ]
    rejected = [rejected for each in whole for rejected in each.rejected]
    assert [str(each.place).removeprefix(f"{path}:") for each in rejected] == ["3", "4", "5", "6", "7", "9"]
    assert str(rejected[0].error) == "the row has 1 cells, but there are 2 columns"
    assert "bad quoting" in str(rejected[3].error)
    assert str(rejected[4].error) == "a quote opens here and is never closed"
    assert rejected[4].raw == '5,"never closed'
    assert str(rejected[5].error) == "cell 1 of the row is no utf-8"


async def test_a_stray_quote_costs_its_own_line_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b'n\n"stray\n' + b"good\n" * 5000 + b'"quoted ""cell"""\n')
    whole = await assert_resumes(lambda: ReadCsv(path=str(path)))
    good = [payload["n"] for each in whole for payload in each.payloads]
    assert good == [*["good"] * 5000, 'quoted "cell"']
    assert [rejected.place for each in whole for rejected in each.rejected] == [f"{path}:2"]


async def test_a_record_longer_than_the_limit_costs_its_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"n\n" + b'"open\n' + b"good line\n" * 20_000)
    [first] = [
        each for batch in await batches(ReadCsv(path=str(path), max_line_bytes=10_000)) for each in batch.rejected
    ]
    assert first.place == f"{path}:2"


async def test_a_record_longer_than_a_batch(tmp_path: Path) -> None:
    cell = "some text\n" * 250_000
    path = write(tmp_path / "x.csv", f'n\n1\n"{cell}"\n2\n'.encode())
    whole = await assert_resumes(lambda: ReadCsv(path=str(path)))
    assert [len(payload["n"]) for each in whole for payload in each.payloads] == [1, len(cell), 1]


async def test_empty_cells_of_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"name,age\n,\nRex,\n,3\n")
    assert await payloads(ReadCsv(path=str(path), payload=Person)) == [
        Person(name="", age=7),
        Person(name="Rex", age=7),
        Person(name="", age=3),
    ]
    [rejected] = await rejections(ReadCsv(path=str(write(tmp_path / "y.csv", b'number\n\n""\n')), payload=Order))
    assert "number" in str(rejected.error)


async def test_csv_without_a_header_and_with_another_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"1\ta b\n2\tc\n")
    source = ReadCsv(path=str(path), columns=["number", "text"], delimiter="\t")
    assert await payloads(source) == [{"number": "1", "text": "a b"}, {"number": "2", "text": "c"}]
    for wrong in ('"', "\n", ""):
        with pytest.raises(ValueError, match="delimiter"):
            ReadCsv(path=str(path), delimiter=wrong)
    with pytest.raises(ValueError, match="two columns are called 'a'"):
        ReadCsv(path=str(path), columns=["a", "b", "a"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,a\n1,2,3\n", "x.csv:1: two columns are called 'a'"),
        (b'\n"a,b\n1,2\n', "x.csv:2: a quote in the row that names the columns is never closed"),
        (b'"a"b,c\n', "x.csv:1: cannot read the row that names the columns"),
        (b"a,b\r1,2\r", "x.csv:1: cannot read the row that names the columns: a carriage return stands alone"),
        (b"\xff,c\n", "x.csv:1: the row that names the columns is no utf-8"),
        (b'"' + b"x\n" * 600, "x.csv:1: the row that names the columns is over max_line_bytes"),
        (b"x" * 2000 + b"\n1\n", "x.csv:1: the row that names the columns is over max_line_bytes"),
    ],
)
async def test_a_csv_file_without_usable_column_names_stops_the_source(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = write(tmp_path / "x.csv", content)
    with pytest.raises(ValueError, match=said):
        await batches(ReadCsv(path=str(path), max_line_bytes=1000))


async def test_a_row_with_a_lone_carriage_return_is_told_as_that(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"a,b\n1,2\r3,4\n5,6\n")
    source = ReadCsv(path=str(path))
    assert await payloads(source) == [{"a": "5", "b": "6"}]
    (rejected,) = await rejections(source)
    assert (rejected.place, str(rejected.error)[:31]) == (f"{path}:2", "a carriage return stands alone ")


async def test_an_empty_csv_file_has_no_rows(tmp_path: Path) -> None:
    for content in (b"", b"\n\n", b"a,b\n", b"a,b"):
        assert await payloads(ReadCsv(path=str(write(tmp_path / "x.csv", content)))) == []


async def test_a_cell_longer_than_the_csv_module_allows_by_default(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b'n\n"' + b"x" * 300_000 + b'"\n')
    assert [len(row["n"]) for row in await payloads(ReadCsv(path=str(path)))] == [300_000]
