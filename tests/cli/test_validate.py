"""`autocoder validate`: every problem of every pipeline."""

from __future__ import annotations

import json

from tests.cli.answer import Run, Write

WRONG = """\
pipeline: wrong
components:
  numbers: {use: parts:Numbers, wth: {upto: 3}}
  double: {use: parts:Dbl, from: numbers}
  show: {use: parts:Show, from: dubble}
"""


def test_a_valid_pipeline(cli: Run) -> None:
    answer = cli("validate", "demo.yaml")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "demo.yaml: pipeline 'demo' is valid\n"


def test_all_problems_of_all_files_a_line_each(cli: Run, write: Write) -> None:
    write("wrong.yaml", WRONG)
    answer = cli("validate", "wrong.yaml", "demo.yaml", "missing.yaml")
    lines = answer.err.splitlines()
    assert (answer.code, answer.out) == (78, "")
    assert lines[0].startswith("wrong.yaml:3:")
    assert "did you mean 'with'?" in lines[0]
    assert "wrong.yaml:4:17: the module 'parts' has no 'Dbl'; did you mean 'Double'?" in lines
    assert any(line.startswith("wrong.yaml:5:") and "did you mean 'double'?" in line for line in lines)
    assert any(line.startswith("missing.yaml: there is no such file") for line in lines)
    assert lines[-2:] == ["demo.yaml: pipeline 'demo' is valid", f"{len(lines) - 2} problems in 2 of 3 pipelines"]


def test_json_gives_the_problems_as_objects(cli: Run, write: Write) -> None:
    write("wrong.yaml", WRONG)
    answer = cli("validate", "--json", "demo.yaml", "wrong.yaml")
    data = json.loads(answer.out)
    assert (answer.code, data["valid"]) == (78, False)
    assert data["pipelines"][0] == {
        "source": "demo.yaml",
        "pipeline": "demo",
        "valid": True,
        "problems": [],
        "warnings": [],
    }
    problems = data["pipelines"][1]["problems"]
    assert {"file", "line", "column", "what", "found", "cure"} == set(problems[0])
    assert (problems[0]["file"], problems[0]["line"]) == ("wrong.yaml", 3)


def test_nothing_runs(cli: Run, write: Write) -> None:
    write(
        "parts2.py",
        "from parts import Show\n\n\nclass Loud(Show):\n    '''x'''\n\n    async def open(self):\n        print('open')\n",
    )
    write("loud.yaml", "pipeline: loud\ncomponents:\n  n: {use: parts:Numbers}\n  s: {use: parts2:Loud, from: n}\n")
    assert cli("validate", "loud.yaml").out == ""
    assert "open" in cli("run", "loud.yaml").out


def test_a_source_that_cannot_replay_is_a_warning_and_no_problem(cli: Run, write: Write) -> None:
    write("once.py", PARTS_ONCE)
    write("once.yaml", "pipeline: once\ncomponents:\n  tap: {use: once:Tap}\n  show: {use: parts:Show, from: tap}\n")
    answer = cli("validate", "once.yaml", "--json")
    (warning,) = json.loads(answer.out)["pipelines"][0]["warnings"]
    assert (answer.code, warning["line"]) == (0, 3)
    assert "at most once until the first durable channel" in warning["what"] and "durable: true" in warning["cure"]
    assert "warning: " in answer.err and "once.yaml:3:3: source 'tap'" in answer.err


PARTS_ONCE = """
    from collections.abc import AsyncIterator

    from autocoder import Batch, Source


    class Tap(Source[int], replayable=False):
        \"\"\"Runs by.\"\"\"

        async def read(self, resume: object, /) -> AsyncIterator[Batch[int]]:
            yield Batch([1])
"""
