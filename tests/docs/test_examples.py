"""Every example runs, by the very commands that its comment gives, and does what the comment says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
_COMMAND = re.compile(r"^(?:# {3}| {4})((?:autocoder|python) .*)$", re.MULTILINE)
PIPELINES = sorted(path for path in EXAMPLES.rglob("*.yaml") if "clients" not in path.parts)
PROGRAMS = sorted(EXAMPLES.glob("*.py"))

HELLO = [f'{{"number":{number},"square":{number * number}}}' for number in range(5)]
URGENT = [("T-101", "Ada"), ("T-105", "Grace")]
NORMAL = [("T-102", "Grace"), ("T-103", "Edsger"), ("T-106", "Edsger")]
BEST = ['{"name":"Nadia Okafor","orders":2,"euros":36.99}', '{"name":"Brandt, Ilse","orders":2,"euros":29.48}']
TOTALS = [("c1", "Nadia Okafor", 2, 3699), ("c2", "Brandt, Ilse", 2, 2948), ("c3", "Tomas Vidal", 2, 1250)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds `examples` and nothing else."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def header(path: Path) -> str:
    """The comment at the top of a pipeline, the docstring of a program."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text), clean=False) or ""
    return text[: text.index("\npipeline:") + 1]


def commands(path: Path) -> list[str]:
    return _COMMAND.findall(header(path))


def run(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command as its reader would give it, with the program of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCODER_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**kept, "PATH": path, "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("path", [*PIPELINES, *PROGRAMS], ids=lambda path: path.name)
def test_each_example_says_what_it_shows_and_how_it_is_run(path: Path) -> None:
    first = header(path).lstrip("# ").splitlines()[0]
    assert re.fullmatch(r"[A-Z].{20,}[.:,]", first), first
    assert commands(path)
    assert commands(path)[0].split()[-1 if path.suffix == ".py" else 2] == f"examples/{path.relative_to(EXAMPLES)}"


def test_the_list_of_examples_is_complete() -> None:
    rows = re.findall(
        r"^\| \[`([^`]+)`\]\(([^)]+)\) \| .+ \| `([^`]+)` \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    linked = {EXAMPLES / link: command for _, link, command in rows}
    assert set(linked) == {*PIPELINES, *PROGRAMS, EXAMPLES / "clients" / "README.md"}
    for path in (*PIPELINES, *PROGRAMS):
        assert linked[path] == commands(path)[0]


def test_hello_prints_squares(folder: Path) -> None:
    (command,) = commands(EXAMPLES / "hello.yaml")
    done = run(command, folder)
    assert done.stdout.splitlines() == HELLO
    assert "nothing new" in run(command, folder).stderr
    assert run(f"{command} --restart", folder).stdout.splitlines() == HELLO
    assert run(f"{command} --in-memory", folder).stdout.splitlines() == HELLO


def read_tickets(text: str) -> list[tuple[str, str]]:
    """Numbers and assignees; a ticket that was tried again comes later than its neighbours."""
    found = (json.loads(line) for line in text.splitlines())
    return sorted((each["number"], each["assignee"]) for each in found)


def test_tickets_are_triaged_tried_again_and_dead_letters_told(folder: Path) -> None:
    (command,) = commands(EXAMPLES / "tickets" / "tickets.yaml")
    done = run(command, folder)
    assert read_tickets(done.stdout) == URGENT
    archive = folder / "build" / "tickets" / "archive.jsonl"
    assert read_tickets(archive.read_text()) == sorted(URGENT + NORMAL)
    assert "T-104 network down again" in done.stderr
    assert re.search(r"^parse +transformer +7 +5 +1 +1 +0$", done.stderr, re.MULTILINE), done.stderr
    assert re.search(r"^assign +transformer +5 +5 +0 +0 +1$", done.stderr, re.MULTILINE), done.stderr
    run(command, folder)
    assert read_tickets(archive.read_text()) == sorted(URGENT + NORMAL), "a run that reads nothing takes nothing away"


def test_tickets_run_from_another_folder(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = run("autocoder run ../examples/tickets/tickets.yaml", elsewhere, EXAMPLES="../examples")
    assert read_tickets(done.stdout) == URGENT
    assert (elsewhere / "build" / "tickets" / "archive.jsonl").exists()


def read_totals(folder: Path) -> list[tuple[str, str, int, int]]:
    with sqlite3.connect(folder / "build" / "orders.db") as connection:
        return connection.execute("SELECT customer, name, orders, cents FROM totals ORDER BY customer").fetchall()


def test_orders_are_joined_and_added_up_in_a_table(folder: Path) -> None:
    fill, read = commands(EXAMPLES / "orders" / "orders.yaml")
    done = run(fill, folder)
    assert read_totals(folder) == TOTALS
    assert "order 1005 names the customer 'c9', whom nobody knows" in done.stderr
    assert run(read, folder).stdout.splitlines() == BEST
    assert run(read, folder).stdout.splitlines() == BEST


def test_only_the_orders_that_were_added_are_added_up(folder: Path) -> None:
    fill, _ = commands(EXAMPLES / "orders" / "orders.yaml")
    run(fill, folder)
    with (folder / "examples" / "orders" / "orders.csv").open("a") as orders:
        orders.write("1008,c3,fountain pen,1,2900\n")
    run(fill, folder)
    assert read_totals(folder) == [*TOTALS[:2], ("c3", "Tomas Vidal", 3, 4150)]


def test_the_best_customers_are_read_from_the_database_that_is_named(folder: Path) -> None:
    fill, _ = commands(EXAMPLES / "orders" / "orders.yaml")
    run(fill, folder)
    (folder / "build" / "orders.db").rename(folder / "other.db")
    (command,) = commands(EXAMPLES / "orders" / "best.yaml")
    assert run(command, folder, ORDERS_DATABASE="sqlite:///other.db").stdout.splitlines() == BEST


def test_a_program_runs_a_pipeline_in_its_own_loop(folder: Path) -> None:
    (command,) = commands(EXAMPLES / "embed.py")
    lines = run(command, folder).stdout.splitlines()
    assert lines[-1] == "5 in, 4 out, 1 dead letter"
    averages = ["cellar: 11.0", "attic: 27.0", "cellar: 11.5", "attic: 28.0"]
    assert [line for line in lines if "average" in line and "not" not in line] == [
        f"{each} °C on average" for each in averages
    ]
    assert [line for line in lines if "not averaged" in line] == [
        "not averaged: ValueError: -300.0 °C is colder than anything"
    ]
    assert not list(folder.glob("*.db*")), "without a database nothing is kept"
    assert not (folder / ".autocoder").exists()
