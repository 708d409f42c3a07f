"""`autocoder assess` as a process: interrupted, at a terminal, and refused what it needs by the system."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.assessments.conftest import COMMAND, ROOTED, Assess, Start, servers, write

EXAMPLES = Path(__file__).parents[2] / "examples" / "clients"
SLOW = """
import os, pathlib, time
scandir = os.scandir
def slowly(path="."):
    # A disk that answers when the test lets it.
    if os.path.realpath(path) == os.getcwd():
        pathlib.Path("../walking").touch()
        while not os.path.exists("../go"):
            time.sleep(0.01)
    return scandir(path)
os.scandir = slowly
from autocoder.cli.main import main; main()
"""


class TestInterrupted:
    def started(self, machine: Path, start: Start) -> subprocess.Popen[bytes]:
        write(machine / ".mcp.json", servers(a=ROOTED))
        process = start(SLOW, "assess", ".")
        until((machine.parent / "walking").exists, process)
        return process

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_finishes_what_was_begun(
        self, machine: Path, start: Start, number: signal.Signals
    ) -> None:
        process = self.started(machine, start)
        process.send_signal(number)
        assert process.stderr is not None
        while b"stopping: finishing what was read" not in process.stderr.readline():
            assert process.poll() is None
        (machine.parent / "go").touch()
        out, _ = process.communicate()
        assert process.returncode == 0
        assert b"AC-511" in out
        assert sorted(each.name for each in (machine / "assessment").iterdir()) == ["report.html", "report.sarif"]

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_second_publishes_nothing(self, machine: Path, start: Start, number: signal.Signals, code: int) -> None:
        process = self.started(machine, start)
        process.send_signal(number)
        assert process.stderr is not None
        while b"stopping: finishing what was read" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        while b"stopped by force" not in process.stderr.readline():
            assert process.poll() is None
        (machine.parent / "go").touch()
        out, _ = process.communicate()
        assert (process.returncode, out) == (code, b"")
        assert not (machine / "assessment").exists()
        with sqlite3.connect(machine / ".autocoder" / "autocoder.db") as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        assert "assessment_results" not in names


def until(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not what():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


class TestTerminal:
    def shown(self, machine: Path, start: Start, columns: int, **environment: str) -> str:
        """What a person sees on a terminal of so many columns, the disk being slow until progress was seen."""
        write(machine / ".mcp.json", servers(a=ROOTED))
        ours, theirs = pty.openpty()
        given = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24", **environment}
        process = start(SLOW, "assess", ".", stdout=theirs, stderr=theirs, env=given)
        os.close(theirs)
        seen = b""
        for piece in pieces(ours):
            seen += piece
            if b"discover 1" in seen:
                (machine.parent / "go").touch()
        os.close(ours)
        assert process.wait() == 0, seen
        return seen.decode()

    def test_a_person_sees_how_it_goes_and_what_came_out(self, machine: Path, start: Start) -> None:
        seen = self.shown(machine, start, 80)
        for word in ("AC-511", "Score 80/100", "report: assessment/report.html", "\x1b["):
            assert word in seen
        assert seen.index("discover 1") < seen.index("AC-511") < seen.index("Score") < seen.index("report:")

    def test_without_colour_where_that_is_wished(self, machine: Path, start: Start) -> None:
        seen = self.shown(machine, start, 80, NO_COLOR="1")
        verdict = seen[seen.index("AC-511") : seen.index("Score")]
        assert "\x1b[31m" not in seen
        assert "\x1b[1;31m" not in verdict


def pieces(terminal: int) -> Iterator[bytes]:
    """What a terminal is sent until its last program has left."""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


class TestRefusedByTheSystem:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of 64 KiB."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only the superuser mounts disks")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    def test_a_full_disk(self, machine: Path, assess: Assess, disk: Path) -> None:
        write(machine / ".mcp.json", servers(**{f"s{number}": ROOTED for number in range(200)}))
        (disk / "report.html").write_text("the old one")
        answer = assess("--output", str(disk))
        assert answer.code == 1
        assert f"error: {disk}/report.html was not written: No space left on device; free some space" in answer.err
        assert [each.name for each in disk.iterdir()] == ["report.html"]
        assert (disk / "report.html").read_text() == "the old one"

    def test_a_disk_that_is_read_only(self, machine: Path, assess: Assess, disk: Path) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for arguments, what in (
            (["--output", str(disk / "new")], "Read-only file system; choose a path on a disk that can be written"),
            (["--output", str(disk)], "Read-only file system; choose a path on a disk that can be written"),
            (["--write-baseline", str(disk / "known.json")], "known.json was not written: Read-only file system"),
        ):
            answer = assess(*arguments)
            assert answer.code == 1
            assert what in answer.err
            assert "mistake in autocoder" not in answer.err

    @pytest.mark.parametrize("output", ["file", "file/deeper"])
    def test_a_folder_that_is_a_file(self, machine: Path, assess: Assess, output: str) -> None:
        write(machine / ".mcp.json", servers(a=ROOTED))
        write(machine / "file", "mine")
        answer = assess("--output", output)
        assert answer.code in (1, 2)
        assert "file" in answer.err
        assert answer.out == ""
        assert (machine / "file").read_text() == "mine"

    def test_a_pipe_that_nobody_reads_any_more(self, machine: Path, start: Start) -> None:
        shutil.copytree(EXAMPLES, machine / "clients")
        reading, writing = os.pipe()
        os.close(reading)
        process = start(COMMAND, "assess", "clients", "--format", "json", stdout=writing)
        os.close(writing)
        assert process.stderr is not None
        assert all(line.startswith(b"report: ") for line in process.stderr.read().splitlines())
        assert process.wait() == 0
        assert (machine / "assessment" / "report.sarif").exists()

    @pytest.mark.parametrize("form", ["table", "none"])
    def test_the_gate_is_closed_though_nobody_reads_what_it_says(self, machine: Path, start: Start, form: str) -> None:
        shutil.copytree(EXAMPLES, machine / "clients")
        reading, writing = os.pipe()
        os.close(reading)
        arguments = ("assess", "clients", "--format", form, "--fail-on", "low")
        process = start(COMMAND, *arguments, stdout=writing, stderr=writing)
        os.close(writing)
        assert process.wait() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_standard_output_is_told_in_a_line_and_no_report_is_cut_short(
    machine: Path, start: Start, form: str
) -> None:
    write(machine / ".mcp.json", servers(a=ROOTED))
    with Path("/dev/full").open("wb") as full:
        process = start(COMMAND, "assess", ".", "--format", form, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == (
        "error: the assessment was not printed: No space left on device; free some space where stdout leads, or lead it "
        "elsewhere"
    )
    assert "payload" not in err.decode()
    # The reports may have been written before: whole or not at all.
    reports = {each.name: each.read_text() for each in (machine / "assessment").glob("*")}
    assert reports.keys() <= {"report.html", "report.sarif"}
    assert json.loads(reports.get("report.sarif", "{}")).get("version", "2.1.0") == "2.1.0"
    assert reports.get("report.html", "</html>").rstrip().endswith("</html>")
