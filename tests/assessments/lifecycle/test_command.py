"""`autocoder assessments`: what each command says and does, and its exit codes, on both databases."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.rules import RULE_PACK

from autocoder.cli.main import execute
from tests.assessments.conftest import ROOTED, SOUND, UNPINNED, Answer, servers, write
from tests.assessments.lifecycle.shipped import serve

pytestmark = pytest.mark.anyio
Cli = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def cli(machine: Path, url: str, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs `autocoder assessments` in a thread of this process, on the database of the test."""

    async def runner(command: str, *arguments: str, database: str = url) -> Answer:
        capfd.readouterr()
        words = ["assessments", command, *arguments, "--database", database]
        code = await anyio.to_thread.run_sync(execute, words)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return runner


async def test_a_life_by_commands(cli: Cli, url: str, machine: Path) -> None:
    made = await cli("create", "--id", "one", "--path", "x", "--priority", "2", "--server", "git*")
    assert (made.code, made.out) == (0, "one\n"), made.err
    assert (await cli("create", "--id", "one", "--path", "x", "--priority", "2", "--server", "git*")).code == 0
    shown = (await cli("show", "one", "--json")).json()
    assert (shown["state"], shown["priority"], shown["server_name"]) == ("pending", 2, "git*")
    assert shown["request"]["paths"] == [str(machine / "x")]
    listed = (await cli("list", "--state", "pending", "--json")).json()
    assert ([each["assessment_id"] for each in listed["assessments"]], listed["next"]) == (["one"], None)
    assert listed["assessments"][0].keys().isdisjoint({"request", "result"})
    async with open_store(url) as store:
        await store.start_processing("one")
        await store.fail("one", "the disk is full", retryable=False)
    failed = await cli("wait", "one")
    assert failed.code == 1
    assert "the disk is full" in failed.out
    again = await cli("retry", "--all-failed")
    assert (again.code, again.err) == (0, "1 assessment waiting for the next attempt\n")
    assert (await cli("cancel", "one", "--reason", "enough")).code == 0
    trail = (await cli("audit", "one", "--json")).json()["entries"]
    assert [each["change_action"] for each in trail] == ["create", "start", "fail", "retry", "cancel"]
    assert trail[-1]["change_reason"] == "enough"
    assert trail[-1]["changed_by"].startswith("cli:")
    stats = (await cli("stats", "--json")).json()
    assert (stats["total_assessments"], stats["by_state"]["cancelled"]) == (1, 1)
    assert (await cli("health", "--json")).json()["status"] == "healthy"
    assert (await cli("cleanup", "--retention-days", "0")).err == "1 assessment deleted\n"
    assert (await cli("list")).err == "no assessments\n"


async def test_relative_paths_are_those_of_the_folder_where_they_were_asked_for(cli: Cli, machine: Path) -> None:
    """The service works in another one."""
    paths = {"paths": ["a/b", "/c"]}
    for request in (paths, {"options": paths}):
        (machine / "requests.jsonl").write_text(json.dumps(request))
        made = await cli("create", "--file", "requests.jsonl")
        shown = (await cli("show", made.out.strip(), "--json")).json()
        assert shown["request"]["paths"] == [str(machine / "a/b"), "/c"]
    made = await cli("create", "--path", "a/b", "--path", "/c", "--path", "~who-is-that/x")
    shown = (await cli("show", made.out.strip(), "--json")).json()
    assert shown["request"]["paths"] == [str(machine / "a/b"), "/c", str(machine / "~who-is-that/x")]


async def test_the_environment_limits_the_time_and_says_how_often_it_is_retried(cli: Cli, machine: Path) -> None:
    (machine / "pyproject.toml").write_text("")
    (machine / "config").mkdir()
    (machine / "config" / "development.yaml").write_text("assessments: {timeout: 20s, max_retries: 1}\n")
    for request, timeout, retries in (({}, 20, 1), ({"timeout": 5, "max_retries": 2}, 5, 2), ({"timeout": 60}, 20, 1)):
        (machine / "requests.jsonl").write_text(json.dumps(request))
        made = await cli("create", "--file", "requests.jsonl")
        assert made.code == 0, made.err
        shown = (await cli("show", made.out.strip(), "--json")).json()
        assert (shown["timeout_seconds"], shown["max_retries"]) == (timeout, retries)
    made = await cli("create", "--timeout", "0.1m")
    assert (await cli("show", made.out.strip(), "--json")).json()["timeout_seconds"] == 6


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "\udcff"), 1),
        (("audit", "\udcff"), 0),
        (("audit", "--by", "\udcff"), 0),
        (("audit", "--after", "9" * 30), 2),
        (("list", "--server", "\udcff"), 0),
        (("stats", "--window", "inf"), 2),
        (("stats", "--window", "nan"), 2),
        (("cleanup", "--retention-days", "nan"), 2),
        (("cleanup", "--audit-days", "1e300"), 2),
        (("wait", "one", "--timeout", "nan"), 2),
        (("wait", "one", "--timeout", "-1"), 2),
        (("retry", "--all-failed", "--max-retries", "9" * 30), 0),
        (("cancel", "one", "--reason", "not \udcff needed"), 0),
    ],
)
async def test_no_word_of_a_shell_is_an_unexpected_error(cli: Cli, words: tuple[str, ...], code: int) -> None:
    assert (await cli("create", "--id", "one", "--path", "x")).code == 0
    answered = await cli(*words)
    assert answered.code == code, answered.err
    assert "unexpected" not in answered.err


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_what_is_wrong_is_told_with_its_exit_code(cli: Cli, machine: Path) -> None:
    async def refused(code: int, said: str, *words: str) -> None:
        answer = await cli(*words)
        assert (answer.code, answer.out) == (code, ""), answer
        assert said in answer.err

    await refused(1, "there is no assessment 'nobody'", "show", "nobody")
    await refused(1, "there is no assessment 'nobody'", "cancel", "nobody")
    await refused(2, "priority: Input should be less than or equal to 10", "create", "--priority", "11")
    await refused(2, "type: Input should be", "create", "--type", "nonsense")
    await refused(2, "id: String should have at most 255 characters", "create", "--id", "x" * 300)
    await refused(2, "name the assessments to retry", "retry")
    await refused(2, "--max-retries is for --all-failed", "retry", "one", "--max-retries", "3")
    await refused(2, "paths.1: ", "create", "--path", ".", "--path", "")
    await refused(2, "is no time", "list", "--since", "yesterday")
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        await refused(2, "is no time", "list", "--since", moment)
    await refused(2, "no page ended with 'x'", "list", "--after", "x")
    for number in ("nan", "inf", "1e300"):
        await refused(2, "'--window': ", "stats", "--window", number)
        await refused(2, "'--retention-days': ", "cleanup", "--retention-days", number)
    for option in (("create", "--timeout"), ("create", "--wait-timeout"), ("wait", "one", "--timeout")):
        for duration in ("1y", "-1", "nan"):
            await refused(2, f"'{option[-1]}': {duration!r}: must be a duration such as", *option, duration)
    await refused(2, "after: a number from ", "audit", "--after", str(2**70))
    await refused(1, "there is no assessment 'a\\udcff'", "show", "a\udcff")
    assert (await cli("create", "--id", "one")).code == 0
    await refused(2, "id: the assessment 'one' is there already", "create", "--id", "one", "--priority", "1")
    await refused(1, "is still pending after 0 s; it goes on", "wait", "one", "--timeout", "0")
    await refused(1, "is pending (version 1) and cannot become", "retry", "one")
    answer = await cli("show", "nobody", "--json")
    assert (answer.code, answer.json()["error"]["type"]) == (1, "AssessmentNotFoundError")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_database_that_is_not_there_is_69(cli: Cli) -> None:
    answer = await cli("list", database="postgresql://nobody@127.0.0.1:1/none")
    assert answer.code == 69
    assert "cannot be opened" in answer.err


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_requests_of_a_file_are_stored_all_or_none(cli: Cli, machine: Path) -> None:
    def written(*requests: Any) -> str:
        lines = (each if isinstance(each, str) else json.dumps(each) for each in requests)
        (machine / "requests.jsonl").write_text("\n".join(lines))
        return "requests.jsonl"

    deep = "[" * 100_000
    for wrong, said in (
        ("{", "requests.jsonl:2: no JSON"),
        (deep, "requests.jsonl:2: no JSON"),
        ('{"priority": 1, "priority": 2}', "requests.jsonl:2: no JSON ('priority' stands in one object twice)"),
        ({"priority": 0}, "requests.jsonl:2: the request cannot be stored: priority: "),
        ([], "requests.jsonl:2: the request cannot be stored: request: "),
    ):
        answer = await cli("create", "--file", written({"id": "a"}, wrong))
        assert answer.code == 2 and said in answer.err
        assert (await cli("list", "--json")).json()["assessments"] == []
    both = written('{"id": "a", "paths": ["x\u2028y"]}', "", {"id": "b", "options": {"includeDetails": False}})
    answer = await cli("create", "--file", both, "--json")
    assert answer.json() == {"created": ["a", "b"]}
    assert (await cli("create", "--file", "requests.jsonl", "--priority", "1")).code == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_pages_and_what_is_never_shown(cli: Cli, machine: Path) -> None:
    secret = {"id": "b", "candidates": [{"text": "sk-very-secret", "name": "given"}]}
    (machine / "requests.jsonl").write_text(f'{{"id": "a"}}\n{json.dumps(secret)}')
    await cli("create", "--file", "requests.jsonl")
    first = await cli("list", "--limit", "1", "--json")
    assert [each["assessment_id"] for each in first.json()["assessments"]] == ["b"]
    second = await cli("list", "--limit", "1", "--after", first.json()["next"], "--json")
    assert [each["assessment_id"] for each in second.json()["assessments"]] == ["a"]
    for words in (("show", "b"), ("show", "b", "--json"), ("list", "--json"), ("audit", "b", "--json")):
        answer = await cli(*words)
        assert answer.code == 0 and "very-secret" not in answer.out
    assert (await cli("show", "b", "--json")).json()["request"]["candidates"] == [{"name": "given"}]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_to_create_and_wait_gives_the_verdict(cli: Cli, url: str) -> None:
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await cli("create", "--id", "one", "--wait", "--json"))

    async with open_store(url) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not (await store.list_assessments()).assessments:
            await anyio.sleep(0.01)
        await store.start_processing("one")
        await store.complete("one", {"score": {"value": 7, "counts": {"high": 2}}})
    (answer,) = answers
    assert answer.code == 0
    assert answer.json()["assessments"][0]["result"]["score"]["value"] == 7
    assert "7 (2 high), coverage unknown, rules unknown" in (await cli("show", "one")).out


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_an_export_is_taken_over_and_what_is_refused_is_told_by_line(cli: Cli, machine: Path) -> None:
    good = {"id": "old", "status": "completed", "createdAt": "2025-06-01T10:00:00Z", "result": {"overallScore": 7}}
    (machine / "export.jsonl").write_text(f"{json.dumps(good)}\n{{\n")
    answer = await cli("import", "export.jsonl")
    assert answer.code == 1
    assert "export.jsonl:2: no JSON" in answer.err
    assert "2 assessments read: 1 taken over, 0 there already, 1 refused" in answer.err
    again = (await cli("import", "export.jsonl", "--json")).json()
    assert (again["imported"], again["known"], [each["line"] for each in again["refused"]]) == (0, 1, [2])
    assert (await cli("show", "old", "--json")).json()["result"] == {"overallScore": 7}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_what_was_not_judged_or_counts_differently_is_told_apart_from_what_is_gone(
    cli: Cli, url: str, machine: Path
) -> None:
    write(machine / ".mcp.json", servers(a=UNPINNED, b=ROOTED))
    asked: dict[str, dict[str, Any]] = {
        "one": {},
        "narrow": {"checkSecurity": False},
        "another": {"serverFilter": ["B"]},
        "health": {"type": "health", "checkServerStatus": False},
    }
    async with open_store(url) as store:
        await store.batch_create([{"id": name, "paths": ["."], **more} for name, more in asked.items()])
        await serve(url)
        whole = dict((await store.get_state("one")).result or {})
        whole["findings"] = [{**whole["findings"][0], "waived": True}, *whole["findings"][1:]]
        await store.create({"id": "waived"})
        await store.start_processing("waived")
        await store.complete("waived", whole)

    async def compared(one: str, other: str) -> tuple[int, list[str], str]:
        answer = await cli("compare", one, other)
        *told, last = answer.out.splitlines()
        return answer.code, told, last

    for name in ("narrow", "health"):
        code, told, last = await compared("one", name)
        assert code == 1
        assert len(told) == 2 and all(each.startswith("? ") and each.endswith(" (no longer judged)") for each in told)
        assert last.endswith("findings: 0 new, 0 gone, 0 the same, 2 no longer judged")
    _, told, last = await compared("one", "narrow")
    assert "coverage 100 % → " in last
    _, (told_one,), last = await compared("one", "another")
    assert "  a  " in told_one and last.endswith("findings: 0 new, 0 gone, 1 the same, 1 no longer judged")
    code, told, last = await compared("one", "waived")
    assert (code, len(told)) == (1, 1) and told[0].endswith(" (newly waived)")
    assert last.endswith("findings: 0 new, 0 gone, 2 the same, 1 newly waived")
    _, told, last = await compared("waived", "one")
    assert told[0].startswith("~ ") and last.endswith("2 the same, 1 waived no longer")
    shown = (await cli("show", "narrow")).out
    assert f" checks), rules {RULE_PACK}" in shown and ", coverage " in shown


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_two_verdicts_are_compared_finding_by_finding(cli: Cli, url: str, machine: Path) -> None:
    async with open_store(url) as store:
        for name, written in (("one", servers(a=UNPINNED, b=ROOTED)), ("two", servers(a=SOUND, b=ROOTED, c=UNPINNED))):
            write(machine / ".mcp.json", written)
            await store.create({"id": name, "paths": ["."]})
            await serve(url)
        await store.create({"id": "waits"})
        await store.create({"id": "old"})
        await store.start_processing("old")
        await store.complete("old", {"overallScore": 7})
        await store.create({"id": "older"})
        await store.start_processing("older")
        await store.complete("older", {"findings": [{"title": "a"}, {"title": "b"}]})
    same = await cli("compare", "one", "one", "--json")
    assert (same.code, same.json()["new"], same.json()["gone"]) == (0, [], [])
    assert same.json()["same"] == 2
    changed = await cli("compare", "one", "two")
    assert changed.code == 1
    lines = changed.out.splitlines()
    assert [(line[0], line.split()[3]) for line in lines[:-1]] == [("+", "c"), ("-", "a")]
    assert lines[-1].endswith(f", coverage 100 %, rules {RULE_PACK}; findings: 1 new, 1 gone, 1 the same")
    nameless = "its findings have no fingerprints, as an older system's; assess it again"
    for name, why in (("waits", "it is pending"), ("old", "its result holds no findings"), ("older", nameless)):
        refused = await cli("compare", "one", name)
        assert refused.code == 1
        assert f"assessment '{name}' cannot be compared: {why}" in refused.err


ODD: list[dict[str, Any]] = [
    {"outcomes": 5, "targets": 5},
    {
        "outcomes": [7, {"findings": 5, "file": ["x"], "server": {}, "status": []}],
        "targets": [{"file": ["x"], "server": {}}],
    },
    {"outcomes": [{"findings": ["x"], "file": "f", "server": 1, "check": "c"}], "score": {"counts": [1]}},
]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("odd", ODD)
async def test_what_an_older_system_left_in_a_result_breaks_no_comparison(
    cli: Cli, url: str, odd: dict[str, Any]
) -> None:
    async with open_store(url) as store:
        for name, found in (("one", [{"fingerprint": "x"}]), ("two", [])):
            await store.create({"id": name, "server_filter": ["a"]})
            await store.start_processing(name)
            await store.complete(name, {"findings": found, **odd})
    answer = await cli("compare", "one", "two")
    assert answer.code == 1
    assert answer.out.splitlines()[-1].endswith(
        ("0 new, 1 gone, 0 the same", "0 new, 0 gone, 0 the same, 1 no longer judged")
    )
    assert (await cli("show", "one")).code == 0
