"""The program as a whole: what it imports, how it answers mistakes, where it writes."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from autocoder import __version__
from autocoder.cli.main import COMMANDS
from autocoder.cli.main import cli as program
from tests.cli.answer import Run, Start, Write
from tests.cli.conftest import command_line

HEAVY = ("pydantic", "pydantic_core", "sqlalchemy", "rich", "anyio", "asyncio", "yaml", "autocoder.pipeline")
ASK = """
import sys
from autocoder.cli.main import execute
code = execute(sys.argv[1:])
print(",".join(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.strip().splitlines()[-1].split(","))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_help_imports_nothing_heavy_and_no_command(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert "click" in modules
    assert modules.isdisjoint(HEAVY)
    assert modules.isdisjoint(module for module, _ in COMMANDS.values())
    assert not any(each.startswith("autocoder_components") for each in modules)


def test_a_command_is_imported_when_it_is_asked_for() -> None:
    modules = imported_by("validate", "--help")
    assert "autocoder.cli.validate" in modules
    assert "autocoder.cli.init" not in modules


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_table_says_what_the_command_says(name: str) -> None:
    module, said = COMMANDS[name]
    command: click.Command = importlib.import_module(module).command
    assert command.name == name
    assert command.get_short_help_str(limit=200) == said
    assert program.get_command(click.Context(program), name) is command


def test_the_help_lists_every_command_with_its_line(cli: Run) -> None:
    answer = cli("--help")
    for name, (_, said) in COMMANDS.items():
        assert f"  {name.ljust(10)}  {said}" in answer.out
    assert "_AUTOCODER_COMPLETE=bash_source" in answer.out
    assert (answer.code, answer.err) == (0, "")


def test_without_a_command_the_help_goes_to_stderr(cli: Run) -> None:
    answer = cli()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: autocoder")


def test_the_version(cli: Run) -> None:
    assert cli("--version").out == f"autocoder, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["valdate"], "there is no command 'valdate'; did you mean 'validate'?"),
        (["run", "demo.yaml", "--databse", "x"], "--database"),
        (["run"], "Missing argument 'PIPELINE'"),
        (["graph", "demo.yaml", "--format", "png"], "'svg'"),
    ],
)
def test_a_mistake_in_the_command_is_told_with_its_cure(cli: Run, arguments: list[str], said: str) -> None:
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("command", ["run", "plan", "graph", "validate"])
def test_a_pipeline_that_is_not_there_is_invalid_configuration(cli: Run, command: str) -> None:
    for name, said in (("demo.yml", "did you mean 'demo.yaml'?"), (".", "name a pipeline file in it: demo.yaml")):
        answer = cli(command, name)
        assert answer.code == 78
        assert said in answer.err or command == "validate"


def test_commands_of_the_future_are_unknown(cli: Run) -> None:
    for name in ("top", "serve", "new", "test", "doctor"):
        assert cli(name).code == 2


def test_an_unexpected_error_is_named_and_its_traceback_is_shown_on_demand(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("autocoder.cli.plan.plan_of", broken)
    answer = cli("plan", "demo.yaml")
    assert answer.code == 1
    assert "ZeroDivisionError: of all things" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in cli("plan", "demo.yaml", "--debug").err
    assert "Traceback" in cli("--debug", "plan", "demo.yaml").err


def test_a_pipe_that_is_not_stdout_breaks_aloud(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "of a server")

    monkeypatch.setattr("autocoder.cli.plan.plan_of", broken)
    answer = cli("plan", "demo.yaml")
    assert answer.code == 1
    assert "of a server" in answer.err


def test_with_json_an_error_is_an_object_on_stdout(cli: Run) -> None:
    answer = cli("plan", "nothing.yaml", "--json")
    error = json.loads(answer.out)["error"]
    assert (error["type"], error["exit_code"], answer.code) == ("ConfigurationError", 78, 78)
    assert "nothing.yaml" in str(error["problems"])


@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_and_not_where_it_is_not_wanted(
    project: Path, variables: dict[str, str], colored: bool
) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **variables}
    with subprocess.Popen(
        [sys.executable, "-c", "from autocoder.cli.main import main; main()", "rnu"], stderr=theirs, env=environment
    ):
        os.close(theirs)
        said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "error: " in said
    assert ("\x1b[" in said) is colored


def test_a_closed_pipe_ends_the_program_quietly(start: Start) -> None:
    process = start("schema")
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_closed_pipe_changes_no_exit_code(start: Start, write: Write, command: str) -> None:
    write("wrong.yaml", "pipeline: wrong\n")
    process = start(command, "wrong.yaml", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 78
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_sink_that_prints_into_a_closed_pipe_ends_the_program_quietly(start: Start, write: Write) -> None:
    write(
        "long.yaml",
        """
        pipeline: long
        components:
          numbers: {use: parts:Numbers, with: {upto: 1000000, pause: 0.001}}
          show: {use: parts:Show, from: numbers}
        """,
    )
    process = start("run", "long.yaml")
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_quiet_end(project: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from autocoder.cli.main import main; main()", "components"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_closed_standard_streams_are_no_reason_to_fail(project: Path) -> None:
    line = f"{sys.executable} -c 'from autocoder.cli.main import main; main()' run demo.yaml >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0


def test_completion_knows_the_commands_without_importing_them(project: Path) -> None:
    environment = {**os.environ, "COMP_WORDS": "autocoder ", "COMP_CWORD": "1", "_AUTOCODER_COMPLETE": "bash_complete"}
    code = ASK.replace("code = ", "import atexit; atexit.register(lambda: print(','.join(sys.modules))); code = ")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "click" in done.stdout.splitlines()[-1].split(",")
    assert set(COMMANDS) <= {line.removeprefix("plain,") for line in done.stdout.splitlines()}
    assert "pydantic" not in done.stdout.splitlines()[-1].split(",")


class TestCommandsOfPacks:
    @pytest.fixture
    def pack(self, tmp_path: Path) -> Path:
        """A distribution with three commands, one of which cannot be loaded and one of which is none."""
        folder = tmp_path / "site"
        info = folder / "shouting-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[autocoder.commands]\nshout = shouting:shout\nmute = shouting.missing:mute\nodd = shouting:odd\n"
            "run = shouting:shout\n[autocoder.components]\nshouting = shouting\n"
        )
        (folder / "shouting").mkdir()
        (folder / "shouting" / "__init__.py").write_text(
            "import sys\nimport click\nprint('imported', file=sys.stderr)\nodd = 3\n"
            "@click.command()\n@click.argument('word')\ndef shout(word):\n    click.echo(word.upper())\n    return 7\n"
        )
        return folder

    @pytest.fixture
    def ask(self, pack: Path, start: Start) -> Callable[..., tuple[int, str, str]]:
        def asker(*arguments: str) -> tuple[int, str, str]:
            process = start(*arguments, environ={"PYTHONPATH": str(pack)})
            out, err = process.communicate()
            return process.returncode, out, err

        return asker

    def test_are_listed_with_their_pack_and_not_imported(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        code, out, err = ask("--help")
        assert (code, err) == (0, "")
        assert re.search(r"^  shout +\(from the pack shouting\)$", out, re.MULTILINE)
        assert out.count("\n  run ") == 1

    def test_run_and_give_the_exit_code(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        code, out, err = ask("shout", "hello")
        assert (code, out, err) == (7, "HELLO\n", "imported\n")

    def test_are_imported_alone(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        assert "imported" not in ask("validate", "--help")[2]

    def test_cannot_take_a_name_of_the_framework(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        code, out, _ = ask("run", "demo.yaml")
        assert (code, out.splitlines()[0]) == (0, "0")

    def test_that_cannot_be_loaded_say_so(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        code, _, err = ask("mute")
        assert code == 78
        assert "the command 'mute' (from the pack shouting) cannot be loaded: ModuleNotFoundError" in err
        assert "Traceback" not in err

    def test_that_are_none_say_so(self, ask: Callable[..., tuple[int, str, str]]) -> None:
        code, _, err = ask("odd")
        assert code == 78
        assert "is no click command, but a int" in err


def test_a_full_standard_output_is_an_error_like_another_with_json_too(project: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = command_line("components", "--json")
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert "error: the operating system refused: OSError: [Errno 28]" in answer.stderr
    assert "Traceback" not in answer.stderr
