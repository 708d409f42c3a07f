"""`autocoder run`: what goes in, what comes out, how it ends."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from autocoder.cli.progress import Rates
from autocoder.cli.run import summary_data, summary_lines
from autocoder.summary import ComponentSummary, RunSummary
from tests.cli.answer import Run, Start, Write

DOUBLED = "".join(f"{2 * number}\n" for number in range(30) if number != 13)
WAREHOUSE = """
    import sqlalchemy as sa
    from autocoder import Sink, Statement

    numbers = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer))

    class Keep(Sink[int]):
        '''Keep the numbers.'''

        def statements(self, batch, /):
            yield Statement(sa.text("CREATE TABLE IF NOT EXISTS numbers (number INTEGER)"), [])
            yield Statement(numbers.insert(), [{"number": each} for each in batch])
"""
KEEPING = """
    pipeline: keeping
    components:
      numbers: {use: parts:Numbers}
      keep: {use: warehouse:Keep, from: numbers}
"""
ENDLESS = """
    pipeline: endless
    components:
      numbers: {use: parts:Numbers, with: {upto: 100000000, pause: 0.01}}
      show: {use: parts:Show, from: numbers}
"""
STUCK = """
    pipeline: stuck
    components:
      numbers: {use: parts:Numbers, with: {upto: 100000000, pause: 0.01}}
      show: {use: parts:Show, from: numbers}
      halt: {use: parts:Halt, from: numbers}
      never: {use: parts:Show, from: halt}
"""


def test_data_go_to_stdout_and_the_summary_to_stderr(cli: Run) -> None:
    answer = cli("run", "demo.yaml")
    assert (answer.code, answer.out) == (0, DOUBLED)
    lines = answer.err.splitlines()
    header = next(at for at, line in enumerate(lines) if line.startswith("component"))
    assert [line.split() for line in lines[header + 1 : header + 4]] == [
        ["numbers", "source", "30", "30", "0", "0", "0"],
        ["double", "transformer", "30", "29", "0", "1", "0"],
        ["show", "sink", "29", "0", "0", "0", "0"],
    ]
    assert lines[-1].startswith("demo: done in ")
    assert lines[-1].endswith("; 30 in, 29 out, 1 dead letter")


def test_a_dead_letter_is_a_warning(cli: Run) -> None:
    assert (
        "warning: component 'double', port 'in': dead letter after 1 attempt: ValueError: unlucky"
        in cli("run", "demo.yaml").err
    )
    assert "dead letter after" not in cli("run", "demo.yaml", "--in-memory", "--log-level", "error").err
    assert "dead letter after" not in cli("--log-level", "error", "run", "demo.yaml", "--in-memory").err


def test_what_a_component_logs_has_no_secret_of_the_pipeline(
    cli: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALK_API_KEY", "from-outside")
    write(
        "talks.py",
        """
        import logging
        from pydantic import SecretStr
        from autocoder import Sink

        class Talk(Sink[int]):
            '''Say what is best kept quiet.'''

            token: SecretStr
            key: str

            async def open(self) -> None:
                logging.getLogger("talk").warning("with %s and %s", self.token.get_secret_value(), self.key)

            def write(self, batch, /):
                pass
        """,
    )
    write(
        "talks.yaml",
        """
        pipeline: talks
        components:
          numbers: {use: parts:Numbers}
          talk: {use: talks:Talk, from: numbers, with: {token: written-down, key: "${TALK_API_KEY}"}}
        """,
    )
    answer = cli("run", "talks.yaml")
    assert answer.code == 0
    assert "warning: talk: with *** and ***\n" in answer.err


def test_json_is_one_object(cli: Run, write: Write) -> None:
    write(
        "silent.yaml",
        """
        pipeline: silent
        components:
          numbers: {use: parts:Numbers}
          out: {use: flow.Discard, from: numbers}
        """,
    )
    answer = cli("run", "silent.yaml", "--json")
    summary = json.loads(answer.out)
    assert summary.pop("duration") >= 0
    assert summary == {
        "pipeline": "silent",
        "drained": False,
        "messages_in": 30,
        "messages_out": 30,
        "dead_letters": 0,
        "components": {
            "numbers": {"kind": "source", "in": 30, "out": 30, "dropped": 0, "dead_letters": 0, "retried": 0},
            "out": {"kind": "sink", "in": 30, "out": 0, "dropped": 0, "dead_letters": 0, "retried": 0},
        },
    }
    assert answer.err == ""


def test_a_pipeline_may_come_by_stdin(project: Path, start: Start) -> None:
    process = start("run", "-")
    out, _ = process.communicate((project / "demo.yaml").read_text())
    assert (process.returncode, out) == (0, DOUBLED)


def test_a_pipeline_of_a_pack_is_found_by_its_name(cli: Run) -> None:
    for name in ("assessments", "assessments.assessments"):
        assert "pipeline assessments" in cli("plan", name).out
    assert "did you mean 'assessments.assessments'" in cli("plan", "assessments.assesments").err


def test_a_pipeline_that_fails_says_where_without_a_traceback(cli: Run, write: Write) -> None:
    write("strict.yaml", _demo().replace("from: numbers}", "from: numbers, on_error: stop}"))
    answer = cli("run", "strict.yaml", "--in-memory")
    assert answer.code == 1
    assert (
        "error: pipeline 'demo', component 'double', port 'in': process failed: ValueError: unlucky; payload: 13\n"
        in answer.err
    )
    assert "Traceback" not in answer.err
    assert "Traceback" in cli("run", "strict.yaml", "--in-memory", "--debug").err


def _demo() -> str:
    return Path("demo.yaml").read_text()


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_component_that_exits_says_nothing_about_the_exit_code(cli: Run, write: Write, keyword: str) -> None:
    write(
        "leaving.py",
        f"""
        import sys
        from autocoder import Transformer

        class Leave(Transformer[int, int]):
            {keyword} process(self, number: int, /) -> int:
                sys.exit(0)
        """,
    )
    write(
        "leaving.yaml",
        """
        pipeline: leaving
        components:
          numbers: {use: parts:Numbers}
          leave: {use: leaving:Leave, from: numbers, on_error: stop}
          show: {use: parts:Show, from: leave}
        """,
    )
    answer = cli("run", "leaving.yaml")
    assert answer.code == 1
    assert "pipeline 'leaving', component 'leave', port 'in': process failed: SystemExit: 0; payload: 0" in answer.err
    assert "Traceback" not in answer.err


def test_an_invalid_pipeline_does_not_run(cli: Run, write: Write) -> None:
    write("wrong.yaml", _demo().replace("Show", "Shout"))
    answer = cli("run", "wrong.yaml")
    assert (answer.code, answer.out) == (78, "")
    assert answer.err.startswith("wrong.yaml:6:15: the module 'parts' has no 'Shout'; did you mean 'Show'?\n")
    assert answer.err.endswith("error: invalid configuration: 1 problem\n")


def test_a_module_that_is_installed_must_be_allowed(cli: Run, write: Write) -> None:
    write("foreign.yaml", _demo().replace("parts:Show", "tests.support:Collect"))
    assert cli("run", "foreign.yaml").code == 78
    assert cli("run", "foreign.yaml", "--allow", "tests").code == 0


def test_a_secret_is_never_said(cli: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-token")
    text = _demo().replace("parts:Double,", 'parts:Double, with: {token: "${TOKEN}"},')
    write("secret.yaml", text)
    write("strict.yaml", text.replace("from: numbers}", "from: numbers, on_error: stop}"))
    answers = [
        cli("run", "secret.yaml", "--in-memory"),
        cli("run", "strict.yaml", "--in-memory"),
        cli("plan", "secret.yaml", "--json"),
        cli("graph", "secret.yaml", "--format", "json"),
    ]
    assert "unlucky ***" in answers[0].err
    assert answers[1].code == 1
    for answer in answers:
        assert "s3cr3t-token" not in answer.out + answer.err


class TestDatabase:
    def test_is_not_opened_by_a_run_in_memory(self, cli: Run, project: Path) -> None:
        assert cli("run", "demo.yaml", "--in-memory").code == 0
        assert not (project / ".autocoder").exists()

    def test_keeps_where_a_run_stopped(self, cli: Run) -> None:
        assert cli("run", "demo.yaml").out == DOUBLED
        again = cli("run", "demo.yaml")
        assert (again.code, again.out) == (0, "")
        assert "nothing new since the last run; --restart reads the sources from the beginning" in again.err
        assert cli("run", "demo.yaml", "--restart").out == DOUBLED

    def test_options_that_contradict_each_other_are_refused(self, cli: Run) -> None:
        answer = cli("run", "demo.yaml", "--in-memory", "--restart")
        assert answer.code == 2
        assert "leave --in-memory out" in answer.err

    def test_is_the_embedded_one_where_a_sink_needs_it(self, cli: Run, write: Write, project: Path) -> None:
        write("warehouse.py", WAREHOUSE)
        write("keeping.yaml", KEEPING)
        assert cli("run", "keeping.yaml").code == 0
        assert _kept(project / ".autocoder" / "autocoder.db") == 30

    def test_is_the_embedded_one_where_a_channel_is_durable(self, cli: Run, write: Write, project: Path) -> None:
        write("durable.yaml", _demo().replace("from: double}", "from: {port: double, durable: true}}"))
        answer = cli("run", "durable.yaml")
        assert (answer.code, sorted(answer.out.split())) == (0, sorted(DOUBLED.split()))
        assert (project / ".autocoder" / "autocoder.db").exists()

    def test_is_the_one_of_the_command_line(self, cli: Run, write: Write, project: Path) -> None:
        write("warehouse.py", WAREHOUSE)
        write("keeping.yaml", KEEPING)
        assert cli("run", "keeping.yaml", "--database", "sqlite:///here.db").code == 0
        assert _kept(project / "here.db") == 30
        assert not (project / ".autocoder").exists()

    def test_is_the_one_of_the_environment(self, cli: Run, write: Write, project: Path) -> None:
        write("warehouse.py", WAREHOUSE)
        write("keeping.yaml", KEEPING)
        write("config/staging.yaml", "database: {url: 'sqlite:///staging.db'}")
        assert cli("run", "keeping.yaml", "--env", "staging").code == 0
        assert _kept(project / "staging.db") == 30

    def test_that_cannot_be_reached_is_another_exit_code(self, cli: Run) -> None:
        answer = cli("run", "demo.yaml", "--database", "postgresql://me:pass-word@127.0.0.1:1/nothing")
        assert (answer.code, answer.out) == (69, "")
        assert "the database postgresql" in answer.err
        assert "pass-word" not in answer.err

    def test_that_is_none_is_refused_with_the_place(self, cli: Run) -> None:
        answer = cli("run", "demo.yaml", "--database", "mysql://there/name")
        assert answer.code == 78
        assert answer.err.startswith("arguments: database.url: names a database that is not supported: mysql")


def _kept(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        (number,) = connection.execute("SELECT count(*) FROM numbers").fetchone()
    connection.close()
    return int(number)


class TestSettings:
    def test_of_the_environment_change_the_pipeline(self, cli: Run, write: Write) -> None:
        write("config/testing.yaml", "pipelines: {demo: {components: {numbers: {with: {upto: 3}}}}}")
        assert cli("run", "demo.yaml", "--in-memory", "--env", "testing").out == "0\n2\n4\n"
        assert cli("run", "demo.yaml", "--restart").out == DOUBLED

    def test_that_are_wrong_are_told_with_their_place(self, cli: Run, write: Write) -> None:
        write(
            "config/testing.yaml",
            "pipelines:\n  demo: {components: {nmbers: {with: {upto: 3}}}}\nlogging: {levl: info}\n",
        )
        answer = cli("run", "demo.yaml", "--env", "testing")
        assert answer.code == 78
        assert "config/testing.yaml:3:11: " in answer.err

    def test_decide_how_is_logged(self, cli: Run, write: Write) -> None:
        write("config/testing.yaml", "logging: {format: json}")
        line = next(
            line for line in cli("run", "demo.yaml", "--env", "testing").err.splitlines() if line.startswith("{")
        )
        record = json.loads(line)
        assert (record["level"], record["logger"]) == ("warning", "autocoder.pipeline")
        assert "dead letter" in record["message"]


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_the_first_drains(self, start: Start, write: Write, number: signal.Signals) -> None:
        write("endless.yaml", ENDLESS)
        process = start("run", "endless.yaml")
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(number)
        written = process.stdout.read().splitlines()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait() == 0
        assert written == [str(each + 1) for each in range(len(written))]
        assert f"; {len(written) + 1:,} in, {len(written) + 1:,} out, 0 dead letters" in err

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_the_second_stops_by_force(self, start: Start, write: Write, number: signal.Signals, code: int) -> None:
        write("stuck.yaml", STUCK)
        process = start("run", "stuck.yaml")
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(number)
        assert any(
            line.startswith("stopping: finishing what was read") for line in process.stderr
        )  # progress may come first
        process.send_signal(number)
        assert f"error: stopped by force by a second {number.name}" in process.stderr.read()
        assert process.wait() == code


def test_progress_is_told_in_plain_lines_where_stderr_is_no_terminal(start: Start, write: Write) -> None:
    write("endless.yaml", ENDLESS)
    process = start("run", "endless.yaml", "--json")
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    assert re.match(r"endless \d+ s: [\d,]+ in ", line)
    assert "; numbers " in line


def test_rates_are_those_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates(0.0, 0, 0) == (0.0, 0.0)
    assert rates(1.0, 100, 50) == (100.0, 50.0)
    assert rates(2.0, 100, 50) == (50.0, 25.0)
    assert rates(4.0, 100, 50) == (0.0, 0.0)


def test_a_summary_of_large_numbers_stands_in_columns() -> None:
    summary = RunSummary("big", {"a": ComponentSummary("source", 1_234_567, 1_234_567, 0, 0, 0)}, 3661.0, drained=True)
    header, row, total = summary_lines(summary)
    assert len(header) == len(row)
    assert "1,234,567" in row
    assert total.startswith("big: stopped as asked in 3661.00 s; 1,234,567 in")
    assert summary_data(summary)["drained"] is True
