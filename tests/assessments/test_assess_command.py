"""`autocoder assess` as its users have it: people at a terminal, gates, and programs that read its output."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components.assessments.model import Request
from autocoder_components.assessments.reports.json_report import json_schema
from autocoder_components.assessments.tables import last_run_fingerprints, metadata
from jsonschema import Draft202012Validator
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.assessments.conftest import COMMAND, ROOTED, SOUND, UNPINNED, Assess, Start, servers, write

EXAMPLES = Path(__file__).parents[2] / "examples" / "clients"


class TestExitCodes:
    def test_0_whatever_was_found(self, machine: Path, assess: Assess) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        answer = assess()
        assert answer.code == 0
        assert "HIGH      AC-511  a  .mcp.json:" in answer.out

    @pytest.mark.parametrize(
        ("severity", "code"), [("critical", 0), ("high", 1), ("medium", 1), ("low", 1), ("info", 1)]
    )
    def test_1_when_the_gate_is_closed(self, machine: Path, assess: Assess, severity: str, code: int) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        answer = assess("--fail-on", severity)
        assert answer.code == code
        assert (f"the gate is closed: 1 finding of severity {severity} or worse" in answer.err) is bool(code)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--fail-on", "worst"],
            ["--format", "pdf"],
            ["--report", "pdf"],
            ["--nope"],
            ["--no-reports", "--report", "html"],
        ],
    )
    def test_2_for_usage(self, assess: Assess, arguments: list[str]) -> None:
        answer = assess(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "--help` says more" in answer.err

    def test_errors_are_json_too_where_that_is_asked_for(self, assess: Assess) -> None:
        both = assess("--json", "--format", "table")
        assert (both.code, both.json()["error"]["exit_code"]) == (2, 2)
        missing = assess("--json", "--baseline", "nowhere.json")
        assert (missing.code, missing.json()["error"]["exit_code"]) == (78, 78)

    def test_69_for_a_database_that_is_not_there(self, machine: Path, assess: Assess) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        answer = assess("--database", "postgresql://u:hunter2hunter2@127.0.0.1:1/none")
        assert (answer.code, answer.out) == (69, "")
        assert "127.0.0.1" in answer.err
        assert "hunter2" not in answer.err
        assert not (machine / "assessment").exists()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--id", "x" * 300], "must have at most 255 characters"),
            (["--id", "a\nb"], "visible characters"),
            ([""], "a path must not be empty"),
            (["--baseline", "nowhere.json"], "nowhere.json: there is no such baseline file"),
            (["--database", "mysql://u@127.0.0.1/x"], "not supported: mysql"),
            (["--env", "nowhere"], "nowhere"),
        ],
    )
    def test_78_for_a_wrong_configuration(self, assess: Assess, arguments: list[str], said: str) -> None:
        answer = assess(*arguments)
        assert (answer.code, answer.out) == (78, "")
        assert said in answer.err
        assert "--debug" not in answer.err

    def test_1_when_nothing_at_all_could_be_assessed(self, machine: Path, assess: Assess) -> None:
        answer = assess("nowhere.json", "--write-baseline", "known.json")
        assert answer.code == 1
        assert "nowhere.json (config): cannot be read: No such file or directory" in answer.out
        assert "error: nothing could be assessed" in answer.err
        assert not (machine / "known.json").exists()

    @pytest.mark.parametrize("arguments", [[".mcp.json", "nowhere.json"], [".", "--server", "typo"]])
    def test_a_gate_is_no_pass_for_what_was_not_there(
        self, machine: Path, assess: Assess, arguments: list[str]
    ) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        assert assess(*arguments).code == 0
        answer = assess(*arguments, "--fail-on", "critical")
        assert answer.code == 1
        assert "asked for could not be made" in answer.err

    @pytest.mark.parametrize(("gate", "code"), [("high", 1), ("critical", 0)])
    @pytest.mark.parametrize("form", ["table", "json"])
    def test_a_reader_that_leaves_changes_no_exit_code(
        self, machine: Path, start: Start, gate: str, code: int, form: str
    ) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        process = start(COMMAND, "assess", "--fail-on", gate, "--format", form)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait() == code
        assert ("the gate is closed: 1 finding of severity high" in said) is bool(code)
        assert "Traceback" not in said

    def test_a_user_that_does_not_exist_is_a_path_that_leads_nowhere(self, machine: Path, assess: Assess) -> None:
        write(machine / ".mcp.json", servers(a=SOUND))
        answer = assess("~no-such-user/x", ".mcp.json")
        assert answer.code == 0
        assert "~no-such-user/x (config)" in answer.out


class TestOutput:
    @pytest.fixture(autouse=True)
    def clients(self, machine: Path) -> None:
        shutil.copytree(EXAMPLES, machine / "clients")

    def test_json_is_one_document_of_the_published_shape(self, assess: Assess) -> None:
        answer = assess("clients", "--format", "json")
        document = answer.json()
        Draft202012Validator(json_schema()).validate(document)
        assert len(document["findings"]) >= 10
        assert answer.out.endswith("}\n")

    def test_sarif_is_one_document(self, assess: Assess) -> None:
        document = assess("clients", "--format", "sarif").json()
        assert document["version"] == "2.1.0"
        assert len(document["runs"][0]["results"]) >= 10

    def test_html_is_one_document(self, assess: Assess) -> None:
        out = assess("clients", "--format", "html").out
        assert out.startswith("<!DOCTYPE html>")
        assert out.endswith("</html>\n")
        assert out.count("<html") == 1
        html.parser.HTMLParser().feed(out)

    def test_none_is_nothing(self, assess: Assess) -> None:
        answer = assess("clients", "--format", "none")
        assert answer.out == ""
        assert "report: assessment/report.html" in answer.err

    @pytest.mark.parametrize("form", ["table", "json", "sarif", "html"])
    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
    def test_it_arrives_whatever_the_locale(self, start: Start, form: str, encoding: str) -> None:
        process = start(
            COMMAND,
            *("assess", "clients", "--no-reports", "--format", form),
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        out, err = process.communicate()
        assert process.returncode == 0, err
        if form in ("json", "sarif"):
            json.loads(out.decode("utf-8"))
        assert b"AC-514" in out.replace(b"\0", b"")

    def test_a_file_holds_what_stdout_shows(self, machine: Path, assess: Assess) -> None:
        out = assess("clients", "--format", "json", "--report", "json").out
        assert (machine / "assessment" / "report.json").read_text() == out

    def test_no_reports_writes_none(self, machine: Path, assess: Assess) -> None:
        answer = assess("clients", "--no-reports")
        assert not (machine / "assessment").exists()
        assert "report" not in answer.err

    def test_plain_where_there_is_no_terminal(self, assess: Assess) -> None:
        answer = assess("clients")
        assert "\x1b" not in answer.out + answer.err
        assert max(map(len, answer.out.splitlines())) <= 100

    def test_only_the_servers_that_are_asked_for(self, assess: Assess) -> None:
        document = assess("clients", "--server", "Containers", "--server", "price-*", "--format", "json").json()
        assert {each["server"] for each in document["targets"]} == {None, "containers", "price-watch"}
        assert {each["server"] for each in document["findings"]} <= {None, "containers", "price-watch"}

    def test_help_says_what_it_returns(self, assess: Assess) -> None:
        answer = assess("--help")
        for word in ("Exit codes:", "Examples:", "--fail-on", "Nothing", "Ctrl-C"):
            assert word in answer.out
        assert max(map(len, answer.out.splitlines())) <= 100


class TestPlaces:
    def test_an_empty_machine_is_pointed_to_the_examples(self, assess: Assess) -> None:
        answer = assess()
        assert answer.code == 0
        assert "no score" in answer.out
        assert "autocoder assess examples/clients" in answer.err

    def test_an_empty_folder_is_called_so(self, machine: Path, assess: Assess) -> None:
        (machine / "empty").mkdir()
        answer = assess("empty")
        assert (answer.code, "No client configuration was found there." in answer.err) == (0, True)

    def test_by_default_the_users_clients_and_the_working_folder(self, machine: Path, assess: Assess) -> None:
        write(machine.parent / "home" / ".cursor" / "mcp.json", servers(mine=SOUND))
        write(machine / "project" / ".mcp.json", servers(ours=SOUND))
        document = assess("--format", "json").json()
        assert {(each["file"], each["server"]) for each in document["targets"] if each["server"]} == {
            ("~/.cursor/mcp.json", "mine"),
            ("project/.mcp.json", "ours"),
        }

    @pytest.mark.parametrize(
        "name",
        ["a$HOME", "${HOME}", "${X:?no}", "$$", "with space", "new\nline", "ünï 日本", "-", "#x", "{a}", "%s", "*"],
    )
    def test_a_path_is_taken_as_it_is_written(self, machine: Path, assess: Assess, name: str) -> None:
        write(machine / name / ".mcp.json", servers(a=ROOTED))
        output, known = f"out {name}", f"known {name}.json"
        answer = assess("--format", "json", "--output", output, "--write-baseline", known, "--", f"./{name}")
        assert answer.code == 0, answer.err
        assert [each["rule"] for each in answer.json()["findings"]] == ["AC-511"]
        assert len(list((machine / output).iterdir())) == 2
        assert assess("--fail-on", "info", "--baseline", known, "--no-reports", "--", f"./{name}").code == 0

    def test_a_name_that_is_no_text_is_a_path_as_well(self, machine: Path, assess: Assess) -> None:
        name = os.fsdecode(b"caf\xe9.json")
        write(machine / name, servers(a=ROOTED))
        answer = assess(name, "--format", "json")
        assert answer.code == 0, answer.err
        assert [each["file"] for each in answer.json()["findings"]] == ["caf\\udce9.json"]


class TestBaseline:
    def test_only_what_is_new_closes_the_gate(self, machine: Path, assess: Assess) -> None:
        path = write(machine / ".mcp.json", servers(a=ROOTED))
        written = assess("--write-baseline", "known.json", "--fail-on", "info")
        assert written.code == 1
        assert "baseline: known.json, 1 finding" in written.err
        calm = assess("--baseline", "known.json", "--fail-on", "info")
        assert calm.code == 0
        assert "0 new since known.json" in calm.out
        write(path, servers(b=UNPINNED, a=ROOTED))
        closed = assess("--baseline", "known.json", "--fail-on", "info")
        assert closed.code == 1
        assert "the gate is closed: 1 new finding of severity info or worse" in closed.err
        assert "AC-401 new" in closed.out
        assert assess("--baseline", "known.json", "--fail-on", "high").code == 0

    def test_another_machine_with_the_same_files_knows_it_too(
        self, machine: Path, assess: Assess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret = {"command": "x", "env": {"API_KEY": "sk-live-8f3kQ0zP2mXv7LwTqN4c"}}
        write(machine / ".mcp.json", servers(a=secret, b=UNPINNED))
        assess("--write-baseline", "known.json")
        other = machine.parent / "other"
        write(other / ".mcp.json", servers(a=secret, b=UNPINNED))
        monkeypatch.chdir(other)
        assert assess("--baseline", str(machine / "known.json"), "--fail-on", "info").code == 0

    def test_it_can_be_read_and_written_in_one_go(self, machine: Path, assess: Assess) -> None:
        path = write(machine / ".mcp.json", servers(a=ROOTED))
        assess("--write-baseline", "known.json")
        write(path, servers(a=ROOTED, b=UNPINNED))
        both = ("--baseline", "known.json", "--write-baseline", "known.json", "--fail-on", "info")
        assert [assess(*both).code, assess(*both).code] == [1, 0]

    @pytest.mark.parametrize("content", ["", "{}", "[]", "<<<<<<< HEAD", '{"format": "autocoder-assessment-baseline"}'])
    def test_a_file_that_is_none_is_refused(self, machine: Path, assess: Assess, content: str) -> None:
        write(machine / "known.json", content)
        answer = assess("--baseline", "known.json")
        assert answer.code == 78
        assert "error: known.json" in answer.err


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind, as a user writes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'results.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("postgresql+asyncpg", "postgresql")


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """What a user would look into the database with."""
    url = database.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url)
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
    await engine.dispose()


@pytest.mark.anyio
async def test_results_are_kept_replaced_and_compared(machine: Path, database: str, engine: AsyncEngine) -> None:
    async def run(*arguments: str) -> None:
        # A process of its own: the event loop of a test is no place for another one.
        line = [sys.executable, "-c", COMMAND, "assess", *arguments, "--no-reports", "--database", database]
        await anyio.run_process(line, cwd=machine)

    async def rows(query: str) -> list[Any]:
        async with engine.connect() as connection:
            return [tuple(each) for each in await connection.execute(text(query))]

    path = write(machine / ".mcp.json", servers(a=ROOTED, b=UNPINNED))
    await run(".mcp.json", "--id", "first")
    results = "SELECT assessment_id, score, servers FROM assessment_results ORDER BY assessment_id"
    findings = "SELECT assessment_id, rule, file FROM assessment_findings ORDER BY assessment_id, ordinal"
    assert await rows(results) == [("first", 72, 2)]
    assert await rows(findings) == [("first", "AC-511", ".mcp.json"), ("first", "AC-401", ".mcp.json")]
    write(path, servers(a=ROOTED))
    await run(".mcp.json", "--id", "first")
    assert await rows(results) == [("first", 80, 1)]
    assert await rows(findings) == [("first", "AC-511", ".mcp.json")]
    write(path, servers(a=ROOTED, c=UNPINNED))
    await run(".mcp.json", "--id", "second")
    assert await rows(results) == [("first", 80, 1), ("second", 72, 2)]
    async with engine.connect() as connection:
        last = await last_run_fingerprints(connection, Request("second", (".mcp.json",)))
    stored = await rows("SELECT fingerprint FROM assessment_findings WHERE assessment_id = 'first'")
    assert last == {each for (each,) in stored}


class TestSecrets:
    PLANTED = {
        "env": "sk-live-8f3kQ0zP2mXv7LwTqN4c",
        "arg": "ghp_Zx81mNqWc02LrTyUvB7kJd9sEfGh3aPo4iQR",
        "url": "pw-Vq7Lk2Xn9Rt4Zm",
        "header": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Qm9va3Nob3BUb2tlblZhbHVl",
        "broken": "sk-live-BrokenFile77Qz0XcVbNm",
        "twice": "sk-live-Duplicate55Wp3KjHgFd",
        "key": "sk-live-AsAKeyOfAMap99Lk2Po",
    }

    def plant(self, folder: Path) -> None:
        each = self.PLANTED
        config = {
            "a": {"command": "x", "args": ["--token", each["arg"]], "env": {"API_KEY": each["env"]}},
            "b": {"type": "http", "url": f"http://user:{each['url']}@h.example/mcp?token={each['url']}"},
            "c": {
                "url": "https://h.example",
                "headers": {"Authorization": f"Bearer {each['header']}"},
                "x": each["key"],
            },
        }
        write(folder / "a" / ".mcp.json", servers(**config))
        write(folder / "b" / ".mcp.json", f'{{"mcpServers": {{"x": {{"env": {{"API_KEY": "{each["broken"]}')
        twice = f'{{"TOKEN": "{each["twice"]}", "TOKEN": {each["twice"]}}}'
        write(folder / "c" / ".mcp.json", f'{{"mcpServers": {{"x": {{"env": {twice}}}}}}}')
        (folder / "d").mkdir()
        (folder / "d" / ".mcp.json").write_bytes(json.dumps(servers(**config)).encode("utf-16"))
        write(
            folder / "e" / ".mcp.json",
            servers(x={"command": each["env"], "type": each["key"], "disabled": each["arg"]}),
        )

    @pytest.mark.parametrize("form", ["table", "json", "sarif", "html"])
    @pytest.mark.parametrize("more", [[], ["--no-details"], ["--debug", "--log-level", "debug"]])
    def test_no_value_of_one_is_in_anything_produced(
        self, machine: Path, assess: Assess, form: str, more: list[str]
    ) -> None:
        config = machine / "config files"
        self.plant(config)
        reports = [argument for kind in ("html", "sarif", "json") for argument in ("--report", kind)]
        answer = assess("config files", "--format", form, *reports, "--write-baseline", "known.json", *more)
        assert answer.code == 0, answer.err
        assert "AC-301" in answer.out
        produced = {"stdout": answer.out.encode(), "stderr": answer.err.encode()}
        for path in machine.rglob("*"):
            if path.is_file() and not path.is_relative_to(config):
                produced[str(path.relative_to(machine))] = path.read_bytes()
        assert {"known.json", ".autocoder/autocoder.db", ".autocoder/assessments.salt"} <= set(produced)
        told = [
            (name, what)
            for name, content in produced.items()
            for what in self.PLANTED.items()
            if _holds(content, what[1])
        ]
        assert told == []


def _holds(content: bytes, secret: str) -> bool:
    return any(secret.encode(encoding) in content for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
