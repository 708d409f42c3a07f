"""`autocoder dlq`: dead letters as their user finds, mends, replays and discards them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.answer import Answer, Run, Start, Write
from tests.cli.jobs import BATCH, PARTS, database_of, done
from tests.store.fresh import BOTH

Dlq = Callable[..., Answer]


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_of(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def send_and_run(cli: Run, write: Write) -> Callable[..., None]:
    """Sends numbers and runs the pipeline to the end of them."""
    write("jobparts.py", PARTS)
    write("jobs.yaml", BATCH)

    def runner(url: str, *numbers: int, token: str = "hush-hush") -> None:
        for number in numbers:
            data = json.dumps({"number": number, "token": token})
            assert cli("send", "jobs.yaml", "requests", data, "--database", url).code == 0
        answer = cli("run", "jobs.yaml", "--database", url)
        assert answer.code == 0, answer.err

    return runner


def listed(cli: Run, url: str, *arguments: str) -> list[dict[str, Any]]:
    answer = cli("dlq", "list", "--database", url, "--json", *arguments)
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)["dead_letters"]
    return found


def test_the_life_of_a_dead_letter(cli: Run, send_and_run: Callable[..., None], url: str, project: Path) -> None:
    send_and_run(url, 1, -2, 3, -4)
    assert done(project) == [1, 3]
    first, second = listed(cli, url)
    assert (first["component"], first["port"], first["error_type"]) == ("work", "in", "TimeoutError")
    answer = cli("dlq", "list", "--database", url)
    assert first["id"] in answer.out and "work.in" in answer.out and answer.err == ""
    stats = json.loads(cli("dlq", "stats", "--database", url, "--json").out)
    assert (stats["count"], stats["groups"][0]["count"]) == (2, 2)

    (project / "mended").touch()
    answer = cli("dlq", "replay", first["id"], "--database", url)
    assert (answer.code, answer.out) == (0, "") and "1 dead letter replayed" in answer.err
    again = cli("dlq", "replay", first["id"], "--database", url)
    assert again.code == 1 and "no dead letter any more, but waiting to be taken; nothing was changed" in again.err
    send_and_run(url)
    assert done(project) == [1, 3, -2]
    assert "but completed" in cli("dlq", "show", first["id"], "--database", url).err

    answer = cli("dlq", "discard", second["id"], "--reason", "a test", "--database", url)
    assert answer.code == 0 and "1 dead letter discarded" in answer.err
    assert listed(cli, url) == []
    send_and_run(url)
    assert done(project) == [1, 3, -2]


def test_secrets_stay_masked(cli: Run, send_and_run: Callable[..., None], sqlite: str) -> None:
    send_and_run(sqlite, -1)
    (letter,) = listed(cli, sqlite)
    shown = cli("dlq", "show", letter["id"], "--database", sqlite)
    data = cli("dlq", "show", letter["id"], "--database", sqlite, "--json")
    assert json.loads(data.out)["payload"] == {"number": -1, "token": "***"}
    assert '"number": -1' in shown.out
    for answer in (shown, data):
        assert "hush-hush" not in answer.out + answer.err


def test_filters_and_pages(cli: Run, send_and_run: Callable[..., None], url: str) -> None:
    send_and_run(url, -1, -2, -3)
    where = ("--where", "payload.number < -1 && error_type == 'TimeoutError' && attempts == 1 && age < 3600.0")
    assert len(listed(cli, url, *where)) == 2
    assert listed(cli, url, "--component", "done") == []
    assert len(listed(cli, url, "--error-type", "TimeoutError", "--newer-than", "1h", "--pipeline", "jobs")) == 3
    assert listed(cli, url, "--older-than", "1h") == []
    for far in ("1000000d", "99999999999999d"):  # before the first year that there is, and more than can be counted
        assert listed(cli, url, "--older-than", far) == [] and len(listed(cli, url, "--newer-than", far)) == 3
    for option in ("--component", "--pipeline", "--error-type"):
        broken = cli("dlq", "list", "--database", url, option, os.fsdecode(b"wo\xffrk"))
        assert broken.code == 2 and "holds what is no character" in broken.err
    page = json.loads(cli("dlq", "list", "--database", url, "--json", "--limit", "2").out)
    assert len(page["dead_letters"]) == 2
    (last,) = listed(cli, url, "--after", page["next"])
    assert json.loads(cli("dlq", "show", last["id"], "--database", url, "--json").out)["payload"]["number"] == -3
    answer = cli("dlq", "list", "--database", url, "--where", "payload.nmber == 1")
    assert "no dead letters" in answer.err and "cannot be evaluated over 3 dead letters" in answer.err


def test_a_bulk_says_what_it_would_do_and_stops_at_its_limit(
    cli: Run, send_and_run: Callable[..., None], url: str, project: Path
) -> None:
    send_and_run(url, *(-number for number in range(1, 7)))
    dry = cli("dlq", "replay", "--component", "work", "--limit", "2", "--dry-run", "--database", url)
    assert len(dry.out.splitlines()) == 3 and "2 dead letters would be replayed" in dry.err
    assert len(listed(cli, url)) == 6
    limited = cli("dlq", "replay", "--where", "payload.number <= -2", "--limit", "2", "--database", url, "--json")
    assert json.loads(limited.out) == {"replayed": 2, "left_alone": 0, "missing": []}
    rated = cli("dlq", "replay", "--all", "--rate", "50/s", "--database", url)
    assert "4 dead letters replayed" in rated.err
    (project / "mended").touch()
    send_and_run(url)
    assert done(project) == [-1, -2, -3, -4, -5, -6]


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_a_bulk_must_say_what_it_means(cli: Run, send_and_run: Callable[..., None], sqlite: str, verb: str) -> None:
    send_and_run(sqlite, -1)
    (letter,) = listed(cli, sqlite)
    for arguments, said in (((), "--all means every one"), ((letter["id"], "--all"), "not both")):
        answer = cli("dlq", verb, *arguments, "--database", sqlite)
        assert answer.code == 2 and said in answer.err
    assert len(listed(cli, sqlite)) == 1


def test_a_bulk_is_not_discarded_without_a_word(cli: Run, send_and_run: Callable[..., None], sqlite: str) -> None:
    send_and_run(sqlite, -1, -2)
    answer = cli("dlq", "discard", "--component", "work", "--database", sqlite)
    assert answer.code == 2 and "needs --yes" in answer.err
    assert len(listed(cli, sqlite)) == 2
    assert "2 dead letters discarded" in cli("dlq", "discard", "--all", "--yes", "--database", sqlite).err
    assert listed(cli, sqlite) == []


def test_a_payload_is_mended_field_by_field(
    cli: Run, send_and_run: Callable[..., None], url: str, project: Path
) -> None:
    send_and_run(url, -1)
    (letter,) = listed(cli, url)
    edit = ("dlq", "edit", letter["id"], "--database", url)
    wrong = cli(*edit, "--set", "number=many", "--pipeline-file", "jobs.yaml")
    assert wrong.code == 2 and "does not fit work.in: number:" in wrong.err and "hush-hush" not in wrong.err
    assert cli(*edit, "--set", "inner.number=1").code == 2
    half = cli(*edit, "--set", r'token="\ud800"')
    assert half.code == 2 and "half of a surrogate pair" in half.err, "no database takes it"
    assert cli(*edit, "--set", "number=NaN").code == 0
    shown = json.loads(cli("dlq", "show", letter["id"], "--json", "--database", url).out)
    assert shown["payload"]["number"] == "NaN", "what is no JSON is text"
    answer = cli(*edit, "--set", "number=11", "--set", "token=new", "--pipeline-file", "jobs.yaml", "--replay")
    assert answer.code == 0 and "edited" in answer.err and "replayed" in answer.err
    send_and_run(url)
    assert done(project) == [11]


def test_a_payload_comes_from_a_file_as_a_whole(
    cli: Run, send_and_run: Callable[..., None], write: Write, sqlite: str, project: Path
) -> None:
    send_and_run(sqlite, -1)
    (letter,) = listed(cli, sqlite)
    edit = ("dlq", "edit", letter["id"], "--database", sqlite, "--file")
    write("broken.json", "{number: 1}")
    assert "is no JSON" in cli(*edit, "broken.json").err
    write("nan.json", '{"number": NaN}')
    assert "is no JSON: NaN is no JSON; nothing was changed" in cli(*edit, "nan.json").err
    write("mended.json", '{"number": 12}')
    assert cli(*edit, "mended.json", "--replay").code == 0
    send_and_run(sqlite)
    assert done(project) == [12]


def test_an_editor_sees_no_secret_and_changes_none(
    cli: Run, send_and_run: Callable[..., None], write: Write, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_and_run(sqlite, -1)
    (letter,) = listed(cli, sqlite)
    edit = ("dlq", "edit", letter["id"], "--database", sqlite)
    assert "no terminal for an editor" in cli(*edit).err
    editor = write(
        "editor.py",
        """
        import os, pathlib, sys
        file = pathlib.Path(sys.argv[1])
        pathlib.Path("seen.txt").write_text(file.read_text())
        file.write_text(file.read_text().replace("-1", "5"))
        os.utime(file, (1, 9999999999))
        """,
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert cli(*edit).code == 0
    assert "hush-hush" not in Path("seen.txt").read_text()
    assert listed(cli, sqlite, "--where", "payload.number == 5 && payload.token == 'hush-hush'")


def test_two_processes_that_replay_the_same_do_it_once(
    cli: Run, start: Start, send_and_run: Callable[..., None], url: str, project: Path
) -> None:
    numbers = [-number for number in range(1, 41)]
    write = cli("send", "jobs.yaml", "requests", '{"number": 0}', "--database", url)
    assert write.code == 0
    lines = "".join(f'{{"number": {number}}}\n' for number in numbers)
    (project / "lines").write_text(lines)
    assert cli("send", "jobs.yaml", "requests", "--file", "lines", "--database", url).code == 0
    send_and_run(url)
    processes = [start("dlq", "replay", "--all", "--rate", "400/s", "--json", "--database", url) for _ in range(3)]
    answers = [json.loads(process.communicate()[0]) for process in processes]
    assert sum(each["replayed"] for each in answers) == 40
    (project / "mended").touch()
    send_and_run(url)
    assert done(project) == [0, *numbers]


def test_a_database_that_is_not_there_is_not_made(cli: Run, project: Path) -> None:
    answer = cli("dlq", "list", "--database", "sqlite:///nothing.db")
    assert answer.code == 69 and "run a pipeline first" in answer.err
    assert not (project / "nothing.db").exists()


def test_an_id_of_nothing_is_told(cli: Run, send_and_run: Callable[..., None], sqlite: str) -> None:
    send_and_run(sqlite, -1)
    unknown = "00000000-0000-8001-8000-000000000000"
    for verb in ("show", "replay", "discard"):
        answer = cli("dlq", verb, unknown, "--database", sqlite)
        assert answer.code != 0 and "no message of that id" in answer.err
    assert cli("dlq", "show", "12", "--database", sqlite).code == 2


def test_a_predicate_needs_its_library_and_says_so(cli: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel", None)
    answer = cli("dlq", "list", "--where", "true")
    assert answer.code == 2 and "pip install 'autocoder[cel]'" in answer.err
