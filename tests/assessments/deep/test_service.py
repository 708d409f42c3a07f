"""Deep scans in the service, on both databases: part of the verdict, remembered, and ended with who asked for them."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments import RememberTools
from autocoder_components.assessments.deep import memory
from autocoder_components.assessments.deep.definitions import Digests
from autocoder_components.assessments.deep.memory import Definitions, SeenTools, remembered, seen
from autocoder_components.assessments.lifecycle.output import state_lines
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.lifecycle.tables import assessment_tools
from autocoder_components.assessments.model import Candidate, Place, Request, Target
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.schema import DropTable

from autocoder import Database, open_database
from autocoder.database import in_use
from tests.assessments.conftest import COMMAND, Start, servers, write
from tests.assessments.deep.test_component import HONEST, SERVER
from tests.assessments.lifecycle.shipped import serve
from tests.assessments.probes.conftest import is_running, pids_in
from tests.assessments.probes.test_stdio import DEAF, PARENT, STAY
from tests.assessments.probes.test_supervisor import gone

DEEP = {"with": {"allow_exec": True, "timeout": 60, "grace": 30}}
TARGET = Target(
    "one", "mcp.json", "/w/mcp.json", "", "given", "", "", server="s", place=Place("mcp.json", "/mcpServers/s")
)


async def deep_outcome(url: str, name: str, **deep: Any) -> dict[str, Any]:
    """What the deep scan of a new assessment comes to."""
    async with open_store(url) as store:
        await store.create({"id": name, "paths": ["."], "deepScan": True, "timeout": 600})
        await serve(url, deep=deep or DEEP)
        state = await store.get_state(name, fresh=True)
    assert state.state is State.COMPLETED
    assert state.result is not None
    (outcome,) = [each for each in state.result["outcomes"] if each["check"] == "deep"]
    found = [each["message"] for each in state.result["findings"] if each["rule"].startswith("AC-9")]
    return {**outcome, "found": found}


@pytest.mark.anyio
class TestService:
    async def test_what_changed_between_two_assessments_is_in_the_verdict_of_the_second(
        self, machine: Path, url: str
    ) -> None:
        write(machine / "it.py", SERVER)
        write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py"]}))
        write(machine / "tools.json", json.dumps(HONEST))
        assert (await deep_outcome(url, "one"))["reason"] == "2 tools inspected, for the first time"
        write(machine / "tools.json", json.dumps([HONEST[0], {**HONEST[1], "annotations": None}]))
        second = await deep_outcome(url, "two")
        assert second["found"] == ["The tool 'get_time' has another annotations than at the last scan"]
        assert (await deep_outcome(url, "three"))["status"] == "pass"

    async def test_what_stood_in_an_assessment_alone_is_forgotten_with_it(self, machine: Path, url: str) -> None:
        write(machine / "it.py", SERVER)
        write(machine / "tools.json", json.dumps(HONEST))
        config = servers(it={"command": sys.executable, "args": [str(machine / "it.py")]})
        write(machine / ".mcp.json", config)
        inline = {"candidates": [{"text": json.dumps(config)}], "deepScan": True, "timeout": 600}
        async with open_store(url) as store:
            await store.batch_create([{"id": "inline", **inline}, {"id": "file", "paths": ["."], "deepScan": True}])
            await serve(url, deep=DEEP)
            tools = sa.select(assessment_tools.c.assessment_id).order_by(assessment_tools.c.assessment_id)
            async with store.database.reading() as connection:
                assert (await connection.execute(tools)).scalars().all() == ["file", "inline"]
            await anyio.sleep(0.002)
            assert await store.cleanup(0) == 2
            async with store.database.reading() as connection:
                assert (await connection.execute(tools)).scalars().all() == ["file"]

    async def test_without_permission_it_is_skipped_with_the_reason(self, machine: Path, url: str) -> None:
        write(machine / ".mcp.json", servers(it={"command": sys.executable}))
        outcome = await deep_outcome(url, "one", **{"with": {"allow_exec": False}})
        assert outcome["status"] == "skipped"
        assert "allow it with the field allow_exec of InspectTools" in outcome["reason"]

    async def test_who_cancels_an_assessment_ends_the_programs_that_it_started(self, machine: Path, url: str) -> None:
        pids = machine / "pids"
        write(machine / "it.py", DEAF + PARENT + STAY)
        write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py", str(pids)]}))
        async with open_store(url) as store:
            await store.create({"id": "it", "paths": ["."], "deepScan": True, "timeout": 600})
            with anyio.fail_after(100):
                async with anyio.create_task_group() as tasks:
                    deep = {"with": {"allow_exec": True, "timeout": 600, "grace": 0.1}}
                    tasks.start_soon(partial(serve, url, deep=deep))
                    started = await pids_in(pids, 3)
                    await store.cancel("it", reason="enough")
            assert (await store.get_state("it", fresh=True)).state is State.CANCELLED
        assert not any(map(is_running, started))


@pytest.mark.anyio
async def test_a_server_that_hangs_is_found_within_the_time_of_the_assessment(machine: Path, url: str) -> None:
    """Though that is less than the probe's own; whose turn came too late for a verdict on it is an error, never a pass."""
    write(machine / "it.py", STAY)
    hangs = {"command": sys.executable, "args": ["it.py"]}
    write(machine / ".mcp.json", servers(a=hangs, b=hangs))
    asking = {"with": {"allow_exec": True, "timeout": 60, "grace": 0.5}, "concurrency": 1}
    async with open_store(url) as store:
        await store.create({"id": "it", "type": "health", "paths": ["."], "deepScan": True, "timeout": 6})
        await serve(url, status=asking, deep=asking)
        state = await store.get_state("it", fresh=True)
    assert (state.state, state.retry_count) == (State.COMPLETED, 0)
    assert state.result is not None
    found = [each["message"] for each in state.result["findings"] if each["rule"] == "AC-812"]
    assert len(found) == 1
    assert found[0].startswith("No end after ")
    outcomes = [each for each in state.result["outcomes"] if each["check"] in {"status", "deep"}]
    assert sorted(each["status"] for each in outcomes) == ["error", "error", "error", "fail"]
    assert sum("was left of the assessment's time" in (each["reason"] or "") for each in outcomes) == 2
    assert state.result["score"]["coverage"] < 1
    (score,) = [each for each in state_lines(state) if each.startswith("score")]
    assert ", coverage " in score


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_an_assessment_that_is_killed_leaves_no_program(machine: Path, start: Start) -> None:
    pids = machine / "pids"
    write(machine / "it.py", DEAF + PARENT + STAY)
    write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py", str(pids)]}))
    (machine / "config").mkdir()
    settings = {"pipelines": {"assess": {"components": {"deep": {"with": {"allow_exec": True, "timeout": 600}}}}}}
    write(machine / "config" / "development.yaml", json.dumps(settings))
    process = start(COMMAND, "assess", ".", "--deep", env=dict(os.environ))
    started = await pids_in(pids, 3)
    process.kill()
    assert await gone(started)


def digests(text: str) -> Digests:
    return Digests(text, "s", "a")


@pytest.mark.anyio
class TestMemory:
    async def write(self, database: Database, *batch: SeenTools) -> None:
        with in_use(database):
            sink = RememberTools()
            await sink.open()
            async with database.transaction() as connection:
                for statement in sink.statements(batch):
                    await connection.execute(statement.statement, list(statement.rows) or None)

    async def test_the_table_is_made_by_two_at_once_and_the_last_of_two_scans_stays(self, url: str) -> None:
        """In a database without it, as a run that keeps nothing may find one."""
        async with open_database(url) as database:
            async with database.transaction() as connection:
                await connection.execute(DropTable(assessment_tools))

            async def one(number: int) -> None:
                await self.write(database, seen(TARGET, Request(f"a{number}"), {"t": digests(str(number))}))

            with in_use(database):
                assert await remembered(TARGET, Request("x")) == (None, None)
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(one, number)
            async with database.reading() as connection:
                assert len((await connection.execute(sa.select(assessment_tools))).all()) == 1

    async def test_an_assessment_is_compared_with_the_one_before_it_however_often_it_is_made(
        self, database: Database
    ) -> None:
        first: Definitions = {"t": digests("1")}
        second: Definitions = {"t": digests("2")}
        with in_use(database):
            await self.write(database, seen(TARGET, Request("one"), first))
            assert await remembered(TARGET, Request("one")) == (None, None)
            for _ in range(3):
                assert await remembered(TARGET, Request("two")) == (first, None)
                await self.write(database, seen(TARGET, Request("two"), second))
            assert await remembered(TARGET, Request("three")) == (second, None)

    async def test_two_scans_of_one_server_in_one_batch_are_one_row(self, database: Database) -> None:
        twice = [seen(TARGET, Request("one"), {"t": digests(text)}) for text in "12"]
        await self.write(database, *twice)
        with in_use(database):
            assert await remembered(TARGET, Request("two")) == ({"t": digests("2")}, None)


def target(file: str, pointer: str, server: str, text: str | None = None) -> Target:
    candidate = None if text is None else Candidate(text)
    return Target("a", file, file, "", "", "", text or "", server, Place(file, pointer), candidate)


TARGETS = st.builds(
    target,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["/x", "/y"]),
    st.sampled_from("st"),
    st.sampled_from([None, "{}", "[]"]),
)


@given(TARGETS, TARGETS)
def test_servers_are_the_same_by_file_and_place_and_inline_by_text(one: Target, other: Target) -> None:
    assert (memory.key_of(one) == memory.key_of(other)) is (one == other)
