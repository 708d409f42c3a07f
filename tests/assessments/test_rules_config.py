"""The rules on text, structure and values: each finds its kind of thing, and leaves its neighbours alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autocoder_components.assessments.model import Severity

from tests.assessments.judging import judge, places, rules, server

Parts = dict[str, Any]
NPX = {"command": "npx", "args": ["-y", "pkg@1.0.0"]}


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ('{"mcpServers": {\n"a": {"command": "x"', "AC-101", 2),
        ('{\n<<<<<<< HEAD\n"mcpServers": {}\n=======\n>>>>>>> b\n}', "AC-102", 2),
        ('{"mcpServers": {},\n}', "AC-103", 1),
        ('{\n// note\n"mcpServers": {}}', "AC-104", 2),
        ('{"mcpServers": {},\n"mcpServers": {}}', "AC-105", 2),
        ("{\n'mcpServers': {}}", "AC-106", 2),
        ('\ufeff{"mcpServers": {}}', "AC-107", 1),
        ("[" * 200, "AC-108", 1),
    ],
)
def test_text(text: str, rule: str, line: int) -> None:
    assert line in [finding.place.line for finding in judge(text) if finding.rule == rule]


def test_what_a_client_tolerates_is_information_only() -> None:
    text = '{// note\n"servers": {"a": {"command": "x",}}}'
    tolerated = {f.rule: f.severity for f in judge(text, ".vscode/mcp.json")}
    refused = {f.rule: f.severity for f in judge(text, ".cursor/mcp.json")}
    assert (tolerated["AC-103"], tolerated["AC-104"]) == (Severity.INFO, Severity.INFO)
    assert (refused["AC-103"], refused["AC-104"]) == (Severity.LOW, Severity.LOW)


def test_many_comments_are_one_finding() -> None:
    findings = judge('{// a\n// b\n// c\n"mcpServers": {}}')
    assert [f.message for f in findings if f.rule == "AC-104"] == ["A comment (and 2 more of this kind)"]


def test_strict_json_has_no_finding_on_its_text() -> None:
    assert not {r for r in rules(judge({"mcpServers": {"a": NPX}})) if r.startswith("AC-1")}


@pytest.mark.parametrize(
    ("path", "config", "rule", "pointer"),
    [
        ("mcp.json", {"thing": {"what": "ever"}}, "AC-201", ""),
        ("mcp.json", {"mcpServers": {}}, "AC-201", "/mcpServers"),
        (".cursor/mcp.json", {"servers": {"a": NPX}}, "AC-202", "/servers"),
        (".vscode/mcp.json", {"mcpServers": {"a": NPX}}, "AC-202", "/mcpServers"),
        (".cursor/mcp.json", {"mcpServers": {"a": NPX}, "settings": {}}, "AC-203", "/settings"),
        ("mcp.json", {"mcpServers": {"a": {"comand": "x"}}}, "AC-203", "/mcpServers/a/comand"),
        ("mcp.json", {"mcpServers": {"a": {"command": "x", "args": "y"}}}, "AC-204", "/mcpServers/a/args"),
        ("mcp.json", {"mcpServers": {"a": "npx"}}, "AC-204", "/mcpServers/a"),
        ("opencode.json", {"mcp": {"a": {"type": "local", "command": "npx x"}}}, "AC-204", "/mcp/a/command"),
        (
            ".roo/mcp.json",
            {"mcpServers": {"a": {"type": "http", "url": "https://x.example"}}},
            "AC-205",
            "/mcpServers/a/type",
        ),
        (
            "mcp.json",
            {"mcpServers": {"a": {"command": "x", "url": "https://x.example"}}},
            "AC-206",
            "/mcpServers/a/url",
        ),
        ("mcp.json", {"mcpServers": {"a": {"args": ["x"]}}}, "AC-207", "/mcpServers/a"),
        (
            "mcp.json",
            {"mcpServers": {"a": {"type": "sse", "url": "https://x.example/mcp"}}},
            "AC-208",
            "/mcpServers/a/type",
        ),
        ("mcp.json", {"mcpServers": {"a": {"type": "http", "command": "x"}}}, "AC-208", "/mcpServers/a/type"),
        ("mcp.json", {"mcpServers": {"A": NPX, "a": {"command": "y"}}}, "AC-209", "/mcpServers/a"),
        (
            "claude_desktop_config.json",
            {"mcpServers": {"a": {"url": "https://x.example/mcp"}}},
            "AC-210",
            "/mcpServers/a/url",
        ),
        (".cursor/mcp.json", {"mcpServers": [NPX]}, "AC-204", "/mcpServers"),
        ("mcp.json", {"mcpServers": {"a": {"url": "mcp.x.example/mcp"}}}, "AC-224", "/mcpServers/a/url"),
        ("mcp.json", {"mcpServers": {"a": {"url": "htps://x.example/mcp"}}}, "AC-224", "/mcpServers/a/url"),
        ("mcp.json", {"mcpServers": {"a": {"url": "https:/x.example"}}}, "AC-224", "/mcpServers/a/url"),
        ("mcp.json", {"mcpServers": {"a": {"url": "https:///mcp"}}}, "AC-224", "/mcpServers/a/url"),
        ("mcp.json", {"mcpServers": {"a": {"url": "https://x. example/mcp"}}}, "AC-224", "/mcpServers/a/url"),
    ],
)
def test_structure(path: str, config: object, rule: str, pointer: str) -> None:
    assert pointer in [finding.place.pointer for finding in judge(config, path) if finding.rule == rule]


@pytest.mark.parametrize(
    ("path", "config"),
    [
        (".mcp.json", {"a": {"type": "http", "url": "https://x.example/mcp"}}),
        (".vscode/mcp.json", {"inputs": [], "servers": {"a": {"type": "stdio", "command": "x", "envFile": ".env"}}}),
        ("opencode.json", {"$schema": "x", "theme": "x", "mcp": {"a": {"type": "local", "command": ["x"]}}}),
        ("opencode.json", {"theme": "x"}),
        (".gemini/settings.json", {"theme": "x", "mcpServers": {"a": {"httpUrl": "https://x.example/mcp"}}}),
        (".zed/settings.json", {"context_servers": {"a": {"source": "custom", "command": {"path": "x", "args": []}}}}),
        (
            "cline_mcp_settings.json",
            {"mcpServers": {"a": {**NPX, "disabled": False, "autoApprove": [], "timeout": 60}}},
        ),
        ("claude_desktop_config.json", {"globalShortcut": "x", "mcpServers": {"a": NPX}}),
        (".cursor/mcp.json", {"mcpServers": {"a": {**NPX, "disabled": False}}}),
        (".cursor/mcp.json", {"mcpServers": {"a": NPX}, "servers": {}}),
        (".continue/config.json", {"mcpServers": [{"name": "a", **NPX}]}),
        (
            ".continue/config.json",
            {"experimental": {"modelContextProtocolServers": [{"transport": {"type": "stdio", **NPX}}]}},
        ),
        ("mcp.json", {"mcpServers": {"a": {"url": "https://ada:${TOKEN}@[::1]:8080/mcp?x=y"}}}),
        ("mcp.json", {"mcpServers": {"a": {"url": "https://x.example"}, "b": {"url": "http://[::1]:8080"}}}),
        ("mcp.json", {"mcpServers": {"a": {"url": "${MCP_URL}/mcp"}, "b": {"url": "{env:URL}"}}}),
    ],
)
def test_good_structure_has_no_finding(path: str, config: object) -> None:
    assert not {rule for rule in rules(judge(config, path)) if rule.startswith("AC-2")}


def test_foreign_keys_of_a_server_are_said_once_at_the_one_meant_to_act() -> None:
    findings = server(**NPX, description="x", server_type="stdio", working_directory="x")
    assert places(findings, "AC-203") == ["/server_type"]


def test_a_restriction_that_is_ignored_weighs_more() -> None:
    findings = server(".cursor/mcp.json", **NPX, disabled=True)
    assert [f.severity for f in findings if f.rule == "AC-203"] == [Severity.LOW]


@pytest.mark.parametrize(
    ("path", "parts", "rule", "pointer"),
    [
        ("mcp.json", {"command": "npx -y pkg"}, "AC-211", "/command"),
        ("mcp.json", {"command": "/usr/bin/node /srv/x.js"}, "AC-211", "/command"),
        ("mcp.json", {"command": "~/bin/x"}, "AC-212", "/command"),
        ("mcp.json", {"command": "x", "args": ["--db=~/x.db"]}, "AC-212", "/args/0"),
        ("mcp.json", {"command": "x", "args": ["'/srv/my files'"]}, "AC-213", "/args/0"),
        ("mcp.json", {"command": "/Users/ada/bin/x"}, "AC-214", "/command"),
        ("mcp.json", {"command": "node", "args": ["D:\\work\\x.js"]}, "AC-214", "/args/0"),
        ("mcp.json", {"command": "node", "args": ["x.js"], "cwd": "/home/ada/x"}, "AC-214", "/cwd"),
        ("mcp.json", {"command": "x", "args": ["--dir=/home/ada/x"]}, "AC-214", "/args/0"),
        ("mcp.json", {"command": "bash", "args": ["-c", "cd /home/ada/x && ./run"]}, "AC-214", "/args/1"),
        ("mcp.json", {"command": "docker", "args": ["run", "-v", "/Users/ada/x:/x", "i:1"]}, "AC-214", "/args/2"),
        ("mcp.json", {"command": "node", "args": ["/path/to/server.js"]}, "AC-216", "/args/0"),
        ("mcp.json", {"command": "node", "args": ["C:\\Users\\YOUR_NAME\\x.js"]}, "AC-216", "/args/0"),
        ("mcp.json", {"command": "node", "args": ["<folder>/x.js"]}, "AC-216", "/args/0"),
        ("mcp.json", {"command": "npx", "args": ["pkg@1.0.0"]}, "AC-217", "/args"),
        ("mcp.json", {"command": "cmd", "args": ["/c", "npx", "pkg@1.0.0"]}, "AC-217", "/args"),
        ("mcp.json", {"command": "bash", "args": []}, "AC-218", "/args"),
        ("mcp.json", {"command": "python"}, "AC-218", "/command"),
        ("mcp.json", {**NPX, "env": {"API_TOKEN": ""}}, "AC-219", "/env/API_TOKEN"),
        ("mcp.json", {**NPX, "env": {"API_TOKEN": "YOUR_API_TOKEN"}}, "AC-220", "/env/API_TOKEN"),
        ("mcp.json", {**NPX, "env": {"API_TOKEN": "xxxxxxxx"}}, "AC-220", "/env/API_TOKEN"),
        ("mcp.json", {**NPX, "env": {"API_TOKEN": "<your token>"}}, "AC-220", "/env/API_TOKEN"),
        ("mcp.json", {"command": "x", "args": ["--api-key", "your-api-key"]}, "AC-220", "/args/1"),
        ("mcp.json", {"command": "x", "args": ["postgresql://user:password@host/db"]}, "AC-220", "/args/0"),
        ("mcp.json", {"url": "https://your-domain.example/mcp"}, "AC-220", "/url"),
        (
            "mcp.json",
            {"url": "https://x.example", "headers": {"Authorization": "Bearer YOUR_TOKEN"}},
            "AC-220",
            "/headers/Authorization",
        ),
        ("claude_desktop_config.json", {**NPX, "env": {"A": "${A}"}}, "AC-222", "/env/A"),
        (".cursor/mcp.json", {**NPX, "env": {"A": "${A}"}}, "AC-222", "/env/A"),
        ("mcp.json", {"command": "cd x && npm start"}, "AC-223", "/command"),
        ("mcp.json", {"command": "npm", "args": ["start", "|", "tee", "x"]}, "AC-223", "/args/1"),
    ],
)
def test_values(path: str, parts: Parts, rule: str, pointer: str) -> None:
    assert pointer in places(server(path, **parts), rule)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("mcp.json", {"command": "C:\\Program Files\\nodejs\\node.exe", "args": ["x.js"]}),
        ("mcp.json", {"command": "/Applications/My App.app/run", "args": ["x"]}),
        ("mcp.json", {"command": "node", "args": ["./dist/index.js", "--path", "/mcp", "--flag"]}),
        ("mcp.json", {"command": "/usr/bin/env", "args": ["node", "x.js"]}),
        ("mcp.json", {"command": "npx", "args": ["--yes", "pkg@1.0.0"]}),
        ("mcp.json", {"command": "bunx", "args": ["pkg@1.0.0"]}),
        ("mcp.json", {"command": "npm", "args": ["run", "start"]}),
        (
            "mcp.json",
            {"command": "docker", "args": ["run", "-e", "API_TOKEN", "-w", "/app/x", "i:1", "/home/inside/x"]},
        ),
        (
            "mcp.json",
            {**NPX, "env": {"LOG_LEVEL": "none", "NODE_ENV": "test", "DEBUG": "true", "N": "000", "HOST": "0.0.0.0"}},
        ),
        ("mcp.json", {**NPX, "env": {"API_TOKEN": "${API_TOKEN}"}}),
        (".mcp.json", {**NPX, "env": {"API_TOKEN": "${API_TOKEN:-}"}}),
        (".cursor/mcp.json", {"command": "node", "args": ["${workspaceFolder}/x.js"], "env": {"A": "${env:A}"}}),
        (".windsurf/mcp_config.json", {**NPX, "env": {"A": "${env:A}"}}),
    ],
)
def test_good_values_have_no_finding(path: str, parts: Parts) -> None:
    findings = server(path, **parts)
    worse = [f for f in findings if f.rule.startswith("AC-2") and f.severity is not Severity.INFO]
    assert not worse


def test_inputs_must_be_defined() -> None:
    config = {
        "inputs": [{"id": "known", "type": "promptString", "password": True}],
        "servers": {"s": {"command": "x", "env": {"A": "${input:known}", "B": "${input:unknown}"}}},
    }
    findings = judge(config, ".vscode/mcp.json")
    assert [f.place.pointer for f in findings if f.rule == "AC-221"] == ["/servers/s/env/B"]


def test_findings_come_worst_first_and_in_the_order_of_the_text() -> None:
    findings = judge({"mcpServers": {"s": {"command": "npx pkg", "args": ["~/x"], "env": {"A": ""}, "foo": 1}}})
    of_server = [f for f in findings if f.server == "s" and f.rule.startswith("AC-2")]
    assert of_server == sorted(of_server, key=lambda f: (f.severity.rank, f.place.line, f.place.column))


def test_a_fingerprint_stays_while_the_thing_stays_where_it_is_in_its_document() -> None:
    compact = {f.fingerprint for f in judge(json.dumps({"mcpServers": {"s": {"command": "~/x"}}}))}
    spread = {f.fingerprint for f in judge(json.dumps({"mcpServers": {"s": {"command": "~/x"}}}, indent=4))}
    elsewhere = {f.fingerprint for f in judge(json.dumps({"mcpServers": {"t": {"command": "~/x"}}}))}
    assert compact == spread
    assert not compact & elsewhere
