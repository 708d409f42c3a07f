"""Assessments to report on, and strategies that make more of them. Plain data; nothing here is under test."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from autocoder_components.assessments.model import (
    Assessment,
    CheckKind,
    Finding,
    Outcome,
    Place,
    Request,
    RuleInfo,
    Severity,
    Status,
    Target,
)
from autocoder_components.assessments.score import open_findings, score, waived_findings
from hypothesis import strategies as st

REQUEST = Request("2026-0001", paths=("clients",))

RULES = {
    rule.id: rule
    for rule in (
        RuleInfo(
            "AC-SEC-001",
            "LiteralSecret",
            "A credential stands in the file",
            Severity.CRITICAL,
            "MCP01:2025",
            "Whoever can read the file, a backup of it or the repository it was committed to, has the credential.",
            "Move the value into an input variable or the environment, and revoke the old one",
        ),
        RuleInfo(
            "AC-SEC-002",
            "UnpinnedPackage",
            "A package is fetched without a version",
            Severity.MEDIUM,
            "MCP04:2025",
            "The next start runs whatever was published last, *unseen*.",
            "Name an exact version",
        ),
        RuleInfo(
            "AC-SEC-003",
            "PlainHttp",
            "A remote server is spoken to without TLS",
            Severity.HIGH,
            None,
            "Everyone on the way reads and changes what is said.",
            "Use https",
        ),
        RuleInfo("AC-CFG-001", "DeadPath", "A path leads nowhere", Severity.LOW, None, "It will not start.", "Mend it"),
        RuleInfo(
            "AC-CFG-002", "EmptyName", "A server has no name", Severity.INFO, None, "Hard to tell apart.", "Name it"
        ),
    )
}


def target(file: str, server: str | None = None, line: int = 1) -> Target:
    pointer = "" if server is None else f"/mcpServers/{server}"
    return Target(
        REQUEST.assessment_id,
        file,
        f"/home/ada/{file}",
        "Claude Desktop",
        "user",
        "mcpServers",
        hashlib.sha256(file.encode(errors="replace")).hexdigest(),
        server,
        Place(file, pointer, line, 5),
    )


def finding(rule: str, where: Target, *, line: int = 1, message: str = "", severity: Severity | None = None) -> Finding:
    info = RULES[rule]
    pointer = f"{where.place.pointer}/args/{line}"
    return Finding(
        rule,
        severity or info.severity,
        message or info.title,
        info.remedy,
        Place(where.file, pointer, line, 9),
        hashlib.sha256(f"{rule} {where.file} {pointer}".encode(errors="replace")).hexdigest()[:32],
        where.server,
        info.owasp,
        f"length 40, starts at column {9}",
    )


def outcome(
    where: Target | None,
    *findings: Finding,
    status: Status | None = None,
    kind: CheckKind = CheckKind.SECURITY,
    reason: str | None = None,
    planned: int = 0,
) -> Outcome:
    verdict = status or (Status.FAIL if findings else Status.PASS)
    return Outcome(REQUEST, where, kind, verdict, planned, findings, reason)


def assessment(*outcomes: Outcome, planned: int | None = None, known: frozenset[str] | None = None) -> Assessment:
    """The assessment that joins `outcomes`; `known` fingerprints are its baseline."""
    whole = planned if planned is not None else len(outcomes)
    joined = tuple(replace(one, planned=whole) for one in outcomes)
    findings = tuple(open_findings(joined))
    return Assessment(
        REQUEST,
        "2026-11-21T08:00:00.000000Z",
        "2026-11-21T08:00:01.250000Z",
        tuple(dict.fromkeys(each.target for each in joined if each.target)),
        joined,
        findings,
        score(joined, whole, rule_pack="2026.11"),
        tuple(one.fingerprint for one in findings if known is not None and one.fingerprint not in known),
        None if known is None else "baseline.json",
        tuple(waived_findings(joined)),
    )


def example() -> Assessment:
    """A bit of everything: findings of each severity, something new, skipped, erroneous, waived and for a person."""
    desktop, notes = target("desktop/config.json"), target("desktop/config.json", "notes", 3)
    search, files = target("desktop/config.json", "search", 9), target("project one/.mcp.json", "files", 4)
    broken, remote = target("broken.json"), target("project one/.mcp.json", "remote", 12)
    old = finding("AC-SEC-002", notes, line=5, message="npx fetches 'left-pad-mcp' without a version")
    return assessment(
        outcome(desktop, finding("AC-CFG-002", desktop, line=2), kind=CheckKind.CONFIG),
        outcome(notes, finding("AC-SEC-001", notes, line=7, message="env API_TOKEN holds a literal token"), old),
        outcome(search, finding("AC-SEC-003", search, line=10), finding("AC-CFG-001", search, line=11)),
        outcome(files),
        outcome(remote, kind=CheckKind.SECURITY, status=Status.MANUAL, reason="ask who runs it"),
        outcome(broken, kind=CheckKind.CONFIG, status=Status.ERROR, reason="the file changed while it was read"),
        outcome(broken, kind=CheckKind.SKIPPED, status=Status.SKIPPED, reason="no server to judge"),
        known=frozenset({old.fingerprint}),
    )


_servers = st.sampled_from(["alpha", "beta", "gamma delta", "x\x1b[31m", "<b>", "${HOME}", "日本", "a|b", "\u202eevil"])
_files = st.sampled_from([".mcp.json", "a b/c.json", "~/.cursor/mcp.json", "/etc/mcp.json", "100%/#?.json", "<inline>"])
_awkward = [*"ab1 {}[]()<>&'\"\\/|`*_$%-", "\n", "\x00", "\x1b", "\u202e", "\u200b", "\ud800", "é", "漢", "🙂"]
_messages = st.text(st.sampled_from(_awkward), max_size=60)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    where = target(draw(_files), draw(st.none() | _servers))
    found = [
        finding(
            draw(st.sampled_from(sorted(RULES))),
            where,
            line=draw(st.integers(1, 30)),
            message=draw(_messages),
            severity=draw(st.sampled_from(Severity)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    status = draw(st.sampled_from([None, None, None, *Status]))
    reason = draw(st.none() | _messages)
    return outcome(where, *found, status=status, kind=draw(st.sampled_from(CheckKind)), reason=reason)


@st.composite
def assessments(draw: st.DrawFn) -> Assessment:
    joined = draw(st.lists(outcomes(), max_size=6))
    everything = sorted({one.fingerprint for each in joined for one in each.findings})
    known = draw(st.none() | st.frozensets(st.sampled_from(everything)) if everything else st.none())
    return assessment(*joined, planned=len(joined) + draw(st.integers(0, 3)), known=known)
