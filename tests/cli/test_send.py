"""`autocoder send`: messages from an argument, a file, or stdin."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.cli.answer import Run, Start, Write
from tests.cli.jobs import BATCH, ENDLESS, PARTS, database_of, done
from tests.store.fresh import BOTH


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_of(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def jobs(write: Write) -> None:
    write("jobparts.py", PARTS)
    write("jobs.yaml", BATCH)
    write("endless.yaml", ENDLESS)


def test_ten_thousand_lines_through_stdin(cli: Run, start: Start, url: str, project: Path) -> None:
    process = start("send", "jobs.yaml", "requests", "--file", "-", "--database", url)
    out, err = process.communicate("".join(f'{{"number": {number}}}\n' for number in range(10_000)))
    assert process.returncode == 0, err
    ids = [UUID(line) for line in out.splitlines()]
    assert len(set(ids)) == 10_000 and ids == sorted(ids)
    assert "10,000 messages sent to jobs: requests.in" in err
    assert cli("run", "jobs.yaml", "--database", url).code == 0
    assert done(project) == list(range(10_000))


def test_lines_are_sent_as_they_are_written_while_the_pipeline_runs(start: Start, url: str, project: Path) -> None:
    running = start("run", "endless.yaml", "--database", url)
    sending = start("send", "endless.yaml", "requests.in", "--file", "-", "--quiet", "--database", url)
    assert sending.stdin is not None
    for number in range(3):
        sending.stdin.write(f'{{"number": {number}}}\n')
        sending.stdin.flush()
        deadline = time.monotonic() + 60
        while done(project) != list(range(number + 1)):
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.05)
    out, err = sending.communicate()
    assert (out, sending.returncode) == ("", 0) and "3 messages sent" in err
    running.terminate()
    running.communicate()
    assert running.returncode == 0


def test_one_message_as_an_argument(cli: Run, project: Path) -> None:
    answer = cli("send", "jobs.yaml", "requests", '{"number": 5}', "--json")
    assert (answer.code, json.loads(answer.out)) == (0, {"sent": 1, "skipped": 0})
    assert cli("run", "jobs.yaml").code == 0
    assert done(project) == [5]
    assert cli("send", "jobs", "requests", '{"number": 6}').code == 0, "it has run here, so its name is known"
    assert cli("run", "jobs.yaml").code == 0
    assert done(project) == [5, 6]


LINES = '{"number": 1}\n\n{"number": 2}\n{"nmber": 3, "token": "hush-hush"}\n{"number": 4}\nno json\n{"number": 5}'


def test_a_malformed_line_stops_and_everything_before_it_is_sent(cli: Run, write: Write, project: Path) -> None:
    write("lines", LINES)
    answer = cli("send", "jobs.yaml", "requests", "--file", "lines")
    assert answer.code == 1 and len(answer.out.splitlines()) == 2
    assert "line 4 does not fit requests.in: number: Field required" in answer.err and "tail -n +4" in answer.err
    assert "hush-hush" not in answer.err
    assert cli("run", "jobs.yaml").code == 0
    assert done(project) == [1, 2]


def test_malformed_lines_are_left_out_where_that_is_said(cli: Run, write: Write, project: Path) -> None:
    write("lines", LINES)
    answer = cli("send", "jobs.yaml", "requests", "--file", "lines", "--skip-invalid", "--quiet")
    assert (answer.code, answer.out) == (0, "")
    assert "line 4" in answer.err and "line 6" in answer.err and "2 malformed lines left out" in answer.err
    assert cli("run", "jobs.yaml").code == 0
    assert done(project) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs.yaml", "requests"), "give one message as JSON, or --file"),
        (("jobs.yaml", "work", "{}"), "not durable"),
        (("jobs.yaml", "reqests", "{}"), "did you mean 'requests'"),
        (("jobs.yaml", "requests.on", "{}"), "has no input 'on'; known: in"),
        (("jobs.yaml", "requests", '{"nmber": 1}'), "number: Field required"),
        (("jbs.yaml", "requests", "{}"), "no pipeline file jbs.yaml"),
        (("jbs", "requests", "{}"), "there is no pipeline 'jbs'"),
        (("jobs.yaml", "requests", "--file", "nothing"), "nothing cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_the_cure(cli: Run, arguments: tuple[str, ...], said: str) -> None:
    answer = cli("send", *arguments)
    assert answer.code == 2 and said in answer.err
    assert answer.out == ""


PRICES = """
    pipeline: prices
    components:
      prices: {use: flow.Inbox, with: {payload: "prices:Price", until_empty: true}}
      out: {use: console.Print, from: prices, with: {format: repr}}
"""
PRICE = """
    from dataclasses import dataclass


    @dataclass
    class Price:
        euro: float
"""


def test_a_number_that_json_does_not_have_is_a_malformed_line(cli: Run, write: Write) -> None:
    write("prices.py", PRICE)
    write("prices.yaml", PRICES)
    for number, said in (("NaN", "NaN is no JSON"), ("1e999", "the number 1e999 is too large")):
        answer = cli("send", "prices.yaml", "prices", f'{{"euro": {number}}}')
        assert answer.code == 2 and said in answer.err
        write("lines", f'{{"euro": 1}}\n{{"euro": {number}}}\n{{"euro": "{number}"}}')
        answer = cli("send", "prices.yaml", "prices", "--file", "lines")
        assert answer.code == 1 and "line 2 does not fit prices.in: ValueError:" in answer.err
    answer = cli("send", "prices.yaml", "prices", "--file", "lines", "--skip-invalid")
    assert answer.code == 0 and "1 malformed line left out" in answer.err
    answer = cli("run", "prices.yaml")
    assert answer.out == "Price(euro=1.0)\n" * 3 + "Price(euro=inf)\n", "a string is what the type makes of it"
    assert cli("send", "prices", "prices", '{"euro": Infinity}').code == 2, "no type is known"
