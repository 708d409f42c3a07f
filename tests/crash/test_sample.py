"""A sample of `make crash` for every run of the tests: a few kills of each kind, and some of the seeded bugs.

In a process of its own: the failpoints are armed when the framework is imported, and lives are forked from a process
without threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)  # other tests may have the machine at the same time
ROOT = Path(__file__).parents[2]
FIVE = ("chain", "splitter", "merger", "fanout", "pool")
OTHERS = ("refused", "turns", "endings", "outside", "acknowledged", "keyed")
NOTHING = ("--random", "0", "--failpoint", "0", "--beside", "0", "--takeover", "0", "--bugs", "0", "--cancel", "0")


def crash(folder: Path, *given: str) -> dict[str, Any]:
    """Run a part of the harness; its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--report", str(folder), *given],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (report,) = folder.glob("*.json")
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_kills_leave_what_a_run_without_them_leaves(tmp_path: Path, backend: str) -> None:
    figures = crash(tmp_path, *NOTHING, "--database", backend, "--random", "20", "--failpoint", "20", *FIVE)
    kills = sum(each["kills"] for each in figures["topologies"])
    assert kills > 20, figures["topologies"]


def test_frozen_owners_lost_answers_and_several_instances(tmp_path: Path) -> None:
    figures = crash(tmp_path, *NOTHING, "--database", "postgresql", "--takeover", "1", "fanout")
    assert figures["totals"]["postgresql"]["cases"] == 4


def test_topologies_with_an_end_a_hold_or_a_world_outside(tmp_path: Path) -> None:
    figures = crash(tmp_path, *NOTHING, "--database", "sqlite", "--random", "24", *OTHERS)
    assert figures["totals"]["sqlite"]["violated"] == 0


def test_what_is_killed_beside_the_run(tmp_path: Path) -> None:
    figures = crash(tmp_path, *NOTHING, "--database", "sqlite", "--beside", "1", "chain", "pool")
    killed = figures["killed_at"]["sqlite"]
    assert {"savepoint.restoring", "replay.changed", "schema.created", "migration.done"} <= killed.keys(), killed


def test_seeded_bugs_are_caught(tmp_path: Path) -> None:
    """One of each kind; `make crash` tries them all."""
    chosen = (
        "outputs_behind",
        "sink_rows_ahead",
        "epoch_not_checked",
        "in_flight_forgotten",
        "no_rollback",
        "attempts_start_again",
    )
    figures = crash(
        tmp_path, *NOTHING, "--bugs", "12", *(f"--bug={each}" for each in chosen), "--database", "sqlite", "keyed"
    )
    assert [each["name"] for each in figures["seeded_bugs"] if not each["by"]] == []


PLANT_ALL = """
import os
from tests.crash import assessments_bugs, bugs
for module in (assessments_bugs, bugs):
    for name in module.BUGS:
        if os.fork() == 0:
            module.plant(name)
            os._exit(0)
        assert os.wait()[1] == 0, name
"""


def test_every_seeded_bug_takes_the_calls_of_what_it_breaks() -> None:
    """One that does not is caught whatever it breaks: the first call of it ends the run."""
    subprocess.run([sys.executable, "-c", PLANT_ALL], cwd=ROOT, check=True)
