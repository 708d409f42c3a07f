"""What the assessment components say to each other: plain frozen data, no behaviour, no secret values.

Everything here travels through channels and may be stored, so it holds *places* of secrets and salted hashes of
them, never the values. The raw text of a configuration stays in its file (or, for an inline candidate, in the request).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """How bad a finding is, worst first (`rank` 0 is the worst)."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Status(StrEnum):
    """The outcome of one check of one target."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    MANUAL = "manual"
    NOT_APPLICABLE = "not_applicable"
    SKIPPED = "skipped"
    ERROR = "error"
    WAIVED = "waived"


class CheckKind(StrEnum):
    """The routes out of PlanChecks."""

    CONFIG = "config"
    SECURITY = "security"
    STATUS = "status"
    SKIPPED = "skipped"


USUAL_CHECKS: Mapping[str, frozenset[CheckKind]] = MappingProxyType(
    {
        "security": frozenset({CheckKind.CONFIG, CheckKind.SECURITY}),
        "health": frozenset({CheckKind.CONFIG, CheckKind.STATUS}),
        "compliance": frozenset({CheckKind.CONFIG, CheckKind.SECURITY, CheckKind.STATUS}),
    }
)
"""The checks that belong to each type of assessment where the request says nothing else."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: file as shown to a person, RFC 6901 pointer, 1-based line and column (characters)."""

    file: str
    pointer: str = ""
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration given inline instead of as a file; `text` is as a client would have it on disk."""

    text: str = field(repr=False)
    name: str = "<inline>"
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One assessment asked for. Paths are files or folders; none means the client configurations of this machine.

    `requested_at` is ISO 8601 with an offset; the source of the request fills it in. `attempt` is that of the
    lifecycle, where the request comes from there; `timeout` is the time in seconds that the request has.
    """

    assessment_id: str
    paths: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    assessment_type: str = "security"
    server_filter: tuple[str, ...] = ()
    include_details: bool = True
    validate_config: bool = True
    check_security: bool = True
    check_server_status: bool = False
    requested_at: str = ""
    attempt: int | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One server in one configuration file, or the file as a whole (`server` None).

    `sha256` is of the file's bytes when it was discovered: a check that finds other bytes reports an error instead of
    judging a file that nobody asked about. `candidate` carries the text of an inline configuration. `problem` says
    why the file could not be read; every check of such a target ends as an error with this reason.
    """

    assessment_id: str
    file: str
    path: str
    client: str
    scope: str
    dialect: str
    sha256: str
    server: str | None = None
    place: Place = field(default_factory=lambda: Place(""))
    candidate: Candidate | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What DiscoverTargets found for one request, in a stable order."""

    request: Request
    targets: tuple[Target, ...]
    unmatched_filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One check to be made of one target; `planned` is how many outcomes the whole assessment will have."""

    request: Request
    target: Target
    kind: CheckKind
    planned: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `fingerprint` stays the same between runs while the thing stays where it is in its document."""

    rule: str
    severity: Severity
    message: str
    remedy: str
    place: Place
    fingerprint: str
    server: str | None = None
    owasp: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a rule is, for catalogues and reports; the rule itself is a function that knows nothing of its presentation.

    `id` is stable (`AC-...`), `name` is one CamelCase word, `title` one line without a full stop, `severity` the
    default of its findings, `owasp` the OWASP MCP Top 10 id (`MCP01:2025`) where one fits, `help` a paragraph or
    several saying why it matters (plain Markdown), `remedy` one line saying what to do.
    """

    id: str
    name: str
    title: str
    severity: Severity
    owasp: str | None
    help: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check: every finding it made, or why there is none."""

    request: Request
    target: Target | None
    kind: CheckKind
    status: Status
    planned: int
    findings: tuple[Finding, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Every outcome of one request, in the order of its targets; those that never came are errors."""

    request: Request
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """100 minus deductions; None when nothing was assessed. `coverage` is judged checks over planned checks, 0 to 1."""

    value: int | None
    coverage: float
    counts: dict[Severity, int]
    rule_pack: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """The joined result of one request: what a report shows and a store keeps."""

    request: Request
    started_at: str
    finished_at: str
    targets: tuple[Target, ...]
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    score: Score
    new_fingerprints: tuple[str, ...] = ()
    baseline: str | None = None
