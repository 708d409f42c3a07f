"""The rules against real configurations: what they must find, what they must not, and that nothing stops them.

The files and the facts are not part of the repository; without them these tests are skipped. The facts speak of kinds
in words of their own; `RULES_OF` maps them. A finding answers a fact when its rule is one of the kind's and it stands
at the fact's pointer, at a part of that value, or (where a fact is about a whole server, or names the flag and the
finding the value after it) in the same server within the lines of the fact's value.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from autocoder_components.assessments.discover import Loaded, discover, load
from autocoder_components.assessments.document import Document
from autocoder_components.assessments.model import Finding, Request, Target
from autocoder_components.assessments.rules import CATALOGUE, RuleOptions, check_security, validate_config

DATA = Path(os.environ.get("AUTOCODER_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")).resolve()
CONFIGS = DATA / "mcp-configs"
pytestmark = pytest.mark.skipif(
    not (CONFIGS / "manifest.json").is_file() or not (DATA / "expected.json").is_file(),
    reason="the real configurations and their facts are not here",
)

RULES_OF: dict[str, set[str]] = {
    "absolute-path": {"AC-214"},
    "auto-approve": {"AC-701", "AC-702"},
    "auto-approve-dangerous": {"AC-702"},
    "command-with-args": {"AC-211"},
    "comment": {"AC-104"},
    "docker-bind-mount": {"AC-513", "AC-514"},
    "docker-host-network": {"AC-512"},
    "docker-latest-tag": {"AC-404"},
    "docker-unpinned-image": {"AC-403"},
    "empty-env": {"AC-219"},
    "fs-scope": {"AC-521", "AC-522", "AC-523"},
    "fs-scope-home": {"AC-522"},
    "fs-scope-root": {"AC-523"},
    "git-unpinned": {"AC-405"},
    "jwt-no-expiry": {"AC-303"},
    "latest-tag": {"AC-402"},
    "literal-secret": {"AC-301"},
    "login-shell": {"AC-502"},
    "merge-conflict-marker": {"AC-102"},
    "no-input-variable": {"AC-305"},
    "no-server-program": {"AC-218"},
    "no-servers": {"AC-201"},
    "npx-missing-yes": {"AC-217"},
    "parse-error": {"AC-101"},
    "personal-data": {"AC-304"},
    "placeholder-path": {"AC-216"},
    "placeholder-secret": {"AC-220"},
    "private-network-service": {"AC-605"},
    "privileged-profile": {"AC-703"},
    "quoted-path": {"AC-213"},
    "sandbox-disabled": {"AC-505"},
    "secret-in-argv": {"AC-302"},
    "shell-metachar": {"AC-223"},
    "shell-wrapper": {"AC-501"},
    "tilde-in-command": {"AC-212"},
    "tls-verify-disabled": {"AC-602"},
    "trailing-comma": {"AC-103"},
    "transport-mismatch": {"AC-208"},
    "tunnel-host": {"AC-604"},
    "type-value": {"AC-205", "AC-204"},
    "unknown-key": {"AC-203"},
    "unpinned-package": {"AC-401"},
    "wrong-dialect": {"AC-202"},
}
# Kinds of which files say only that they must not be reported, or that do not count for recall.
OTHER_RULES_OF: dict[str, set[str]] = {
    "archived-package": {"AC-407"},
    "dangerous-env": {"AC-506"},
    "docker-privileged": {"AC-511"},
    "missing-command": {"AC-207"},
    "plain-http-nonloopback": {"AC-601"},
    "read-only-not-set": {"AC-704"},
    "tool-poisoning": {"AC-705", "AC-706"},
    "undefined-input": {"AC-221"},
    "wrong-credential": {"AC-306"},
}
# Facts that are wrong, by (file, kind, pointer), with the reason. Empty as long as every fact stands.
WRONG_FACTS: dict[tuple[str, str, str], str] = {}


@dataclass(frozen=True)
class Fact:
    """One fact of `expected.json`."""

    file: str
    expect: str
    kind: str
    pointer: str | None
    line: int
    detail: str

    def rules(self) -> set[str]:
        return RULES_OF.get(self.kind) or OTHER_RULES_OF.get(self.kind, set())


@dataclass(frozen=True)
class Assessed:
    """One file with everything that was found in it."""

    document: Document
    findings: tuple[Finding, ...]


def assess(path: Path) -> Assessed:
    targets = discover(Request("recall", (str(path),))).targets
    findings: list[Finding] = []
    document: Document | None = None
    for target in targets:
        loaded: Loaded = load(target)
        assert loaded.problem is None, f"{target.file}: {loaded.problem}"
        assert loaded.document is not None
        document = loaded.document
        findings += _check(target, document)
    assert document is not None
    return Assessed(document, tuple(findings))


def _check(target: Target, document: Document) -> tuple[Finding, ...]:
    # The copies' permissions say nothing about the originals.
    options = RuleOptions(salt=b"test", check_files=False)
    return validate_config(target, document, options) + check_security(target, document, options)


@pytest.fixture(scope="module")
def assessed() -> dict[str, Assessed]:
    manifest = json.loads((CONFIGS / "manifest.json").read_text("utf-8"))
    return {entry["id"]: assess(CONFIGS / entry["file"]) for entry in manifest}


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    entries = json.loads((DATA / "expected.json").read_text("utf-8"))
    return [
        Fact(entry["id"], fact["expect"], fact["kind"], fact["pointer"], fact["line"], fact["detail"])
        for entry in entries
        for fact in entry["facts"]
        if (entry["id"], fact["kind"], fact["pointer"] or "") not in WRONG_FACTS
    ]


def below(pointer: str, other: str) -> bool:
    return pointer == other or pointer.startswith(other + "/")


def answers(finding: Finding, fact: Fact, document: Document) -> bool:
    """Whether the finding is what the fact asks for."""
    if finding.rule not in fact.rules():
        return False
    if fact.pointer is None:  # facts of the text have a line only
        return finding.place.line == fact.line
    if finding.place.pointer == fact.pointer or below(finding.place.pointer, fact.pointer):
        return True
    # A fact may name the flag and the finding the value, or the fact one entry of a list and the finding the list.
    first, last = lines_of(document, fact.pointer)
    near = below(finding.place.pointer, fact.pointer.rpartition("/")[0]) and first <= finding.place.line <= last
    return near or (finding.rule == "AC-701" and below(fact.pointer, finding.place.pointer))


def alarms(finding: Finding, fact: Fact) -> bool:
    """Whether the finding is what the fact says must not be reported; a fact on a server is about all of it."""
    if finding.rule not in fact.rules():
        return False
    if fact.pointer is None:
        return finding.rule == "AC-101" or finding.place.line == fact.line
    return below(finding.place.pointer, fact.pointer)


def lines_of(document: Document, pointer: str) -> tuple[int, int]:
    node = document.at(pointer)
    if node is None:
        return 0, 0
    return node.line, node.line + document.text.count("\n", node.start, node.end)


def test_every_counted_kind_has_a_rule_that_exists() -> None:
    known = set(CATALOGUE)
    assert all(rules and rules <= known for rules in (*RULES_OF.values(), *OTHER_RULES_OF.values()))


def test_recall_is_at_least_95_percent(assessed: dict[str, Assessed], facts: list[Fact]) -> None:
    wanted = [fact for fact in facts if fact.expect == "report" and fact.kind in RULES_OF and fact.file in assessed]
    total: Counter[str] = Counter(fact.kind for fact in wanted)
    missed = [
        fact
        for fact in wanted
        if not any(answers(finding, fact, assessed[fact.file].document) for finding in assessed[fact.file].findings)
    ]
    lost: Counter[str] = Counter(fact.kind for fact in missed)
    for kind, count in sorted(total.items()):
        print(f"{kind:26} {count - lost[kind]:3} of {count:3}")
    for fact in missed:
        print("missed", fact.file, fact.kind, fact.pointer, fact.line, fact.detail)
    recall = 1 - len(missed) / len(wanted)
    print(f"recall {recall:.1%} of {len(wanted)} facts")
    assert recall >= 0.95


def test_false_alarms_are_at_most_2_percent(assessed: dict[str, Assessed], facts: list[Fact]) -> None:
    unwanted = [fact for fact in facts if fact.expect == "must-not-report" and fact.rules() and fact.file in assessed]
    wrong = [(fact, finding) for fact in unwanted for finding in assessed[fact.file].findings if alarms(finding, fact)]
    total: Counter[str] = Counter(fact.kind for fact in unwanted)
    per_kind: Counter[str] = Counter(fact.kind for fact in dict.fromkeys(fact for fact, _ in wrong))
    for kind, count in sorted(total.items()):
        print(f"{kind:26} {per_kind[kind]:3} false of {count:3}")
    for fact, finding in wrong:
        print("false", fact.file, fact.kind, fact.pointer, finding.rule, finding.place.pointer, finding.message)
    assert sum(per_kind.values()) / len(unwanted) <= 0.02


def test_no_finding_quotes_a_replaced_credential(assessed: dict[str, Assessed]) -> None:
    """The fakes are runs of `X1` or `a1`: six or more of them in a row stand for a credential."""
    for file, result in assessed.items():
        for finding in result.findings:
            shown = f"{finding.message} {finding.remedy} {finding.evidence}"
            assert "X1X1X1" not in shown, (file, finding)
            assert "a1a1a1" not in shown, (file, finding)


def test_every_finding_stands_in_its_file(assessed: dict[str, Assessed]) -> None:
    for file, result in assessed.items():
        lines = result.document.text.count("\n") + 1
        for finding in result.findings:
            assert 1 <= finding.place.line <= lines, (file, finding)
            assert finding.rule in CATALOGUE, (file, finding)
            assert result.document.at(finding.place.pointer) is not None, (file, finding)
