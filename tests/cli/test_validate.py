"""`autocoder validate`: every problem of every pipeline."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.answer import Run, Start, Write
from tests.cli.conftest import command_line

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


def test_wrong_settings_do_not_hide_what_is_wrong_with_pipelines(cli: Run, write: Write) -> None:
    write("config/development.yaml", "database: {pool_size: many}\n")
    write("wrong.yaml", WRONG)
    answer = cli("validate", "wrong.yaml", "demo.yaml")
    lines = answer.err.splitlines()
    assert answer.code == 78
    assert lines[0].startswith("config/development.yaml:1:23: database.pool_size: must be")
    assert lines[1].startswith("wrong.yaml:3:")
    assert lines[-1] == f"{len(lines) - 2} problems in the settings and 1 of 2 pipelines"
    alone = cli("validate", "demo.yaml")
    assert (alone.code, alone.err.splitlines()[-1]) == (78, "1 problem in the settings")
    data = json.loads(cli("validate", "--json", "demo.yaml").out)
    assert (data["valid"], data["pipelines"][0]["valid"], data["settings"][0]["line"]) == (False, True, 1)
    assert cli("run", "demo.yaml").code == 78


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


@pytest.mark.parametrize(("name", "to"), [("loop.yaml", "loop.yaml"), ("lost.yaml", "nowhere.yaml")])
def test_a_link_that_leads_nowhere_is_told_as_one(cli: Run, project: Path, name: str, to: str) -> None:
    (project / name).symlink_to(to)
    for command in ("validate", "run", "plan"):
        answer = cli(command, name)
        assert (answer.code, answer.out) == (78, "")
        assert answer.err.splitlines()[0] == (
            f"{name}: this is a link, and there is no file where it leads; found {to!r}; "
            f"point it at a pipeline file, or name that file itself"
        )


def test_a_name_that_no_file_can_have_is_a_problem_of_its_own(cli: Run) -> None:
    answer = cli("validate", "n" * 300, "demo.yaml")
    assert answer.code == 78
    assert "cannot be read: File name too long" in answer.err and "demo.yaml: pipeline 'demo' is valid" in answer.err


def test_a_pipeline_is_read_once_so_that_a_pipe_will_do(start: Start, project: Path) -> None:
    os.mkfifo(project / "pipe.yaml")
    process = start("validate", "pipe.yaml")
    (project / "pipe.yaml").write_text((project / "demo.yaml").read_text())
    assert "pipe.yaml: pipeline 'demo' is valid" in process.communicate(timeout=60)[1]


def test_a_file_that_may_not_be_read_is_a_problem_like_any_other(start: Start, project: Path) -> None:
    (project / "locked.yaml").write_text("")
    (project / "locked.yaml").chmod(0)
    (project / "closed").mkdir(mode=0)
    arguments = ("validate", "locked.yaml", "closed/x.yaml", "demo.yaml")
    python = command_line(*arguments)
    if os.access(project / "locked.yaml", os.R_OK):  # root may, unless it lays that right down
        if shutil.which("setpriv") is None:
            pytest.skip("this user may read everything")
        python = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *python]
    process = start(python=python)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 78
    assert "locked.yaml: cannot be read: Permission denied" in said
    assert "closed/x.yaml: cannot be read: Permission denied" in said
    assert "demo.yaml: pipeline 'demo' is valid" in said


STRAY = """\
    pipelines:
      dmeo: {components: {numbers: {with: {upto: 3}}}}
      elsewhere: {components: {numbers: {with: {upto: 3}}}}
      assessments: {commit: {every: 1s}}
"""


def test_overrides_for_a_pipeline_that_is_nowhere_are_a_warning(cli: Run, write: Write) -> None:
    write("config/development.yaml", STRAY)
    write("deep/below/other.yaml", '{"components": {}, "pipeline": "elsewhere"}')
    said = "no pipeline in reach is called 'dmeo', so these overrides change nothing; did you mean 'demo'?"
    answer = cli("validate", "demo.yaml", "--json")
    (warning,) = json.loads(answer.out)["warnings"]
    assert answer.code == 0
    assert (warning["file"], warning["line"], warning["column"]) == ("config/development.yaml", 2, 3)
    assert f"warning: config/development.yaml:2:3: {said}" in answer.err.splitlines()
    answer = cli("run", "demo.yaml", "--in-memory")
    assert answer.code == 0 and f"warning: config/development.yaml:2:3: {said}" in answer.err.splitlines()


def test_a_pipeline_that_cannot_be_read_is_no_suggestion_for_overrides(cli: Run, write: Write) -> None:
    write("config/development.yaml", "pipelines:\n  zzz: {commit: {every: 1s}}\n")
    write("broken.yaml", "pipeline: [\n")
    answer = cli("validate", "broken.yaml")
    assert answer.code == 78 and "change nothing; pipelines: assess, " in answer.err


def test_overrides_for_pipelines_that_are_there_are_no_warning(cli: Run, write: Write) -> None:
    write("config/development.yaml", STRAY.replace("dmeo", "demo"))
    write("deep/below/other.yaml", "# first\npipeline: 'elsewhere'\n")
    assert "warning" not in cli("validate", "demo.yaml").err
    assert "3 in" in cli("run", "demo.yaml", "--in-memory").err


def test_where_a_variable_names_a_pipeline_no_overrides_are_called_stray(cli: Run, write: Write) -> None:
    write("config/development.yaml", STRAY)
    write("other.yaml", 'pipeline: "${NAME}"\ncomponents: {}\n')
    assert "warning" not in cli("validate", "demo.yaml").err


PARTS_ONCE = """
    from collections.abc import AsyncIterator

    from autocoder import Batch, Source


    class Tap(Source[int], replayable=False):
        \"\"\"Runs by.\"\"\"

        async def read(self, resume: object, /) -> AsyncIterator[Batch[int]]:
            yield Batch([1])
"""
