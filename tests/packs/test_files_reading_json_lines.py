"""files.ReadJsonLines: what becomes of a line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from autocoder_components.files import ReadJsonLines

from tests.packs.files_read import Order, Person, Pet, assert_resumes, payloads, rejections, write

pytestmark = pytest.mark.anyio


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
