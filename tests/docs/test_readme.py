"""The README does what it says: its blocks are run one after the other, in a copy of the repository, as a newcomer would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from autocoder.cli.main import COMMANDS, cli, contributed
from autocoder.registry import Registry

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# (\S+\.(?:yaml|py))\n")
_SECONDS = re.compile(r"\bin \d+\.\d+ s\b")
_PROGRESS = re.compile(r"^\S+ \d+ s: .*\n", re.MULTILINE)
_UNPACKED = shutil.ignore_patterns(
    ".venv*", ".git", ".*_cache", "__pycache__", ".hypothesis", ".autocoder", "build", "dist"
)


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its fence in the README, `note` the HTML comment above it."""

    language: str
    text: str
    line: int
    note: str

    @property
    def file(self) -> str | None:
        """The file that a block is, told by its first line: `# words.py`."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def blocks(text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        body = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(found["language"], body, text.count("\n", 0, found.start("language")) + 1, found["note"] or "")


BLOCKS = list(blocks(README))


def measured(output: str) -> str:
    """Output without what differs from run to run: how long it took, and progress lines on a slow machine."""
    return _SECONDS.sub("in 0.01 s", _PROGRESS.sub("", output)).rstrip()


class Newcomer:
    """Someone at a shell who goes through the README: a folder that `cd` changes, and what the last block said."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        self._home = home
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOCODER_", "PYTEST_"))}
        # The tests of the tests would never end: `make test` runs one small file.
        self._environ = {
            **environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}",
            "ARGS": "tests/language/test_durations.py",
            "PYTEST_WORKERS": "0",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }

    def shell(self, script: str) -> tuple[int, str]:
        where = self._home / ".where"
        code, output = self._run(["bash", "-c", f"set -e\n{script}\npwd > '{where}'"])
        if code == 0:
            self.folder = Path(where.read_text().strip())
        return code, output

    def python(self, program: str) -> tuple[int, str]:
        return self._run([sys.executable, "-c", program])

    def _run(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """A copy of the repository whose `.venv` is the environment of this test, so that make finds all set up."""
    home = tmp_path / "autocoder"
    shutil.copytree(ROOT, home, ignore=_UNPACKED)
    (home / ".venv").mkdir()
    for each in Path(sys.prefix).iterdir():
        if not each.name.startswith("."):
            (home / ".venv" / each.name).symlink_to(each)
    for stamp in (".python", ".core", ".test"):
        (home / ".venv" / stamp).touch()
    return Newcomer(home)


@pytest.mark.timeout(300)
def test_every_block_does_what_it_says(newcomer: Newcomer) -> None:
    output = ""
    for block in BLOCKS:
        where = f"README.md:{block.line}"
        if block.note:
            continue  # judged below
        if block.language == "text":
            assert measured(output) == measured(block.text), f"{where}: the output shown is another one"
            continue
        if block.file is not None:
            (newcomer.folder / block.file).write_text(block.text, encoding="utf-8")
            if block.language == "yaml":
                code, said = newcomer.shell(f"autocoder validate {block.file}")
                assert code == (78 if block.file == "broken.yaml" else 0), f"{where}: {said}"
            continue
        code, output = newcomer.shell(block.text) if block.language == "bash" else newcomer.python(block.text)
        assert code == 0, f"{where}: left with {code}:\n{output}"


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "yaml", "python", "text"}
    for before, block in zip([None, *BLOCKS], BLOCKS, strict=False):
        if block.language == "yaml":
            assert block.file, f"README.md:{block.line}: a pipeline begins with the name of its file: # name.yaml"
        if block.language == "text":
            assert before and before.language in ("bash", "python"), f"README.md:{block.line}: the output of what?"
    commands = "\n".join(block.text for block in BLOCKS if block.language in ("bash", "python") and not block.file)
    unused = [block.file for block in BLOCKS if block.language == "yaml" and f"{block.file}" not in commands]
    assert not unused


def test_the_wheel_is_built_and_installed_by_the_gate() -> None:
    (block,) = (each for each in BLOCKS if each.note)
    assert block.note == "run by .ci/run"
    gate = (ROOT / ".ci" / "run").read_text()
    assert block.text.splitlines() == ["make wheel", 'pip install "$(ls dist/*.whl)[all]"']
    assert "\nmake wheel\n" in gate
    assert "\nwheel=$(ls dist/*.whl)\n" in gate
    assert 'pip install --quiet "$wheel[all]"\n' in gate


def test_the_extras_are_those_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sentence = re.search(r"name the extras you want: (.*?)\.", README, re.DOTALL)
    assert sentence
    assert set(re.findall(r"`(\w+)`", sentence[1])) - {"flow"} == set(package["optional-dependencies"]) - {
        "test",
        "lint",
        "bench",
    }
    assert f"autocoder, version {package['version']}\n" in README
    assert "Python 3.11 or newer" in README
    assert package["requires-python"] == ">=3.11"


def table_under(heading: str) -> list[str]:
    """The rows of the table below a heading, as they are written."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_table_of_components_is_the_registry() -> None:
    registry = Registry.installed()
    rows = []
    for name in registry.names():
        component = registry.get(name)
        if component.__module__.startswith("autocoder_components."):
            first = " ".join((component.__doc__ or "").partition("\n\n")[0].split()).replace("|", "\\|")
            rows.append(f"| `{name}` | {component.kind} | {first} |")
    assert table_under("Components") == rows


def test_the_table_of_commands_is_the_program() -> None:
    listed = {name: text for name, (_, text) in COMMANDS.items()}
    for name in sorted(contributed()):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        listed[name] = command.get_short_help_str(200)
    assert table_under("Commands") == [f"| `{name}` | {text} |" for name, text in listed.items()]


def test_the_exit_codes_are_those_of_the_help() -> None:
    told = re.search(r"Exit codes: .*?\.\n", README, re.DOTALL)
    assert told
    assert " ".join(told[0].split()) in " ".join((cli.epilog or "").split())


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:examples|config|build)/[\w./-]+)`", README):
        assert path.startswith("build/") or (ROOT / path).exists(), path


NUMBERS = """
pipeline: numbers
components:
  numbers: {use: flow.Generate, with: {count: 3000, per_second: 1500, value: "{'number': i}"}}
  table: {use: sql.Insert, from: numbers, with: {table: numbers, create_table: true}}
commit: {every: 20ms}
"""


def rows_in(database: Path) -> list[int]:
    """The numbers that were committed so far, in order of their arrival."""
    try:
        with sqlite3.connect(database, timeout=30) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY rowid")]
    except sqlite3.OperationalError:  # no table yet
        return []


@pytest.mark.timeout(300)
def test_a_killed_run_is_gone_on_with_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "numbers.yaml").write_text(NUMBERS)
    database = tmp_path / "numbers.db"
    program = "from autocoder.cli.main import main; main()"
    command = [sys.executable, "-c", program, "run", "numbers.yaml", "--database", f"sqlite:///{database}"]
    killed = 0
    for _ in range(2):
        before = len(rows_in(database))
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and len(rows_in(database)) <= before:
                time.sleep(0.01)
            run.kill()
        killed += run.returncode == -signal.SIGKILL
    assert killed, "each run came to its end before it could be killed"
    assert len(rows_in(database)) < 3000
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert rows_in(database) == list(range(3000))


ENDLESS = NUMBERS.replace("count: 3000, ", "")


@pytest.mark.timeout(300)
def test_a_second_instance_is_refused_or_waits(tmp_path: Path) -> None:
    (tmp_path / "numbers.yaml").write_text(ENDLESS)
    database = tmp_path / "numbers.db"
    program = "from autocoder.cli.main import main; main()"
    command = [sys.executable, "-c", program, "run", "numbers.yaml", "--database", f"sqlite:///{database}"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and not rows_in(database):
            time.sleep(0.01)
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        with subprocess.Popen([*command, "--wait"], cwd=tmp_path, stderr=subprocess.DEVNULL) as third:
            first.terminate()
            assert first.wait() == 0
            there = len(rows_in(database))
            while third.poll() is None and len(rows_in(database)) <= there:
                time.sleep(0.01)
            third.terminate()
            assert third.wait() == 0
    assert (second.returncode, second.stdout) == (69, "")
    assert rows_in(database) == list(range(len(rows_in(database))))


POLICIES = """
pipeline: policies
components:
  numbers: {use: flow.Generate, with: {count: 3}}
  halves: {use: flow.Map, from: numbers, with: {value: 6 / payload}%s}
  show: {use: console.Print, from: halves}
"""


def run_with_policy(folder: Path, policy: str) -> subprocess.CompletedProcess[str]:
    program = "from autocoder.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "run", "-", "--database", "sqlite:///kept.db"],
        input=POLICIES % policy,
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )


def test_a_failed_message_becomes_a_dead_letter_that_is_told_counted_and_kept(tmp_path: Path) -> None:
    done = run_with_policy(tmp_path, "")
    assert (done.returncode, done.stdout) == (0, "6\n3\n")
    assert "'halves'" in done.stderr
    assert "division by zero" in done.stderr.lower() or "divide by zero" in done.stderr.lower()
    assert "3 in, 2 out, 1 dead letter\n" in done.stderr
    with sqlite3.connect(tmp_path / "kept.db") as connection:
        (kept,) = connection.execute("SELECT count(*) FROM dead_letter_queue").fetchone()
    assert kept == 1


def test_on_error_says_otherwise(tmp_path: Path) -> None:
    written = re.search(r"`on_error: (\{retry: .*?\})`", " ".join(README.split()))
    assert written
    (tmp_path / "drop").mkdir()
    dropped = run_with_policy(tmp_path / "drop", ", on_error: drop")
    assert (dropped.returncode, dropped.stdout) == (0, "6\n3\n")
    assert "0 dead letters" in dropped.stderr
    (tmp_path / "stop").mkdir()
    assert run_with_policy(tmp_path / "stop", ", on_error: stop").returncode == 1
    (tmp_path / "retry").mkdir()
    retried = run_with_policy(tmp_path / "retry", f", on_error: {written[1].replace('1s', '1ms')}")
    assert retried.returncode == 0
    assert re.search(r"^halves +transformer +3 +2 +0 +1 +2$", retried.stderr, re.MULTILINE), retried.stderr
