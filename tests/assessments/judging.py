"""Assess a small configuration written in a test, as a client would have it at a path."""

from __future__ import annotations

import json
from typing import Any

from autocoder_components.assessments.discover import discover, load
from autocoder_components.assessments.model import Candidate, Finding, Request
from autocoder_components.assessments.rules import RuleOptions, check_security, validate_config

SALT = b"a salt of the tests"
Parts = dict[str, Any]
NPX = {"command": "npx", "args": ["-y", "pkg@1.0.0"]}
HEX = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
GITHUB = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1fG3hJ5"


def judge(config: object, path: str = "mcp.json", options: RuleOptions | None = None) -> list[Finding]:
    """Every finding in `config` (a text, or what is dumped as JSON) standing at `path`."""
    text = config if isinstance(config, str) else json.dumps(config, indent=2)
    options = options or RuleOptions(salt=SALT)
    findings: list[Finding] = []
    for target in discover(Request("test", candidates=(Candidate(text, path),))).targets:
        loaded = load(target)
        assert loaded.document is not None, loaded.problem
        findings += validate_config(target, loaded.document, options)
        findings += check_security(target, loaded.document, options)
    return findings


def server(path: str = "mcp.json", *, options: RuleOptions | None = None, **parts: object) -> list[Finding]:
    """Every finding in one server with these parts (`command`, `args`, ...)."""
    return judge({"mcpServers": {"s": parts}}, path, options)


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def places(findings: list[Finding], rule: str) -> list[str]:
    """The pointers below the server, in the order of the findings."""
    return [f.place.pointer.removeprefix("/mcpServers/s") for f in findings if f.rule == rule]
