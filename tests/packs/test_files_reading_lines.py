"""files.ReadLines: which files and lines are read, what is rejected, and that reading resumes exactly."""

from __future__ import annotations

import gzip
from pathlib import Path

import anyio
import pytest
from autocoder_components.files import ReadLines
from hypothesis import given
from hypothesis import strategies as st

from tests.packs.files_read import PROPERTY, assert_resumes, batches, payloads, rejections, write

pytestmark = pytest.mark.anyio


def lines_of(content: bytes) -> list[str]:
    """What the documentation promises, written naively."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    parts = content.split(b"\n")
    if parts[-1] == b"":
        parts.pop()
    return [part.decode().removesuffix("\r") for part in parts]


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
