"""Several instances of one pipeline: one owns it, and who lost it writes nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError
from autocoder.store.committing import LeaseLost
from autocoder.store.owners import owners
from autocoder.store.ownership import WAIT_SECONDS, OwnedElsewhereError, Ownership, _lock, owning
from autocoder.store.schema import prepare
from tests.cli.jobs import database_of
from tests.store.fresh import BOTH, fresh_sqlite

PARTS = '''
    """What the pipeline is made of."""

    import pathlib
    import time

    from autocoder import Transformer


    class Stall(Transformer[dict, dict]):
        """Takes its time, until somebody says go."""

        def process(self, payload: dict, /) -> dict:
            pathlib.Path("stalled").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
            return payload
'''
PIPELINE = """
    pipeline: jobs
    components:
      requests: {use: flow.Inbox, with: {payload: dict}}
      stall: {use: stallparts:Stall, from: requests, run_in: thread}
      rows: {use: sql.Insert, from: stall, with: {table: done, create_table: true}}
    commit: {every: 50ms}
"""
COMMAND = "from autocoder.cli.main import main; main()"


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_of(request.param, request, tmp_path) as made:
        yield made


class Instances:
    """Processes of the command line in one folder, on one database; none outlives the test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCODER_")}
        self._environment = {**clean, "AUTOCODER_DATABASE__URL": url, "AUTOCODER_DATABASE__LEASE": "1s"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def answer(self, *arguments: str) -> tuple[int, str]:
        """The exit code of a command and what it said."""
        process = self.start(*arguments)
        _, said = process.communicate(timeout=60)
        return process.returncode, said

    def until(self, condition: Callable[[], Any], *running: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in running)
            time.sleep(0.02)


@pytest.fixture
def instances(tmp_path: Path, url: str) -> Iterator[Instances]:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "stallparts.py").write_text(textwrap.dedent(PARTS))
    (tmp_path / "jobs.yaml").write_text(textwrap.dedent(PIPELINE))
    made = Instances(tmp_path, url)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows(url: str, query: str) -> Sequence[Any]:
    """What a query gives, empty where its table is not there."""

    async def asked() -> Sequence[Any]:
        async with open_database(url) as database, database.reading() as connection:
            try:
                return list(await connection.execute(sa.text(query)))
            except sa.exc.DBAPIError:
                return []

    return anyio.run(asked)


def freeze(process: subprocess.Popen[str], url: str) -> None:
    """Stop a process, but not inside a transaction: the locks of that one stay for as long as it is frozen."""

    async def locked() -> bool:
        options = DatabaseOptions(url, busy_timeout=0.3, lock_timeout=0.3)
        try:
            async with open_database(options) as database, database.transaction() as connection:
                await connection.execute(sa.text("UPDATE regions SET token = token"))
        except (UnreachableError, sa.exc.DBAPIError):
            return True
        return False

    process.send_signal(signal.SIGSTOP)
    while anyio.run(locked):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)


def test_who_was_frozen_past_the_lease_writes_nothing(instances: Instances, url: str) -> None:
    assert instances.answer("send", "jobs.yaml", "requests", '{"n": 1}')[0] == 0
    frozen = instances.start("run", "jobs.yaml")
    instances.until((instances.folder / "stalled").exists, frozen)
    code, said = instances.answer("run", "jobs.yaml")
    assert code == 69 and "is running already" in said and "--wait" in said
    freeze(frozen, url)
    second = instances.start("run", "jobs.yaml", "--wait")
    instances.until(lambda: rows(url, "SELECT token FROM regions WHERE token >= 2"), second)
    (instances.folder / "go").touch()
    instances.until(lambda: len(rows(url, "SELECT n FROM done")) == 1, second)
    frozen.send_signal(signal.SIGCONT)
    _, said = frozen.communicate(timeout=60)
    assert frozen.returncode == 69, said
    assert "another instance has taken over; this one stops" in said and "Traceback" not in said
    assert instances.answer("send", "jobs.yaml", "requests", '{"n": 2}')[0] == 0
    instances.until(lambda: len(rows(url, "SELECT n FROM done")) == 2, second)
    second.send_signal(signal.SIGTERM)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert [tuple(row) for row in rows(url, "SELECT n FROM done ORDER BY n")] == [(1,), (2,)]
    assert rows(url, "SELECT seq FROM port_messages WHERE status <> 'completed'") == []


def test_the_place_of_one_that_was_killed_is_free_at_once(instances: Instances, url: str) -> None:
    assert instances.answer("send", "jobs.yaml", "requests", '{"n": 1}')[0] == 0
    killed = instances.start("run", "jobs.yaml")
    instances.until((instances.folder / "stalled").exists, killed)
    killed.kill()
    killed.wait()
    (instances.folder / "go").touch()
    second = instances.start("run", "jobs.yaml")  # no --wait
    instances.until(lambda: len(rows(url, "SELECT n FROM done")) == 1, second)


@pytest.mark.anyio
async def test_a_lock_that_the_server_forgot_is_taken_again(postgres_url: str, request: pytest.FixtureRequest) -> None:
    with database_of("postgresql", request, Path()) as url:
        options = DatabaseOptions(url, lease=3.0, pool_size=1)
        async with open_database(options) as database, open_database(url) as other:
            await prepare(database)
            async with owning(database, "p", ["r"], wait=False) as ownership, anyio.create_task_group() as tasks:
                tasks.start_soon(ownership.keep)
                await _kill_sessions(other)
                with anyio.fail_after(30):
                    while not await _locks(other):
                        await anyio.sleep(0.02)
                await _refused(other)
                tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_who_took_over_from_a_frozen_one_is_not_robbed_by_a_third(url: str) -> None:
    """The lock stays with the frozen one, and is free when that leaves; its new owner gets it, whoever else asks."""
    options = DatabaseOptions(url, lease=2.0)
    async with AsyncExitStack() as stack:
        frozen, second, third = [await stack.enter_async_context(open_database(options)) for _ in range(3)]
        await prepare(frozen)
        async with owning(frozen, "p", ["r"], wait=False):
            ownership = await stack.enter_async_context(owning(second, "p", ["r"], wait=True))
        await _refused(third)  # the lock is free
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ownership.keep)
            with anyio.fail_after(30):
                while await owners(third) != ["p"]:
                    await anyio.sleep(0.02)
            await _refused(third)
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_lease_is_not_taken_while_its_owner_is_leaving(url: str) -> None:
    """It has given the lease back and has the lock: who took the lease now would leave the lock to a third."""
    async with AsyncExitStack() as stack:
        leaving, second, third = [await stack.enter_async_context(open_database(url)) for _ in range(3)]
        await prepare(leaving)
        async with anyio.create_task_group() as tasks:
            own: list[Ownership] = []

            async def wait_for_it() -> None:
                own.append(await stack.enter_async_context(owning(second, "p", ["r"], wait=True)))

            async with owning(leaving, "p", ["r"], wait=False):
                async with third.transaction() as connection:
                    await connection.execute(sa.text("UPDATE regions SET owner = NULL, expires_at = NULL"))
                tasks.start_soon(wait_for_it)
                await anyio.sleep(3 * WAIT_SECONDS)
                assert own == []
            with anyio.fail_after(30):
                while not own:
                    await anyio.sleep(0.02)
        await _refused(third)


@pytest.mark.anyio
async def test_one_that_froze_between_lock_and_lease_is_not_waited_for_longer_than_a_lease(url: str) -> None:
    async with AsyncExitStack() as stack:
        options = DatabaseOptions(url, lease=1.0)
        frozen, second = [await stack.enter_async_context(open_database(options)) for _ in range(2)]
        await prepare(frozen)
        async with _lock(frozen, "p") as lock:
            assert await lock.take()
            with anyio.fail_after(30):
                await stack.enter_async_context(owning(second, "p", ["r"], wait=False))
        await _refused(frozen)


@pytest.mark.anyio
async def test_one_that_froze_in_a_transaction_gives_its_rows_back(request: pytest.FixtureRequest) -> None:
    """On PostgreSQL, that is: on SQLite nothing but its process can let go of the file."""
    with database_of("postgresql", request, Path()) as url:
        options = DatabaseOptions(url, lease=1.0, idle_in_transaction_timeout=1.0)
        async with open_database(options) as frozen, open_database(url) as second:
            await prepare(frozen)
            async with owning(frozen, "p", ["r"], wait=False) as before:
                with pytest.raises(sa.exc.DBAPIError, match=r"connection is closed|idle-in-transaction"):
                    async with frozen.transaction() as connection:
                        await connection.execute(sa.text("UPDATE regions SET epoch = epoch + 1"))
                        with anyio.fail_after(30):
                            async with owning(second, "p", ["r"], wait=True) as taken:
                                assert (taken.tokens, taken.epochs) == ({"r": before.tokens["r"] + 1}, {"r": 0})
                        await connection.execute(sa.text("UPDATE regions SET epoch = epoch + 1"))


@pytest.mark.anyio
async def test_the_session_of_a_lock_that_is_cut_off_in_a_statement_is_closed(request: pytest.FixtureRequest) -> None:
    """On PostgreSQL, that is: else the lock stays held by a connection of which nobody knows."""
    with database_of("postgresql", request, Path()) as url:
        async with open_database(url) as database:
            with anyio.move_on_after(0.2) as scope:
                async with database.session() as connection:
                    held: Any = (await connection.get_raw_connection()).dbapi_connection
                    driver = held.driver_connection
                    await connection.execute(sa.text("SELECT pg_sleep(60)"))
            assert scope.cancelled_caught
            assert driver.is_closed()


@pytest.mark.anyio
async def test_who_keeps_the_event_loop_for_longer_than_a_lease_is_not_taken_for_frozen(url: str) -> None:
    """A plain handler that computes, say: nothing else of its process runs meanwhile, but its lease is renewed."""
    options = DatabaseOptions(url, lease=1.0)
    # `watching`: a connection that `keep` has just begun to make would be lost where it is cancelled.
    async with open_database(options) as busy, open_database(options) as watching:
        await prepare(busy)
        async with owning(busy, "p", ["r"], wait=False) as ownership, anyio.create_task_group() as tasks:
            tasks.start_soon(ownership.keep)
            await anyio.sleep(0.01)
            taken = threading.Event()
            waiting = threading.Thread(target=anyio.run, args=(_takes, url, taken), daemon=True)
            waiting.start()
            assert not taken.wait(5 * options.lease)  # in the event loop
            async with watching.reading() as connection:
                assert await ownership.holds(connection)
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(waiting.join)
        assert taken.is_set()


async def _takes(url: str, taken: threading.Event) -> None:
    async with open_database(url) as database, owning(database, "p", ["r"], wait=True):
        taken.set()


async def _refused(database: Database) -> None:
    with pytest.raises(OwnedElsewhereError, match="running already"):
        async with owning(database, "p", ["r"], wait=False):
            raise AssertionError


async def _kill_sessions(database: Database) -> None:
    """End every session but this one."""
    async with database.reading() as connection:
        await connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


async def _locks(database: Database) -> int:
    async with database.reading() as connection:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        return int((await connection.execute(sa.text(query))).scalar_one())


@pytest.mark.anyio
async def test_a_lease_runs_out_after_the_time_of_the_settings(tmp_path: Path) -> None:
    """The owner hangs: it holds the lock, and renews nothing."""
    url = fresh_sqlite(tmp_path)
    async with open_database(DatabaseOptions(url, lease=0.5)) as database, open_database(url) as other:
        await prepare(database)
        async with owning(database, "p", ["r"], wait=False) as hanging:
            with pytest.raises(OwnedElsewhereError):
                async with owning(other, "p", ["r"], wait=False):
                    raise AssertionError
            with anyio.fail_after(30):
                async with owning(other, "p", ["r"], wait=True) as taken:
                    assert taken.tokens["r"] > hanging.tokens["r"]
                    with pytest.raises(LeaseLost, match="another instance has taken over"):
                        await hanging.keep()
