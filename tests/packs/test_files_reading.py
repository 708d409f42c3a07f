"""files.ReadLines, ReadJsonLines and ReadCsv: what is read, what is rejected, and that reading resumes exactly."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components.files import ReadCsv, ReadJsonLines, ReadLines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from autocoder import Batch, Rejected, Source

pytestmark = pytest.mark.anyio
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


async def batches(source: Source[Any], resume: Any = None) -> list[Batch[Any]]:
    """Everything that a source gives from a position that has been through JSON."""
    await source.open()
    try:
        return [batch async for batch in source.read(json.loads(json.dumps(resume)))]  # type: ignore[union-attr]
    finally:
        await source.close()


async def payloads(source: Source[Any], resume: Any = None) -> list[Any]:
    return [payload for batch in await batches(source, resume) for payload in batch.payloads]


async def rejections(source: Source[Any]) -> list[Rejected]:
    return [rejected for batch in await batches(source) for rejected in batch.rejected]


def seen(batch: Batch[Any]) -> tuple[Any, ...]:
    return (
        list(batch.payloads),
        [(each.raw, str(each.error), each.place) for each in batch.rejected],
        json.dumps(batch.resume),
    )


async def assert_resumes(make: Callable[[], Source[Any]]) -> list[Batch[Any]]:
    """From every position the remaining batches come, the same ones, and nothing twice."""
    whole = await batches(make())
    for index, batch in enumerate(whole):
        assert list(map(seen, await batches(make(), batch.resume))) == list(map(seen, whole[index + 1 :]))
    return whole


def lines_of(content: bytes) -> list[str]:
    """What the documentation promises, written naively."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    parts = content.split(b"\n")
    if parts[-1] == b"":
        parts.pop()
    return [part.decode().removesuffix("\r") for part in parts]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


text = st.lists(
    st.sampled_from(
        ["a", "bc", "é", "漢字", "\N{GRINNING FACE}", "\r", "\r\n", "\n", "\n\n", "\x0b", "\u2028", "\ufeff", ""]
    )
    | st.text(max_size=5).filter(lambda each: not any("\ud800" <= one <= "\udfff" for one in each)),
    max_size=20,
).map("".join)


@PROPERTY
@given(
    contents=st.lists(st.tuples(st.booleans(), text, st.booleans()), min_size=1, max_size=4),
    batch=st.integers(1, 6),
)
async def test_lines_resume_exactly(
    tmp_path_factory: pytest.TempPathFactory, contents: list[tuple[bool, str, bool]], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    expected = []
    for number, (bom, content, packed) in enumerate(contents):
        data = (b"\xef\xbb\xbf" if bom else b"") + content.encode()
        write(folder / f"{number}.txt{'.gz' if packed else ''}", data)
        expected += lines_of(data)
    whole = await assert_resumes(lambda: ReadLines(path=str(folder / "*"), batch=batch))
    assert [payload for each in whole for payload in each.payloads] == expected
    assert not any(each.rejected for each in whole)


@PROPERTY
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda each: each.replace(b"\n", b"")), max_size=12),
    batch=st.integers(1, 4),
    ends=st.booleans(),
    packed=st.booleans(),
)
async def test_long_and_undecodable_lines_are_rejected_with_their_place(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], batch: int, ends: bool, packed: bool
) -> None:
    if lines and not lines[-1]:
        ends = True
    folder = tmp_path_factory.mktemp("lines")
    path = write(folder / ("x.gz" if packed else "x"), b"\n".join(lines) + (b"\n" if ends and lines else b""))
    whole = await assert_resumes(lambda: ReadLines(path=str(path), batch=batch, max_line_bytes=16))
    good, bad = [], []
    if lines:
        lines[0] = lines[0] if len(lines[0]) > 16 else lines[0].removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(lines, 1):
        try:
            decoded = line.decode()
        except UnicodeDecodeError:
            decoded = None
        if decoded is None or len(line) > 16:
            bad.append(f"{path}:{number}")
        else:
            good.append(decoded.removesuffix("\r"))
    assert [payload for each in whole for payload in each.payloads] == good
    assert [rejected.place for each in whole for rejected in each.rejected] == bad


async def test_a_line_longer_than_the_limit_is_never_held(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"before\n" + b"x" * 3_000_000 + b"\nafter\n" + b"y" * 2_000_000)
    whole = await assert_resumes(lambda: ReadLines(path=str(path), max_line_bytes=1_000_000))
    assert [payload for each in whole for payload in each.payloads] == ["before", "after"]
    rejected = [each for batch in whole for each in batch.rejected]
    assert [each.place for each in rejected] == [f"{path}:2", f"{path}:4"]
    assert len(rejected[0].raw) == 4096
    assert str(rejected[0].error) == "the line has 3000001 bytes; max_line_bytes is 1000000"


async def test_a_batch_ends_after_a_mebibyte(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"".join(b"%07d" % number + b"x" * 99_992 + b"\n" for number in range(25)))
    whole = await assert_resumes(lambda: ReadLines(path=str(path)))
    assert [len(each.payloads) for each in whole] == [10, 10, 5]


@pytest.mark.parametrize("size", [255, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 700_000])
async def test_lines_across_blocks(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "x.gz", ("ä" * (size // 2) + "\r\n" + "b\n" * 3000 + "last").encode())
    whole = await assert_resumes(lambda: ReadLines(path=str(path)))
    assert [payload for each in whole for payload in each.payloads] == ["ä" * (size // 2), *["b"] * 3000, "last"]


async def test_files_are_read_in_the_order_of_their_names_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.txt", "sub/deep/a.txt", "a.txt", "sub/z.txt", "a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    assert await payloads(ReadLines(path=f"{tmp_path}/**/*.txt")) == ["a.txt", "b.txt", "sub/deep/a.txt", "sub/z.txt"]


async def test_a_name_with_glob_characters_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data[1].txt").write_text("yes")
    (tmp_path / "data1.txt").write_text("no")
    assert await payloads(ReadLines(path=f"{tmp_path}/data[1].txt")) == ["yes"]


@pytest.mark.parametrize(("name", "said"), [("none.txt", "there is no file"), ("*.txt", "no file matches")])
async def test_a_missing_file_is_told_when_the_source_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as raised:
        await ReadLines(path=name).open()
    assert str(raised.value).startswith(f"{said} {name!r} (working folder: {tmp_path})")


async def test_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"is a folder; name the files in it"):
        await ReadLines(path=str(tmp_path)).open()
    with pytest.raises(ValueError, match="no regular file"):
        await ReadLines(path="/dev/null").open()


async def test_a_new_file_that_sorts_earlier_is_read_by_the_next_run_and_the_finished_ones_are_not(
    tmp_path: Path,
) -> None:
    for name in ("b", "c", "d"):
        (tmp_path / name).write_text(f"{name}1\n{name}2\n")
    source = ReadLines(path=f"{tmp_path}/*", batch=1)
    whole = await batches(source)
    after_c1 = whole[2].resume
    (tmp_path / "a").write_text("a1\n")
    with (tmp_path / "b").open("a") as more:
        more.write("b3\n")
    assert await payloads(ReadLines(path=f"{tmp_path}/*"), after_c1) == ["a1", "b3", "c2", "d1", "d2"]


async def test_a_file_that_was_replaced_is_read_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x"
    path.write_text("one\ntwo\n")
    first = (await batches(ReadLines(path=str(path), batch=1)))[0]
    path.write_text("eins\nzwei\n")
    assert await payloads(ReadLines(path=str(path)), first.resume) == ["eins", "zwei"]
    assert "was truncated or replaced" in caplog.text
    path.write_text("on")
    assert await payloads(ReadLines(path=str(path)), first.resume) == ["on"]


async def test_a_position_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"1\n")
    with pytest.raises(ValueError, match="saved position is not one of this source"):
        await batches(ReadLines(path=str(path)), {"offset": 3})


async def test_encodings(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "grün\nçà\n".encode("cp1252"))
    assert await payloads(ReadLines(path=str(path), encoding="windows-1252")) == ["grün", "çà"]
    [first, second] = await rejections(ReadLines(path=str(path)))
    assert str(first.error) == "byte 3 of the line, 0xfc, is no utf-8: invalid start byte"
    assert (first.raw, second.place) == ("gr\\xfcn", f"{path}:2")
    for wrong in ("utf-16", "cp037", "klingon"):
        with pytest.raises(ValueError, match="encoding"):
            ReadLines(path=str(path), encoding=wrong)


@pytest.mark.parametrize("damage", ["cut", "garbage", "flipped"])
async def test_a_damaged_gzip_file_is_rejected_once_and_the_other_files_go_on(tmp_path: Path, damage: str) -> None:
    lines = [f"{number} {number * number}" for number in range(5000)]
    packed = gzip.compress("\n".join(lines).encode() + b"\n")
    if damage == "cut":
        (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    elif damage == "garbage":
        (tmp_path / "a.gz").write_bytes(packed + b"garbage")
    else:
        (tmp_path / "a.gz").write_bytes(packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])
    (tmp_path / "b").write_text("b\n")
    whole = await assert_resumes(lambda: ReadLines(path=f"{tmp_path}/*"))
    good = [payload for each in whole for payload in each.payloads]
    [rejected] = [rejected for each in whole for rejected in each.rejected]
    assert good[-1] == "b"
    assert good[:-1] == lines[: len(good) - 1]
    assert len(good) == 5001 if damage == "garbage" else len(good) > 1000
    assert rejected.place == f"{tmp_path}/a.gz:{len(good)}"
    assert "gzip data" in str(rejected.error)


async def test_gzip_of_several_members_with_padding(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"") + gzip.compress(b"c\n") + b"\0" * 512)
    assert await payloads(ReadLines(path=str(tmp_path / "x.gz"))) == ["a", "bc"]


async def test_much_of_little_compressed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gz", b"x" * 3_000_001 + b"\nend")
    assert [len(each) for each in await payloads(ReadLines(path=str(path)))] == [3_000_001, 3]


@dataclass
class Order:
    number: int
    when: date | None = None


class Person(BaseModel):
    name: str
    age: int = 7


class Pet(TypedDict):
    name: str


async def test_json_lines_become_the_payload_type(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b'\xef\xbb\xbf{"number":1}\r\n\n  \n{"number":2,"when":"2026-01-31"}')
    assert await payloads(ReadJsonLines(path=str(path), payload=Order)) == [Order(1), Order(2, date(2026, 1, 31))]
    assert await payloads(ReadJsonLines(path=str(path))) == [{"number": 1}, {"number": 2, "when": "2026-01-31"}]
    path = write(tmp_path / "x", b'{"name":"Rex"}')
    assert await payloads(ReadJsonLines(path=str(path), payload=Person)) == [Person(name="Rex")]
    assert await payloads(ReadJsonLines(path=str(path), payload=Pet)) == [{"name": "Rex"}]
    path = write(tmp_path / "x", b"1\n2\n")
    assert await payloads(ReadJsonLines(path=str(path), payload=int)) == [1, 2]


async def test_json_lines_that_are_wrong_are_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    bad = [
        b"{",
        b"[1]",
        b'{"number":"x","when":5.5}',
        b'{"number":1} {"number":2}',
        b'{"number":1},{"number":2}',
        b'"\xff"',
    ]
    good = b'{"number":3}'
    path = write(tmp_path / "x", b"\n".join((good, b"", *bad, good)))
    whole = await assert_resumes(lambda: ReadJsonLines(path=str(path), payload=Order, batch=2))
    assert [payload for each in whole for payload in each.payloads] == [Order(3), Order(3)]
    rejected = [rejected for each in whole for rejected in each.rejected]
    assert [each.place for each in rejected] == [f"{path}:{number}" for number in range(3, 9)]
    assert str(rejected[2].error).startswith("number: Input should be a valid integer")
    assert "x" not in str(rejected[2].error).split(":")[0]


async def test_an_error_does_not_quote_the_value(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b'{"number":"hunter2"}')
    [rejected] = await rejections(ReadJsonLines(path=str(path), payload=Order))
    assert "hunter2" not in str(rejected.error)
    assert rejected.error.__cause__ is None


async def test_halves_of_an_object_on_two_lines_are_two_rejections(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b'{"number":1\n"when":null}\n1,2')
    assert [each.place for each in await rejections(ReadJsonLines(path=str(path)))] == [
        f"{path}:{n}" for n in (1, 2, 3)
    ]


async def test_json_lines_in_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '{"name":"Jürgen"}'.encode("latin-1"))
    assert await payloads(ReadJsonLines(path=str(path), encoding="latin-1", payload=Pet)) == [{"name": "Jürgen"}]


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


async def test_reading_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    """Another task gets its turns while a file is read, many for each batch's worth of bytes."""
    path = write(tmp_path / "x", b"a line of some length\n" * 300_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await payloads(ReadLines(path=str(path)))
        tasks.cancel_scope.cancel()
    assert turns > 6
