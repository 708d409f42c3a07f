"""SQLite fails in mid run: the pipeline waits, goes on where it was, loses nothing and doubles nothing."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError
from autocoder.runtime.inlet import Inlet
from tests.faults.scene import Scene, make_tables

PATIENT = {"retry_backoff": 0.02, "retry_cap": 0.1, "busy_timeout": 0.05}


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small file system of its own."""
    with tempfile.TemporaryDirectory(prefix="autocoder-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("may not mount a file system")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is left."""
    file = disk / "balloon"
    with file.open("wb", buffering=0) as balloon:
        try:
            while True:
                balloon.write(bytes(4096))
        except OSError:
            return file


@pytest.mark.parametrize("topology", ["chain", "keyed"])
@pytest.mark.anyio
async def test_a_full_disk_that_gets_room_again(disk: Path, topology: str, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{disk}/run.db"
    await make_tables(url)
    scene = Scene(url, DatabaseOptions(url, **PATIENT), topology, caplog)
    async with scene.running():
        await scene.under_way()
        balloon = await anyio.to_thread.run_sync(fill, disk)
        await scene.troubled("full")
        balloon.unlink()
    assert await scene.judged() == []


@pytest.mark.anyio
async def test_a_file_that_another_program_locks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/run.db"
    await make_tables(url)
    scene = Scene(url, DatabaseOptions(url, **PATIENT), "chain", caplog)
    async with scene.running():
        await scene.under_way()
        with closing(sqlite3.connect(tmp_path / "run.db", timeout=30, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await scene.troubled("locked")
            other.execute("ROLLBACK")
    assert await scene.judged() == []


@pytest.mark.anyio
async def test_a_file_that_is_damaged_in_mid_run_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inlet, "offer", lambda *_: None)  # who keeps up reads nothing, and may notice nothing
    url = f"sqlite:///{tmp_path}/run.db"
    await make_tables(url)
    scene = Scene(url, DatabaseOptions(url, **PATIENT), "chain", caplog, messages=5000)
    with pytest.raises(
        UnreachableError,
        match=r"cannot be used: .*(malformed|not a database|disk I/O error); it is damaged; move it away",
    ):
        async with scene.running():
            await scene.under_way()
            with (tmp_path / "run.db").open("r+b") as file, (tmp_path / "run.db-wal").open("r+b") as log:
                file.seek(4096)
                file.write(os.urandom(1_000_000))
                log.truncate(0)


GENERATE = """
pipeline: many
components:
  numbers: {use: flow.Generate, with: {count: 30000, value: "{'n': i, 'text': 'x'}"}}
  rows: {use: sql.Insert, from: {port: numbers, durable: true}, with: {table: many, create_table: true}}
commit: {messages: 500}
"""


def test_a_limit_on_the_size_of_files_that_is_raised(tmp_path: Path) -> None:
    """What a quota does, in a process of its own: every write beyond it fails."""
    (tmp_path / "many.yaml").write_text(GENERATE)
    program = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program + "from autocoder.cli.main import main; main()", "run", "many.yaml"],
        cwd=tmp_path,
        env={**os.environ, "AUTOCODER_DATABASE__URL": "sqlite:///run.db", "AUTOCODER_DATABASE__RETRY__CAP": "200ms"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            seen = iter(process.stderr.readline, "")
            assert any("trying again" in line for line in seen), "it did not wait"
            limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
            said = process.stderr.read()
            assert process.wait(60) == 0, said
        finally:
            process.kill()
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        assert database.execute("SELECT count(*), count(DISTINCT n) FROM many").fetchone() == (30_000, 30_000)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
