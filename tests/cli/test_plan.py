"""`autocoder plan`: the graph as it will run."""

from __future__ import annotations

import json

import pytest

from autocoder.plan import duration
from tests.cli.answer import Run, Write

FULL = """
    pipeline: full
    description: Everything at once.
    components:
      numbers: {use: parts:Numbers}
      parity: {use: parts:Parity, from: numbers, on_error: {retry: {attempts: 3, backoff: 500ms, on: [OSError]}, then: stop}}
      twice: {use: parts:Double, from: {port: parity.even, capacity: 7, on_full: drop_oldest}, on_error: drop}
      same: {use: parts:Halt, from: parity.odd, concurrency: 4, ordered: false}
      both: {use: parts:Both, from: {left: twice, right: same}}
      first: {use: parts:Show, from: both}
      second: {use: parts:Show, from: {port: both, durable: true, limit: 1000}}
    commit: {every: 2s, messages: 5000}
"""


def test_regions_tasks_ports_policies_and_channels(cli: Run, write: Write) -> None:
    write("full.yaml", FULL)
    answer = cli("plan", "full.yaml")
    lines = [line.strip() for line in answer.out.splitlines()]
    assert (answer.code, answer.err) == (0, "")
    assert lines[:3] == [
        "pipeline full",
        "Everything at once.",
        "commits every 2s or 5,000 messages, whichever is first",
    ]
    assert [line for line in lines if line.startswith("region")] == [
        "region numbers (commits on its own)",
        "region second (commits on its own)",
    ]
    assert "out      even: int, odd: int" in lines
    assert "in       left: int, right: int" in lines
    assert "on error 3 attempts on OSError, pausing 500ms doubling to 30s at most; then stop the pipeline" in lines
    assert "on error drop the message" in lines
    assert "on error dead letter; what the system refuses (a full disk, no connection) stops the pipeline" in lines
    assert "at once  4 messages, outputs as they come" in lines
    assert "first  sink  parts:Show  (called by the one it takes from)" in lines
    listed = lines[lines.index("channels") + 1 : lines.index("guarantees") - 1]
    channels = {line.partition("  ")[0]: line.rpartition("int  ")[2] for line in listed}
    assert channels == {
        "numbers.out -> parity.in": "in memory, 1,024 messages, when full the producer waits",
        "parity.even -> twice.in": "in memory, 7 messages, when full drops the oldest",
        "parity.odd -> same.in": "in memory, 1,024 messages, when full the producer waits",
        "twice.out -> both.left": "in memory, 1,024 messages, when full the producer waits",
        "same.out -> both.right": "in memory, 1,024 messages, when full the producer waits",
        "both.out -> first.in": "a call, no channel",
        "both.out -> second.in": "durable, a backlog of 1,000 at most",
    }


def test_json_says_the_same(cli: Run, write: Write) -> None:
    write("full.yaml", FULL)
    data = json.loads(cli("plan", "full.yaml", "--json").out)
    assert (data["pipeline"], data["commit_every"], data["commit_messages"]) == ("full", 2.0, 5000)
    tasks = [[each["name"] for each in task["components"]] for region in data["regions"] for task in region["tasks"]]
    assert ["both", "first"] in tasks
    stops = {
        each["name"]: each["on_error"]["stops_on"]
        for region in data["regions"]
        for task in region["tasks"]
        for each in task["components"]
    }
    assert stops["first"] == ["OSError", "UnreachableError"]
    assert stops["twice"] == stops["both"] == []
    channel = next(each for each in data["channels"] if each["target"] == "twice")
    assert (channel["capacity"], channel["on_full"], channel["type"], channel["fused"]) == (
        7,
        "drop_oldest",
        "int",
        False,
    )


def test_the_guarantee_of_each_path_and_what_would_make_it_better(cli: Run, write: Write) -> None:
    write("full.yaml", FULL)
    text = cli("plan", "full.yaml").out
    guarantees = [line.strip() for line in text.partition("\nguarantees\n")[2].splitlines()]
    safe = guarantees.index("numbers -> parity -> same -> both -> first")
    assert guarantees[safe + 1].startswith("at least once: ") and guarantees[safe + 2].startswith("better: ")
    assert "until twice at most once: the channel parity.even -> twice.in drops messages when it is full" in guarantees
    data = json.loads(cli("plan", "full.yaml", "--json").out)
    paths = {(each["sink"], "twice" in each["components"]): each["guarantee"] for each in data["guarantees"]}
    assert paths == {
        ("first", False): "at least once",
        ("first", True): "at most once",
        ("second", False): "at least once",
        ("second", True): "at most once",
    }


def test_the_guarantees_of_a_run_that_keeps_nothing(cli: Run) -> None:
    data = json.loads(cli("plan", "demo.yaml", "--in-memory", "--json").out)
    assert [each["guarantee"] for each in data["guarantees"]] == ["at most once"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.1, "100ms"), (1, "1s"), (90, "1.5m"), (7200, "2h"), (86400, "1d")]
)
def test_durations_are_told_as_they_are_written(seconds: float, text: str) -> None:
    assert duration(seconds) == text
