"""Following files: growth, new files, rotation and truncation."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components.files import ReadCsv, ReadJsonLines, ReadLines
from autocoder_components.files.reader import FILES_HELD_OPEN

from autocoder import Batch, Source

pytestmark = pytest.mark.anyio
POLL = 0.01


class Tail:
    """What a following source has given so far."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.rejected: list[Any] = []
        self.resume: Any = None
        self._news = anyio.Event()

    def take(self, batch: Batch[Any]) -> None:
        self.got += batch.payloads
        self.rejected += batch.rejected
        self.resume = json.loads(json.dumps(batch.resume))
        self._news.set()

    async def until(self, *expected: Any) -> None:
        """Wait until exactly these payloads have come."""
        with anyio.fail_after(10):
            while len(self.got) < len(expected):
                self._news = anyio.Event()
                await self._news.wait()
        assert self.got == list(expected)


@asynccontextmanager
async def tailing(source: Source[Any], resume: Any = None) -> AsyncIterator[Tail]:
    tail = Tail()

    async def run() -> None:
        async for batch in source.read(resume):  # type: ignore[union-attr]
            tail.take(batch)

    await source.open()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield tail
            tasks.cancel_scope.cancel()
    finally:
        await source.close()


async def looks(count: int = 5) -> None:
    """Let the source look at its files a few times, so that what must not come could have come."""
    await anyio.sleep(count * POLL)


def append(path: Path, content: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


async def test_lines_appended_are_read_and_a_partial_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "x"
    append(path, "one\ntw")
    async with tailing(ReadLines(path=str(path), follow=True, poll=POLL)) as tail:
        await tail.until("one")
        await looks()
        append(path, "o\nthr")
        await tail.until("one", "two")
        append(path, "ee\r\n")
        await tail.until("one", "two", "three")


async def test_files_that_come_later_are_read_and_finished_ones_are_not_read_again(tmp_path: Path) -> None:
    async with tailing(ReadLines(path=f"{tmp_path}/**/*.log", follow=True, poll=POLL)) as tail:
        await looks()
        append(tmp_path / "m.log", "m1\n")
        await tail.until("m1")
        append(tmp_path / "a.log", "a1\n")
        await tail.until("m1", "a1")
        (tmp_path / "new").mkdir()
        append(tmp_path / "new" / "z.log", "z1\n")
        await tail.until("m1", "a1", "z1")
        append(tmp_path / "m.log", "m2\n")
        await tail.until("m1", "a1", "z1", "m2")
        await looks()
        assert len(tail.got) == 4
    append(tmp_path / "a.log", "a2\n")
    append(tmp_path / "0.log", "first\n")
    async with tailing(ReadLines(path=f"{tmp_path}/**/*.log", follow=True, poll=POLL), tail.resume) as again:
        await again.until("first", "a2")
        await looks()
        assert len(again.got) == 2


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_rotation_by_renaming(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "app.log"
    append(path, "1\n2\n")
    async with tailing(ReadLines(path=f"{tmp_path}/{pattern}", follow=True, poll=POLL)) as tail:
        await tail.until("1", "2")
        append(path, "3\n")
        path.rename(tmp_path / "app.log.1")
        append(tmp_path / "app.log.1", "4\n")
        append(path, "5\n")
        await tail.until("1", "2", "3", "4", "5") if pattern == "app.log" else await came(tail, "12345")
        (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
        path.rename(tmp_path / "app.log.1")
        append(path, "6\n")
        await came(tail, "123456")
        await looks()
        assert len(tail.got) == 6


async def came(tail: Tail, expected: str) -> None:
    with anyio.fail_after(10):
        while len(tail.got) < len(expected):
            await anyio.sleep(POLL)
    assert sorted(tail.got) == list(expected)


async def test_rotation_while_nobody_was_looking(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    append(path, "1\n2\n")
    async with tailing(ReadLines(path=f"{tmp_path}/app.log*", follow=True, poll=POLL)) as tail:
        await tail.until("1", "2")
    append(path, "3\n")
    path.rename(tmp_path / "app.log.1")
    append(path, "4\n")
    async with tailing(ReadLines(path=f"{tmp_path}/app.log*", follow=True, poll=POLL), tail.resume) as again:
        await came(again, "34")
        await looks()
        assert len(again.got) == 2


@pytest.mark.parametrize("content", ["new\n", "something longer than before\n"])
async def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x"
    append(path, "old 1\nold 2\n")
    async with tailing(ReadLines(path=str(path), follow=True, poll=POLL)) as tail:
        await tail.until("old 1", "old 2")
        with path.open("r+") as file:
            file.truncate()
            file.write(content)
        await tail.until("old 1", "old 2", content.strip())
        append(path, "more\n")
        await tail.until("old 1", "old 2", content.strip(), "more")


async def test_a_deleted_file_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    append(path, "1\n")
    async with tailing(ReadLines(path=f"{tmp_path}/*.log", follow=True, poll=POLL)) as tail:
        await tail.until("1")
        append(path, "2\nunended")
        path.unlink()
        await tail.until("1", "2", "unended")
        await looks()
        held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert not any(str(path) in each for each in held)


async def test_many_files_are_not_all_held_open(tmp_path: Path) -> None:
    for number in range(100):
        append(tmp_path / f"{number:03}.log", f"{number:03}\n")
    async with tailing(ReadLines(path=f"{tmp_path}/*.log", follow=True, poll=POLL)) as tail:
        await tail.until(*(f"{number:03}" for number in range(100)))
        for number in range(100):
            append(tmp_path / f"{number:03}.log", "more\n")
        await tail.until(*(f"{number:03}" for number in range(100)), *["more"] * 100)
        held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert sum(str(tmp_path) in each for each in held) <= FILES_HELD_OPEN + 1


async def test_a_gzip_file_that_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    packed = gzip.compress(b"".join(b"%d\n" % number**7 for number in range(2000)))
    append(path, packed[:3000])
    async with tailing(ReadLines(path=str(path), follow=True, poll=POLL)) as tail:
        await looks()
        append(path, packed[3000:])
        await tail.until(*(str(number**7) for number in range(2000)))
        append(path, gzip.compress(b"another member\n"))
        await tail.until(*(str(number**7) for number in range(2000)), "another member")
        assert tail.rejected == []


async def test_a_csv_header_that_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    append(path, "name,")
    async with tailing(ReadCsv(path=str(path), follow=True, poll=POLL)) as tail:
        await looks()
        append(path, 'note\nRex,"two\n')
        await looks()
        append(path, 'lines"\nTom,')
        await tail.until({"name": "Rex", "note": "two\nlines"})
        append(path, "\n")
        await tail.until({"name": "Rex", "note": "two\nlines"}, {"name": "Tom", "note": ""})
        assert tail.rejected == []


async def test_a_json_line_that_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, '{"a":1}\n{"a":')
    async with tailing(ReadJsonLines(path=str(path), follow=True, poll=POLL)) as tail:
        await tail.until({"a": 1})
        append(path, "2}\n")
        await tail.until({"a": 1}, {"a": 2})
        assert tail.rejected == []


async def test_resuming_while_following_gives_exactly_the_rest(tmp_path: Path) -> None:
    path, lines = tmp_path / "x", [str(number) for number in range(50)]
    make: Callable[[], ReadLines] = lambda: ReadLines(path=str(path), follow=True, poll=POLL, batch=7)  # noqa: E731
    append(path, "\n".join(lines) + "\n")
    got: list[str] = []
    resume = None
    while len(got) < 50:
        source = make()
        await source.open()
        stream = source.read(resume)
        batch = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        await source.close()
        got += batch.payloads
        resume = json.loads(json.dumps(batch.resume))
    assert got == lines
