"""Servers that are programs: what the public package makes, and programs that mean harm. None outlives its probe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import pytest
from autocoder_components.assessments import ProbeServer
from autocoder_components.assessments.model import Status
from autocoder_components.assessments.probes.outcome import Limits, Trace
from autocoder_components.assessments.probes.stdio import Program, probe_program

from tests.assessments.probes.conftest import (
    SDK,
    Write,
    check_of,
    is_running,
    late,
    noted,
    pids_in,
    probe,
    rules,
    stdio,
)

pytestmark = pytest.mark.anyio

LEGACY = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        said = {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {}}}
    elif asked["method"] == "tools/list":
        said = {"result": {"tools": [{"name": "a", "inputSchema": {}}]}}
    else:
        said = {"error": {"code": -32601, "message": "no"}}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""
NOTE = """
import os, sys
with open(sys.argv[1], "a") as pids: pids.write(f"{os.getpid()}\\n")
"""
STAY = "import time\nwhile True: time.sleep(1000)\n"
DEAF = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{NOTE}\n"
PARENT = """
import subprocess, sys
for apart in (False, True):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=apart)
    with open(sys.argv[1], "a") as pids: pids.write(f"{child.pid}\\n")
"""


async def test_a_server_of_the_public_package_speaks_the_new_revision() -> None:
    outcome = await probe(stdio([sys.executable, str(SDK), "stdio"]))
    assert outcome.findings == ()
    assert outcome.status is Status.PASS
    assert (outcome.reason or "").startswith("MCP 2026-07-28 over stdio, 2 tools listed in ")


async def test_one_that_breaks_on_the_new_question_is_asked_the_old_one_in_a_second_process(program: Write) -> None:
    guard = f"""
import subprocess, sys
first = sys.stdin.readline()
if "server/discover" in first: sys.exit(3)
server = subprocess.Popen([sys.executable, {str(SDK)!r}, "stdio"], stdin=subprocess.PIPE, text=True)
server.stdin.write(first)
server.stdin.flush()
for line in sys.stdin:
    server.stdin.write(line)
    server.stdin.flush()
server.stdin.close()
server.wait()
"""
    outcome = await probe(stdio(program(guard)))
    assert outcome.findings == ()
    assert (outcome.reason or "").startswith("MCP 2025-11-25 over stdio, 2 tools listed in ")


async def test_one_that_refuses_the_new_question_is_asked_the_old_one(program: Write) -> None:
    outcome = await probe(stdio(program(LEGACY)))
    assert (outcome.reason or "").startswith("MCP 2025-06-18 over stdio, 1 tool listed in ")


async def test_one_that_says_nothing_to_the_new_question_is_asked_the_old_one(program: Write) -> None:
    silent = LEGACY.replace('    if "id" in asked:', '    if "id" in asked and asked["method"] != "server/discover":')
    with anyio.fail_after(60):
        answered = await probe_program(Program(tuple(program(silent)), {}), Limits(patience=0.1, grace=30), Trace())
    assert (answered.version, answered.tools) == ("2025-06-18", 1)


@pytest.mark.parametrize(
    ("text", "rule", "said"),
    [
        ("import sys; sys.exit(7)", "AC-802", "ends with exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "AC-802", "is ended by signal 9"),
        ("import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000)", "AC-811", "longer than 4,194,304 bytes"),
        ("import sys\nwhile True: sys.stdout.write('x' * 999 + '\\n')", "AC-811", "more than 16,777,216 bytes"),
    ],
    ids=["dies", "killed", "one long line", "endless lines"],
)
async def test_programs_that_mean_harm(program: Write, text: str, rule: str, said: str) -> None:
    outcome = await probe(stdio(program(text)))
    assert outcome.status is Status.FAIL
    assert rule in rules(outcome)
    assert any(said in each.message for each in outcome.findings)


async def test_deep_garbage_is_passed_over_and_no_answer(program: Write, tmp_path: Path) -> None:
    """It was read where the question after the next one comes, as answers stand behind it."""
    asked = tmp_path / "asked"
    silent = LEGACY.replace(
        'said = {"result": {"tools"', f"open({str(asked)!r}, 'w'); continue\n        said = {{'result': {{'tools'"
    )
    garbage = "print('[' * 1_000_000, flush=True)\n"
    outcome, _ = await late(asked.exists, stdio(program(garbage + silent)))
    assert outcome.status is Status.FAIL
    assert "AC-812" in rules(outcome)
    assert any("No end after" in each.message for each in outcome.findings)


@pytest.mark.parametrize(
    "text",
    [STAY, "import time, sys\nwhile True:\n    sys.stdout.write('x')\n    sys.stdout.flush()\n    time.sleep(0.01)\n"],
    ids=["never answers", "slow drip"],
)
async def test_one_that_does_not_answer_has_its_time_and_no_more(program: Write, text: str) -> None:
    outcome = await probe(stdio(program(text)), timeout=0.5, grace=0.1)
    assert rules(outcome) == ["AC-812"]
    assert "No end after 0.5 s, waiting for the answer to" in outcome.findings[0].message


async def test_garbage_between_messages_is_remarked_on(program: Write) -> None:
    outcome = await probe(stdio(program("print('Welcome! sk-never-shown', flush=True)" + LEGACY)))
    assert rules(outcome) == ["AC-816"]
    assert "sk-never-shown" not in str(outcome.findings)


async def test_one_that_ignores_its_end_and_sigterm_is_killed_and_remarked_on(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await probe(stdio([*program(DEAF + LEGACY + STAY), str(pids)]), grace=0.2)
    assert rules(outcome) == ["AC-815"]
    assert "still runs 0.2 s after its input has closed" in outcome.findings[0].message
    (pid,) = await pids_in(pids, 1)
    assert not is_running(pid)


async def test_what_a_program_leaves_behind_is_remarked_on_and_ended(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await probe(stdio([*program(PARENT + LEGACY), str(pids)]))
    assert rules(outcome) == ["AC-815"]
    assert "leaves processes behind" in outcome.findings[0].message
    assert [is_running(each) for each in await pids_in(pids, 2)] == [False, False]


async def test_after_a_timeout_no_process_is_left(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    words = [*program(DEAF + PARENT + STAY), str(pids)]
    outcome, _ = await late(lambda: noted(pids) >= 3, stdio(words), grace=0.1)
    assert rules(outcome) == ["AC-812"]
    assert not any(is_running(each) for each in await pids_in(pids, 3))


async def test_after_a_cancellation_no_process_is_left(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    component = ProbeServer(allow_exec=True, timeout=600, grace=0.1)
    await component.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(component.process, check_of(stdio([*program(DEAF + PARENT + STAY), str(pids)])))
        started = await pids_in(pids, 3)
        assert all(map(is_running, started))
        tasks.cancel_scope.cancel()
    assert not any(map(is_running, started))


async def test_a_program_gets_what_its_configuration_says_and_nothing_else(
    program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sk-never-passed-on")
    monkeypatch.setenv("GIVEN", "given")
    seen = tmp_path / "seen"
    listing = f"import os, json\nopen({str(seen)!r}, 'w').write(json.dumps([dict(os.environ), os.getcwd()]))\n"
    folder = tmp_path / "folder"
    folder.mkdir()
    environment = {"OWN": "1", "PORT": 8080, "REFERRED": "${GIVEN}", "OTHERWISE": "${UNSET_VARIABLE:-else}"}
    outcome = await probe(
        stdio(program(listing + LEGACY), env=environment, cwd=str(folder)), variables=["GIVEN"], allow_exec=True
    )
    assert outcome.status is Status.PASS
    got, where = json.loads(seen.read_text())
    usual = {"AUTOCODER_PROBE", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "PWD", "TMPDIR", "TZ", "USER"}
    assert {name: value for name, value in got.items() if name not in usual} == {
        "OWN": "1",
        "PORT": "8080",
        "REFERRED": "given",
        "OTHERWISE": "else",
    }
    assert where == str(folder)


async def test_pass_on_says_which_variables_of_this_environment_a_program_gets(
    program: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "given")
    seen = tmp_path / "seen"
    listing = f"import os, json\nopen({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))\n"
    for names, got in (([], {}), (["GIVEN", "UNSET_VARIABLE"], {"GIVEN": "given"})):
        outcome = await probe(stdio(program(listing + LEGACY)), pass_on=names)
        assert outcome.status is Status.PASS
        of_python = {"AUTOCODER_PROBE", "LC_CTYPE"}
        assert {name: each for name, each in json.loads(seen.read_text()).items() if name not in of_python} == got


@pytest.mark.parametrize("value", ["${GIVEN}", "${env:GIVEN}", "${input:key}", "${{ secrets.KEY }}"])
async def test_a_reference_to_what_is_not_given_is_no_question_for_the_server(
    program: Write, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GIVEN", "sk-never-shown")
    outcome = await probe(stdio(program(LEGACY), env={"KEY": value}))
    assert outcome.status is Status.SKIPPED
    assert (outcome.reason or "").startswith("the configuration ")
    assert "sk-never-shown" not in (outcome.reason or "")


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"command": "no-such-program-anywhere"}, "There is no program 'no-such-program-anywhere'"),
        ({"command": "./no-such-file"}, "There is no program './no-such-file'"),
        ({"command": sys.executable, "cwd": "/no/such/folder"}, "The working folder '/no/such/folder' does not exist"),
        ({"command": sys.executable, "args": ["a\0b"]}, "cannot be passed on"),
    ],
)
async def test_a_program_that_cannot_be_started_is_a_finding(server: dict[str, object], said: str) -> None:
    outcome = await probe(server)
    assert rules(outcome) == ["AC-801"]
    assert said in outcome.findings[0].message


async def test_nothing_is_started_where_that_is_not_allowed(program: Write, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    server = stdio([*program(NOTE + LEGACY), str(pids)])
    component = ProbeServer()
    await component.open()
    outcome = await component.process(check_of(server))
    assert outcome.status is Status.SKIPPED
    assert "starting programs is not allowed here" in (outcome.reason or "")
    assert not pids.exists()
    assert (await probe(server)).status is Status.PASS
    assert pids.exists()


async def test_a_server_that_is_switched_off_is_left_alone(program: Write) -> None:
    outcome = await probe(stdio(program(LEGACY), disabled=True))
    assert outcome.status is Status.SKIPPED
    assert outcome.reason == "the server is switched off in its configuration"


STAGES = """
import json, sys
era, stage, what, harmed = sys.argv[1:]
def harm():
    open(harmed, "w").close()
    if what == "silence":
        while True: sys.stdin.readline()
    if what == "garbage":
        print("\\x00\\xff {", '[1]', '"x"', "{}", '{"jsonrpc": "2.0", "id": 99, "result": {}}', sep="\\n", flush=True)
        while True: sys.stdin.readline()
    if what == "death": sys.exit(9)
    if what == "long line":
        for _ in range(100): sys.stdout.write("x" * 1_000_000)
    if what == "drip":
        import time
        while True:
            sys.stdout.write("x"); sys.stdout.flush(); time.sleep(0.01)
answers = {
    "new": {"server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}},
    "old": {"initialize": {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {}}},
}[era] | {"tools/list": {"tools": []}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked: continue
    if asked["method"] == stage: harm()
    result = answers.get(asked["method"])
    part = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **part}), flush=True)
"""


@pytest.mark.parametrize(("era", "stage"), [("new", "tools/list"), ("old", "initialize"), ("old", "tools/list")])
@pytest.mark.parametrize(
    ("what", "rule"),
    [("silence", "AC-812"), ("garbage", "AC-812"), ("drip", "AC-812"), ("death", "AC-802"), ("long line", "AC-811")],
)
async def test_harm_at_each_step_of_either_era(
    program: Write, tmp_path: Path, era: str, stage: str, what: str, rule: str
) -> None:
    harmed = tmp_path / "harmed"
    server = stdio([*program(STAGES), era, stage, what, str(harmed)])
    outcome = (await late(harmed.exists, server))[0] if rule == "AC-812" else await probe(server)
    assert outcome.status is Status.FAIL
    assert rule in rules(outcome)
    assert harmed.exists()
    (found,) = [each for each in outcome.findings if each.rule == rule]
    if rule != "AC-811":
        assert {"initialize": "initialize", "tools/list": "list of tools"}[stage] in found.message
