"""Status probes in the service: they take part in the verdict, and end with the assessment that asked for them."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import open_store

from tests.assessments.conftest import servers, write
from tests.assessments.lifecycle.shipped import serve
from tests.assessments.probes.conftest import is_running, pids_in
from tests.assessments.probes.test_stdio import DEAF, LEGACY, PARENT, STAY

pytestmark = pytest.mark.anyio

STATUS = {"with": {"allow_exec": True, "timeout": 600, "grace": 0.1}}


async def test_a_health_assessment_asks_the_servers(machine: Path, url: str) -> None:
    write(machine / "it.py", LEGACY)
    write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py"]}))
    async with open_store(url) as store:
        await store.create({"id": "it", "type": "health", "paths": ["."], "timeout": 600})
        await serve(url, status={"with": {"allow_exec": True, "timeout": 60, "grace": 30}})
        state = await store.get_state("it", fresh=True)
    assert state.state is State.COMPLETED
    assert state.result is not None
    said = {each["check"]: each["reason"] for each in state.result["outcomes"] if each["server"] == "it"}
    assert (said["status"] or "").startswith("MCP 2025-06-18 over stdio, 1 tool listed in ")


async def test_who_cancels_an_assessment_ends_the_programs_that_it_started(machine: Path, url: str) -> None:
    pids = machine / "pids"
    write(machine / "it.py", DEAF + PARENT + STAY)
    write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py", str(pids)]}))
    async with open_store(url) as store:
        await store.create({"id": "it", "type": "health", "paths": ["."], "timeout": 600})
        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: serve(url, status=STATUS))
                started = await pids_in(pids, 3)
                await store.cancel("it", reason="enough")
        assert (await store.get_state("it", fresh=True)).state is State.CANCELLED
        actions = [each.change_action for each in await store.audit(AuditFilters(assessment_id="it"))]
    assert actions == ["create", "start", "cancel", "late_result"]
    assert not (machine / "assessment").exists() or not any((machine / "assessment").iterdir())
    assert not any(map(is_running, started))
