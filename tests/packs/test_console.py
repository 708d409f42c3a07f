"""console.Print: lines on standard output, for people and for pipes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.console import Print
from pydantic import SecretStr

pytestmark = pytest.mark.anyio


@dataclass
class Login:
    user: str
    password: SecretStr


LOGIN = Login("ann\n", SecretStr("hunter2"))


@pytest.mark.parametrize(
    ("form", "payloads", "expected"),
    [
        ("json", [LOGIN, "é", None], '{"user":"ann\\n","password":"**********"}\n"é"\nnull\n'),
        ("repr", [LOGIN, "é"], "Login(user='ann\\n', password=SecretStr('**********'))\n'é'\n"),
        ("text", ["two\r\nlines", 7, SecretStr("hunter2")], "two\\r\\nlines\n7\n**********\n"),
        ("text", [], ""),
    ],
)
async def test_each_payload_is_a_line(
    capsys: pytest.CaptureFixture[str], form: Any, payloads: list[Any], expected: str
) -> None:
    await Print(format=form).write(payloads)
    assert capsys.readouterr().out == expected


async def test_a_pipe_gets_control_characters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    await Print(format="text").write(["\x1b[31mred\u202e"])
    assert capsys.readouterr().out == "\x1b[31mred\u202e\n"


async def test_a_payload_without_a_form_prints_nothing_of_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="object"):
        await Print().write([1, object()])
    assert capsys.readouterr().out == ""


async def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    await Print().write([{"n": [float("nan"), float("-inf")]}, float("inf")])
    assert capsys.readouterr().out == '{"n":[null,null]}\nnull\n'


SCRIPT = """
import sys, anyio
from autocoder_components.console import Print
anyio.run(Print(format=sys.argv[1]).write, eval(sys.argv[2]))
"""


@pytest.mark.parametrize("form", ["json", "text", "repr"])
def test_a_terminal_gets_no_control_characters(form: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, form, r"['\x1b]0;t\x07\x9b31m\u202e\u2028\x7f tab\t ok']"], stdout=theirs
    ):
        os.close(theirs)
        shown = b""
        while not shown.endswith(b"\n"):
            shown += os.read(ours, 4096)
    os.close(ours)
    line = shown.decode().removesuffix("\r\n")
    assert "ok" in line
    assert line.isprintable()


def test_what_the_encoding_of_stdout_lacks_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, "text", r"['é \ud800']"], env=environment, capture_output=True, check=True
    )
    assert run.stdout == b"\\xe9 \\ud800\n"


PIPELINE = """
import sys, autocoder
try:
    autocoder.Pipeline.from_yaml('''
pipeline: many
components:
  lines: {use: files.ReadLines, with: {path: "%s"}}
  out: {use: console.Print, from: lines, with: {format: text}}
''').run()
except autocoder.PipelineError as error:
    sys.exit("BrokenPipeError" in str(error) and 17)
"""


def test_a_closed_pipe_stops_the_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a line\n" * 200_000)
    with subprocess.Popen(
        [sys.executable, "-c", PIPELINE % path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"a line\n"
        run.stdout.close()
        assert run.wait(60) in (17, 120)  # 120: Python itself then finds stdout closed at exit


async def test_a_pipeline_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from autocoder import Pipeline

    path = tmp_path / "x"
    path.write_text('{"a":1}\n{"a":2}\n')
    pipeline = Pipeline.from_yaml(f"""
pipeline: look
components:
  orders: {{use: files.ReadJsonLines, with: {{path: "{path}"}}}}
  out:    {{use: console.Print, from: orders, with: {{format: repr}}}}
""")
    summary = await pipeline.run_async()
    assert capsys.readouterr().out == "{'a': 1}\n{'a': 2}\n"
    assert summary.messages_out == 2
