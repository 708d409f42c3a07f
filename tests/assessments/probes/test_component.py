"""ProbeServer in its pipelines: each option changes what happens, and the environment has the last word."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from autocoder_components.assessments import (
    DiscoverTargets,
    JoinOutcomes,
    PlanChecks,
    ProbeServer,
    Requests,
    ValidateConfig,
)
from autocoder_components.assessments.model import Joined, Status
from autocoder_components.assessments.probes.breaker import Breakers
from autocoder_components.assessments.requests import RequestSpec
from autocoder_components.assessments.rules import CATALOGUE
from autocoder_components.assessments.rules.status import THEME

from autocoder import Pipeline
from tests.assessments.conftest import Assess, servers, write
from tests.assessments.probes.conftest import (
    LOOPBACK,
    MODERN,
    SDK,
    answer,
    check_of,
    json_rpc,
    listening,
    probe,
    request_of,
    rules,
    stdio,
)
from tests.assessments.probes.test_stdio import LEGACY
from tests.support import Collect

SETTINGS = """\
database: {url: "sqlite:///it.db"}
pipelines:
  assess:
    components:
      status: {with: {allow_exec: true, timeout: 60, grace: 30}}
"""


def joined(request: dict[str, Any], **fields: Any) -> Joined:
    """What the chain of a health assessment comes to."""
    pipeline, got = Pipeline("p"), Collect()
    after = pipeline.add("requests", Requests(requests=[RequestSpec.model_validate(request)]))
    plan = pipeline.add("plan", PlanChecks(), after=pipeline.add("discover", DiscoverTargets(), after=after))
    ends = {
        "config": pipeline.add("config", ValidateConfig(), after=plan.port(PlanChecks.config)),
        "security": plan.port(PlanChecks.skipped),
        "status": pipeline.add("status", ProbeServer(**fields), after=plan.port(PlanChecks.status)),
        "deep": pipeline.add("deep", ValidateConfig(), after=plan.port(PlanChecks.deep)),
        "skipped": pipeline.add("none", ValidateConfig(), after=plan.port(PlanChecks.security)),
    }
    pipeline.add("got", got, after=pipeline.add("join", JoinOutcomes(), after=ends))
    pipeline.run()
    (one,) = got.got
    assert isinstance(one, Joined)
    return one


def test_a_health_assessment_joins_the_configuration_and_the_answers_of_the_servers(machine: Path) -> None:
    names = [f"s{number}" for number in range(3)]
    write(machine / "it.py", LEGACY)
    write(machine / ".mcp.json", servers(**{name: stdio([sys.executable, "it.py"]) for name in names}))
    outcomes = joined({"type": "health", "paths": ["."]}, allow_exec=True, grace=30, timeout=60).outcomes
    said = [(each.target.server, each.kind, each.status) for each in outcomes if each.target and each.kind == "status"]
    assert said == [(name, "status", Status.PASS) for name in names]
    assert len(outcomes) == 4 + 3


def test_without_permission_the_answers_are_skipped_and_the_rest_is_judged(machine: Path) -> None:
    write(machine / ".mcp.json", servers(a={"command": "x"}, b={"type": "http", "url": "https://mcp.example.org/"}))
    outcomes = joined({"type": "health", "paths": ["."]}).outcomes
    reasons = {each.target.server: each.reason for each in outcomes if each.target and each.kind == "status"}
    assert reasons["a"] == "starting programs is not allowed here; allow it with the field allow_exec of ProbeServer"
    # Whether the name is known is not even asked where no name is allowed.
    assert reasons["b"] == (
        "'mcp.example.org' is not among the hosts that probes may contact here; allow it in the field hosts of ProbeServer"
    )


class TestCommand:
    def config(self, machine: Path) -> None:
        write(machine / "clients" / ".mcp.json", servers(sums=stdio([sys.executable, str(SDK), "stdio"])))

    def test_the_settings_of_the_environment_allow_what_the_command_asks_for(
        self, machine: Path, assess: Assess
    ) -> None:
        self.config(machine)
        (machine / "config").mkdir()
        write(machine / "config" / "development.yaml", SETTINGS)
        said = assess("clients", "--status", "--format", "json", "--no-reports")
        (status,) = [each for each in said.json()["outcomes"] if each["check"] == "status"]
        assert status["status"] == "pass"
        assert status["reason"].startswith("MCP 2026-07-28 over stdio, 2 tools listed in ")

    def test_asked_for_and_not_allowed_is_said(self, machine: Path, assess: Assess) -> None:
        self.config(machine)
        said = assess("clients", "--status", "--no-reports")
        assert "starting programs is not allowed here" in " ".join(said.out.split())
        assert said.code == 0

    def test_a_gate_is_no_pass_for_what_was_asked_for_and_is_not_allowed(self, machine: Path, assess: Assess) -> None:
        two = {name: stdio([sys.executable, str(SDK), "stdio"]) for name in ("sums", "more")}
        write(machine / "clients" / ".mcp.json", servers(**two))
        said = assess("clients", "--status", "--deep", "--no-reports", "--fail-on", "critical")
        assert said.code == 1
        allow = "starting programs is not allowed here; allow it with the field allow_exec of"
        where = "in the settings at pipelines.assess.components"
        closed = [each for each in said.err.splitlines() if each.startswith("the gate is closed")]
        asked = "the gate is closed: 2 {0} checks asked for, the first of sums: {1} {2}, {3}.{0}.with"
        assert sorted(closed) == [
            asked.format("deep", allow, "InspectTools", where),
            asked.format("status", allow, "ProbeServer", where),
        ]
        assert assess("clients", "--no-reports", "--fail-on", "critical").code == 0

    def test_what_does_not_apply_closes_no_gate(self, machine: Path, assess: Assess) -> None:
        socket = {"type": "ws", "url": "wss://mcp.example.org/"}
        write(machine / "clients" / ".mcp.json", servers(off={"command": "x", "disabled": True}, ws=socket))
        said = assess("clients", "--status", "--deep", "--no-reports", "--fail-on", "critical")
        assert (said.code, said.err) == (0, "")

    def test_not_asked_for_nothing_is_started_though_it_is_allowed(self, machine: Path, assess: Assess) -> None:
        marker = machine / "started"
        write(machine / "it.py", f"open({str(marker)!r}, 'w')\n{LEGACY}")
        write(machine / "clients" / ".mcp.json", servers(it=stdio([sys.executable, str(machine / "it.py")])))
        (machine / "config").mkdir()
        write(machine / "config" / "development.yaml", SETTINGS)
        said = assess("clients", "--format", "json", "--no-reports")
        assert {each["check"] for each in said.json()["outcomes"]} == {"config", "security"}
        assert not marker.exists()
        assess("clients", "--status", "--format", "none", "--no-reports")
        assert marker.exists()

    def test_findings_of_servers_are_in_sarif_by_their_rules(self, machine: Path, assess: Assess) -> None:
        write(machine / "clients" / ".mcp.json", servers(gone={"command": "no-such-program"}))
        (machine / "config").mkdir()
        write(machine / "config" / "development.yaml", SETTINGS)
        run = assess("clients", "--status", "--format", "sarif", "--no-reports").json()["runs"][0]
        (result,) = [each for each in run["results"] if each["ruleId"] == "AC-801"]
        assert "There is no program 'no-such-program'" in result["message"]["text"]
        assert "AC-801" in {each["id"] for each in run["tool"]["driver"]["rules"]}


@pytest.mark.anyio
class TestFields:
    async def test_timeout_of_the_request_counts_where_it_is_less(self) -> None:
        async def mute(stream: SocketStream) -> None:
            await anyio.sleep_forever()

        async with listening(mute) as port:
            server = {"type": "http", "url": f"http://127.0.0.1:{port}/"}
            for own, asked, said in ((0.2, 3600, "No end after 0.2 s"), (3600, 0.3, "No end after 0.3 s")):
                component = ProbeServer(hosts=LOOPBACK, timeout=own, failures=100)
                await component.open()
                (finding,) = (await component.process(check_of(server, timeout=asked))).findings
                assert said in finding.message

    async def test_what_is_asked_behind_the_time_of_its_assessment_is_an_error_and_not_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def over(_: object) -> float:
            return -0.1

        monkeypatch.setattr("autocoder_components.assessments.probes.asking.seconds_left", over)
        outcome = await probe({"command": "no-such-program"})
        assert outcome.status is Status.ERROR
        assert "over before the server was asked" in (outcome.reason or "")

    async def test_slow(self) -> None:
        async with listening(json_rpc(MODERN)) as port:
            server = {"type": "http", "url": f"http://127.0.0.1:{port}/"}
            assert rules(await probe(server, slow=3600)) == []
            assert rules(await probe(server, slow=1e-9)) == ["AC-814"]

    async def test_message_bytes_and_total_bytes(self) -> None:
        tool = {"name": "long", "inputSchema": {}, "description": "x" * 2000}
        results = {**MODERN, "tools/list": {"tools": [tool]}}
        async with listening(json_rpc(results)) as port:
            server = {"type": "http", "url": f"http://127.0.0.1:{port}/"}
            assert rules(await probe(server, message_bytes=3000, total_bytes=3000)) == []
            (finding,) = (await probe(server, message_bytes=1000)).findings
            assert "An answer is longer than 1,000 bytes" in finding.message
            (finding,) = (await probe(server, total_bytes=1000)).findings
            assert "answers more than 1,000 bytes" in finding.message

    async def test_pause_and_failures(self) -> None:
        async def hang_up(stream: SocketStream) -> None:
            return

        async with listening(hang_up) as port:
            pass
        component = ProbeServer(hosts=LOOPBACK, failures=1, pause=1e-9)
        await component.open()
        server = {"type": "http", "url": f"http://127.0.0.1:{port}/"}
        assert [(await component.process(check_of(server))).status for _ in range(3)] == [Status.FAIL] * 3

    async def test_who_comes_too_late_does_not_use_up_the_one_try_of_a_host(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, left = 0.0, math.inf

        async def seconds_left(_: object) -> float:
            return left

        monkeypatch.setattr("autocoder_components.assessments.probes.asking.seconds_left", seconds_left)
        component = ProbeServer(hosts=LOOPBACK)
        await component.open()
        component._breakers = Breakers(1, 60, lambda: now)
        check = check_of({"type": "http", "url": "http://127.0.0.1:1/"})
        assert (await component.process(check)).status is Status.FAIL
        now, left = 61.0, -0.1
        assert "over before the server was asked" in ((await component.process(check)).reason or "")
        left = math.inf
        assert (await component.process(check)).status is Status.FAIL

    async def test_a_try_that_was_cancelled_tells_nothing_of_the_host(self) -> None:
        async def mute(stream: SocketStream) -> None:
            await anyio.sleep_forever()

        async with listening(mute) as port:
            check = check_of({"type": "http", "url": f"http://127.0.0.1:{port}/"})
            component = ProbeServer(hosts=LOOPBACK, timeout=0.4, failures=2, pause=1000)
            await component.open()
            assert (await component.process(check)).status is Status.FAIL
            with anyio.move_on_after(0.1) as scope:
                await component.process(check)
            assert scope.cancelled_caught
            assert [(await component.process(check)).status for _ in range(2)] == [Status.FAIL, Status.ERROR]

    async def test_variables_are_used_in_addresses_and_headers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROBE_TOKEN", "sk-given")
        heads: list[str] = []

        async def handler(stream: SocketStream) -> None:
            head, body = await request_of(stream)
            heads.append(head)
            result = MODERN[json.loads(body)["method"]]
            reply = json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}).encode()
            await stream.send(answer(200, reply, "Content-Type: application/json"))

        async with listening(handler) as port:
            url = f"http://127.0.0.1:{port}/${{PROBE_PATH:-mcp}}"
            server = {"type": "http", "url": url, "headers": {"Authorization": "Bearer ${PROBE_TOKEN}"}}
            refused = await probe(server)
            outcome = await probe(server, variables=["PROBE_TOKEN"])
        assert "refers to the variable 'PROBE_TOKEN'" in (refused.reason or "")
        assert outcome.status is Status.PASS
        assert all("POST /mcp " in head and "Bearer sk-given" in head for head in heads)
        assert "sk-given" not in repr(outcome)


def test_every_rule_of_the_probes_is_in_the_catalogue() -> None:
    assert {rule.id for rule in THEME.catalogue} <= CATALOGUE.keys()
    assert len({rule.id for rule in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"type": "ws", "url": "wss://mcp.example.org/"}, "which no probe speaks"),
        ({"url": "wss://mcp.example.org/"}, "is reached by WebSocket"),
        ({"type": "websocket", "url": "https://mcp.example.org/"}, "ask for one that speaks Streamable HTTP"),
        ({"type": "http", "url": "ftp://mcp.example.org/"}, "is no URL of http or https"),
        ({"env": {}}, "neither a program nor an address"),
    ],
)
async def test_what_no_probe_can_ask_is_skipped_with_the_reason(server: dict[str, Any], said: str) -> None:
    outcome = await probe(server)
    assert outcome.status is Status.SKIPPED
    assert said in (outcome.reason or "")


@pytest.mark.anyio
async def test_a_hostile_text_does_not_hold_up_the_other_probes() -> None:
    started = time.process_time()
    await probe({"command": "no-such-program", "args": ["${A:-" * 13_000, "${" * 32_000]})
    assert time.process_time() - started < 12


@pytest.mark.anyio
async def test_what_stands_in_place_of_a_variable_is_used_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROBE_CODE", raising=False)
    allowed = "${PROBE_CODE:-" + "#" * 1000 + "}"
    outcome = await probe({"command": "no-such-program", "args": [allowed]})
    assert "the configuration needs" not in (outcome.reason or "")
    outcome = await probe({"command": "no-such-program", "args": [allowed.replace("#", "##")]})
    assert "the configuration needs" in (outcome.reason or "")


@pytest.mark.anyio
async def test_without_the_http_library_an_address_is_an_error_with_the_cure_and_a_program_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httpcore2", None)
    outcome = await probe({"type": "http", "url": "http://127.0.0.1:1/"})
    assert outcome.status is Status.ERROR
    assert "pip install 'autocoder[http]'" in (outcome.reason or "")
    assert (await probe(stdio([sys.executable, "-c", LEGACY]))).status is Status.PASS


@pytest.mark.anyio
async def test_a_probe_that_breaks_is_an_error_that_says_where_but_not_on_what(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("sk-never-shown")

    monkeypatch.setattr("autocoder_components.assessments.probes.asking.subject_of", broken)
    outcome = await probe({"command": "x"})
    assert outcome.status is Status.ERROR
    assert "the probe broke on this server (RuntimeError at test_component.py:" in (outcome.reason or "")
    assert "sk-never-shown" not in (outcome.reason or "")
