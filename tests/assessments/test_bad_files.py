"""Bad files, as real files: each is a finding or an error of its own, and the others are assessed as if it were not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.reports.json_report import json_schema
from jsonschema import Draft202012Validator

from tests.assessments.conftest import COMMAND, ROOTED, Assess, Start, servers, write

GOOD = servers(good=ROOTED)
DEEP = "[" * 5000
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def binary(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


def directory(path: Path) -> None:
    path.mkdir()
    (path / "inside.txt").write_text("{}")


BAD: dict[str, Callable[[Path], object]] = {
    "truncated": binary(json.dumps(GOOD).encode()[:-20]),
    "not JSON": binary(b"mcpServers:\n  a: {command: x}\n"),
    "a list": binary(b"[1, 2, 3]"),
    "a string": binary(b'"mcpServers"'),
    "null": binary(b"null"),
    "servers of a wrong type": binary(b'{"mcpServers": [1]}'),
    "a server of a wrong type": binary(b'{"mcpServers": {"a": 7}}'),
    "parts of wrong types": binary(b'{"mcpServers": {"a": {"command": [], "args": "x", "env": 3, "url": {}}}}'),
    "10 MB": binary(b'{"mcpServers": {"a": {"command": "' + b"x" * 10_000_000 + b'"}}}'),
    "deep": binary(f'{{"mcpServers": {DEEP}'.encode()),
    "deep objects": binary(b'{"a":' * 5000),
    "binary": binary(bytes(range(256)) * 40),
    "empty": binary(b""),
    "blank": binary(b"  \n\n"),
    "UTF-16": binary(json.dumps(servers(a=7)).encode("utf-16")),
    "Latin-1": binary(json.dumps(servers(a=7)).replace("a", "\xe9").encode("latin-1")),
    "NUL": binary(b'{"mcpServers": {"a\x00": {}}}'),
    "a surrogate": binary(
        b'{"mcpServers": {"\\ud800": {"command": "docker", "args": ["run", "--privileged", "\\udfff\\u0000"]}}}'
    ),
    "a merge conflict": binary(b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "a directory": directory,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def about(document: Any, file: str) -> tuple[list[Any], list[Any]]:
    """The findings in a file, and its outcomes without a verdict."""
    findings = [each for each in document["findings"] if each["file"] == file]
    errors = [each for each in document["outcomes"] if each["file"] == file and each["status"] == "error"]
    return findings, errors


def is_assessed(document: Any, file: str) -> bool:
    findings, errors = about(document, file)
    return [each["rule"] for each in findings] == ["AC-511"] and errors == []


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_it_is_told_and_the_others_are_assessed(make: Callable[[Path], object], machine: Path, assess: Assess) -> None:
    for folder in ("a", "z"):
        write(machine / folder / ".mcp.json", GOOD)
    (machine / "m").mkdir()
    make(machine / "m" / ".mcp.json")
    answer = assess(".", "--format", "json", "--report", "sarif", "--report", "html")
    assert answer.code == 0, answer.err
    document = answer.json()
    Draft202012Validator(json_schema()).validate(document)
    assert is_assessed(document, "a/.mcp.json")
    assert is_assessed(document, "z/.mcp.json")
    findings, errors = about(document, "m/.mcp.json")
    assert findings or errors
    assert len({each["file"] for each in document["targets"]}) == 3


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_named_itself_it_is_told_as_well(make: Callable[[Path], object], machine: Path, assess: Assess) -> None:
    make(machine / "mcp.json")
    answer = assess("mcp.json", "--format", "json", "--no-reports")
    document = answer.json()
    outcomes = {each["status"] for each in document["outcomes"]}
    assert answer.code == (1 if outcomes == {"error"} else 0)
    if "directory" not in str(make):
        assert document["findings"] or outcomes & {"error", "not_applicable"}


def test_a_file_with_a_thousand_servers_is_assessed_whole(machine: Path, assess: Assess) -> None:
    write(machine / ".mcp.json", servers(**{f"s{number}": ROOTED for number in range(1000)}))
    document = assess(".", "--format", "json", "--no-reports").json()
    assert document["score"]["planned"] == 2002
    assert document["score"]["coverage"] == 1
    assert len([each for each in document["findings"] if each["rule"] == "AC-511"]) == 1000


@pytest.mark.parametrize(
    "name", ["a\u200bb", "\u202ea", "a\nb", "\x1b[31m", "\ud800", "\U000e0041", "", " ", "a/b~c", "\x7f"]
)
def test_no_name_hides_a_server_from_the_rules(machine: Path, assess: Assess, name: str) -> None:
    write(machine / ".mcp.json", {"mcpServers": {name: ROOTED}})
    document = assess(".", "--format", "json").json()
    assert [each["rule"] for each in document["findings"]] == ["AC-511"]


def test_what_goes_beyond_two_thousand_servers_is_told_not_left_out_in_silence(machine: Path, assess: Assess) -> None:
    write(machine / ".mcp.json", servers(**{f"s{number}": {"command": "x"} for number in range(2001)}))
    document = assess(".", "--format", "json", "--no-reports").json()
    said = "names 2001 servers, of which only the first 2000 are assessed"
    assert {each["reason"] for each in about(document, ".mcp.json")[1]} == {said}
    assert document["score"]["coverage"] < 1


def test_an_unreadable_file_is_an_error_of_its_own(machine: Path, start: Start) -> None:
    write(machine / "a" / ".mcp.json", GOOD)
    write(machine / "m" / ".mcp.json", GOOD).chmod(0)
    write(machine / "n" / "o" / ".mcp.json", GOOD).parent.chmod(0)
    process = start(UNPRIVILEGED + COMMAND, "assess", ".", "--format", "json", "--no-reports")
    out, err = process.communicate()
    (machine / "n" / "o").chmod(0o700)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert is_assessed(document, "a/.mcp.json")
    assert {each["reason"] for each in about(document, "m/.mcp.json")[1]} == {"cannot be read: Permission denied"}
    assert {each["reason"] for each in about(document, "n/o")[1]} == {"the folder cannot be listed: Permission denied"}


UNPRIVILEGED = f"""
import ctypes, os, sys
if os.geteuid() == 0 and "again" not in os.environ:
    # The superuser without the right to read everything is a user like any other; it holds from the next program on.
    for right in ({CAP_DAC_OVERRIDE}, {CAP_DAC_READ_SEARCH}):
        assert ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, right, 0, 0, 0) == 0
    os.environ["again"] = "1"
    os.execv(sys.executable, [sys.executable, "-c", *sys.orig_argv[2:]])
"""


def test_the_child_of_these_tests_may_not_read_everything(machine: Path, start: Start) -> None:
    write(machine / "secret", "x").chmod(0)
    process = start(UNPRIVILEGED + "open('secret')")
    assert b"PermissionError" in process.communicate()[1]


def test_all_of_them_at_once(machine: Path, assess: Assess) -> None:
    for number, make in enumerate(BAD.values()):
        (machine / f"m{number}").mkdir()
        make(machine / f"m{number}" / ".mcp.json")
    write(machine / "a" / ".mcp.json", GOOD)
    answer = assess(".", "--format", "table")
    assert answer.code == 0
    assert "AC-511" in answer.out
    assert f"in {len(BAD) + 1} files" in answer.out
