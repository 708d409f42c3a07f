"""Half characters (lone surrogates), which no database takes: they cost nobody a verdict, and no request has them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle import requests
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import open_store

from autocoder import Database
from tests.assessments.conftest import COMMAND, UNPINNED, Start, servers, write
from tests.assessments.lifecycle.shipped import serve
from tests.assessments.lifecycle.test_command import Cli, cli

__all__ = ["cli"]

pytestmark = pytest.mark.anyio
DEEP = {"with": {"allow_exec": True, "timeout": 60, "grace": 30}}
HOSTILE = """
import json, sys
TOOLS = [
    {"name": "\\ud800read_file", "description": "reads \\ud800 \\0 secret files", "inputSchema": {"type": "object",
     "properties": {"\\udfff": {"type": "string"}}}},
    {"name": "send_mail", "description": "sends mail to anyone \\udead", "inputSchema": {"type": "object"}},
    {"name": "fetch_web", "description": "fetch web page", "inputSchema": {"type": "object"},
     "annotations": {"readOnlyHint": True, "title": "\\ud800"}},
]
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        answer = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                             "serverInfo": {"name": "x", "version": "1"}, "instructions": "\\ud800 ignore"}}
    elif message["method"] == "tools/list":
        answer = {"result": {"tools": TOOLS}}
    else:
        answer = {"error": {"code": -32601, "message": "no"}}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


async def verdict(url: str, **asked: Any) -> dict[str, Any]:
    """What the service comes to, without a dead letter."""
    async with open_store(url) as store:
        made = await store.create({"timeout": 600, **asked})
        await serve(url, deep=DEEP)
        state = await store.get_state(made, fresh=True)
        assert await dead_letters(store.database) == []
    assert state.state is State.COMPLETED, state.error_message
    assert state.result is not None
    return dict(state.result)


async def dead_letters(database: Database) -> list[Any]:
    async with database.reading() as connection:
        found = await connection.execute(sa.text("SELECT error_message FROM dead_letter_queue"))
        return [each.error_message for each in found]


def said(report: dict[str, Any]) -> list[Any]:
    """The findings, and what each check came to."""
    outcomes = [{name: each[name] for name in ("check", "status", "file", "reason")} for each in report["outcomes"]]
    return [sorted(json.dumps(each, sort_keys=True) for each in found) for found in (report["findings"], outcomes)]


async def assessed(start: Start, *options: str) -> dict[str, Any]:
    """The same from `autocoder assess`."""
    process = start(COMMAND, "assess", ".", "--no-reports", "--format", "json", *options, env=dict(os.environ))
    out, err = await anyio.to_thread.run_sync(process.communicate)
    assert out, err.decode()
    report: dict[str, Any] = json.loads(out)
    return report


async def test_a_hostile_server_has_its_verdict(machine: Path, url: str, start: Start) -> None:
    write(machine / "it.py", HOSTILE)
    write(machine / ".mcp.json", servers(it={"command": sys.executable, "args": ["it.py"]}))
    settings = {"pipelines": {"assess": {"components": {"deep": DEEP}}}}
    write(machine / "config" / "development.yaml", json.dumps(settings))
    report = await verdict(url, paths=["."], deepScan=True)
    (deep,) = [each for each in report["outcomes"] if each["check"] == "deep"]
    assert (deep["status"], deep["reason"]) == ("fail", "3 tools inspected, for the first time")
    assert said(report) == said(await assessed(start, "--deep"))


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 alone")
async def test_a_folder_whose_name_is_no_text_is_judged_like_its_neighbours(
    machine: Path, url: str, start: Start
) -> None:
    write(machine / "good" / ".mcp.json", servers(a=UNPINNED))
    write(machine / os.fsdecode(b"bad\xff") / ".mcp.json", servers(b=UNPINNED))
    report = await verdict(url, paths=["."])
    assert [each["file"] for each in report["findings"]] == ["bad\\udcff/.mcp.json", "good/.mcp.json"]
    assert said(report) == said(await assessed(start))


async def test_the_command_refuses_a_path_that_cannot_be_kept(cli: Cli) -> None:
    answer = await cli("create", "--path", os.fsdecode(b"bad\xff"))
    assert answer.code == 2
    assert "paths: number 1 is no UTF-8" in answer.err
    assert "name the folder that holds it" in answer.err


async def test_what_an_older_version_stored_is_refused_with_the_field(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(url) as store:
        with monkeypatch.context() as patch:
            patch.setattr(requests, "_is_text", lambda _: True)
            made = await store.create({"paths": ["\ud800"]})
        await serve(url)
        state = await store.get_state(made, fresh=True)
        assert await dead_letters(store.database) == []
    assert (state.state, state.next_retry_at) == (State.FAILED, None)
    assert state.error_message == "this version does not understand the request: paths; create another one"
