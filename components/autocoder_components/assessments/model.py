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
    DEEP = "deep"
    SKIPPED = "skipped"


USUAL_CHECKS: Mapping[str, frozenset[CheckKind]] = MappingProxyType(
    {
        "security": frozenset({CheckKind.CONFIG, CheckKind.SECURITY}),
        "health": frozenset({CheckKind.CONFIG, CheckKind.STATUS}),
        "compliance": frozenset({CheckKind.CONFIG, CheckKind.SECURITY, CheckKind.STATUS}),
    }
)
"""The checks that belong to each type of assessment where the request says nothing else."""


OF_SERVERS = frozenset({CheckKind.STATUS, CheckKind.DEEP})
"""The checks that a file as a whole does not have: they ask a server."""


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
    `generate_report` names the formats of the reports (True and None: those of the pipeline, True at least one; False: none).
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
    check_compliance: bool = False
    generate_report: bool | tuple[str, ...] | None = None
    save_results: bool = True
    deep_scan: bool = False


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
class Waiver:
    """A decision to live with something found: why, by whom, and until when (a day or an instant, ISO 8601; UTC)."""

    justification: str
    owner: str
    expires: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `fingerprint` stays the same between runs while the thing stays where it is in its document, and is
    the same thing: what is executed, fetched or reached is in it as a hash, without its credentials.

    With a `waiver` it does not count, and is shown with the reason.
    """

    rule: str
    severity: Severity
    message: str
    remedy: str
    place: Place
    fingerprint: str
    server: str | None = None
    owasp: str | None = None
    evidence: str | None = None
    waiver: Waiver | None = None


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
    """The result of one check: every finding it made, or why there is none.

    `left_out` are the ids of rules of its kind that it did not (or not wholly) judge, so that their silence is no pass.
    `powers` are those of the server's tools that get dangerous together, each with the name of a tool that has it.
    `not_allowed` says that it was skipped, though asked for, because of what this environment does not allow.
    """

    request: Request
    target: Target | None
    kind: CheckKind
    status: Status
    planned: int
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    left_out: tuple[str, ...] = ()
    powers: tuple[tuple[str, str], ...] = ()
    not_allowed: bool = False


@dataclass(frozen=True, slots=True)
class TimeOver:
    """Says that no more outcomes of an attempt are waited for. Those that came are judged if `wanted`, and else forgotten."""

    assessment_id: str
    attempt: int
    wanted: bool


class ControlStatus(StrEnum):
    """What is known of a control or of a framework's requirement. Only what was judged whole can be satisfied."""

    SATISFIED = "satisfied"
    NOT_SATISFIED = "not_satisfied"
    WAIVED = "waived"
    NOT_APPLICABLE = "not_applicable"
    NOT_ASSESSED = "not_assessed"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a control's status rests on: `sha256` of the file that was judged, and the place in it.

    What passed is told once for each file, `count` times; what failed or is waived once for each finding, with its rule.
    """

    place: Place
    sha256: str
    status: Status
    count: int = 1
    rule: str | None = None
    server: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control of a rule pack, judged. The numbers count verdicts: one for each rule, file and server.

    `missing` is what was to be judged and was not; `reason` says why there is no status, or what was found.
    """

    id: str
    title: str
    statement: str
    rules: tuple[str, ...]
    status: ControlStatus
    reason: str
    passed: int = 0
    failed: int = 0
    waived: int = 0
    missing: int = 0
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """A requirement of a framework, by its identifier, as the controls that are mapped to it say."""

    id: str
    status: ControlStatus
    controls: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class FrameworkResult:
    """The requirements of one framework, in the order of its mapping."""

    id: str
    title: str
    version: str
    requirements: tuple[RequirementResult, ...]


@dataclass(frozen=True, slots=True)
class Compliance:
    """Outcomes mapped to controls, and controls to frameworks; `rule_packs` names what was used, with versions."""

    rule_packs: tuple[str, ...]
    controls: tuple[ControlResult, ...]
    frameworks: tuple[FrameworkResult, ...]


class WaiverState(StrEnum):
    """What became of a waiver."""

    APPLIED = "applied"
    EXPIRED = "expired"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class WaiverUse:
    """A waiver of the file, where it stands, and what became of it; `matched` counts findings, expired ones too."""

    place: Place
    covers: str
    waiver: Waiver
    state: WaiverState
    matched: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Every outcome of one request, in the order of its targets; those that never came are errors.

    `compliance` and `waivers` are there behind EvaluateControls, where they were asked for.
    """

    request: Request
    outcomes: tuple[Outcome, ...]
    compliance: Compliance | None = None
    waivers: tuple[WaiverUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """100 minus deductions; None when nothing was assessed. `coverage` is judged checks over planned checks, 0 to 1."""

    value: int | None
    coverage: float
    counts: dict[Severity, int]
    rule_pack: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """The joined result of one request: what a report shows and a store keeps.

    `findings` are those that count; what a waiver covers is in `waived`.
    """

    request: Request
    started_at: str
    finished_at: str
    targets: tuple[Target, ...]
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    score: Score
    new_fingerprints: tuple[str, ...] = ()
    baseline: str | None = None
    waived: tuple[Finding, ...] = ()
    compliance: Compliance | None = None
    waivers: tuple[WaiverUse, ...] = ()


class ReportFormat(StrEnum):
    """The forms of a report. `legacy` is the result of the older services."""

    HTML = "html"
    JSON = "json"
    SARIF = "sarif"
    OSCAL = "oscal"
    LEGACY = "legacy"

    @property
    def suffix(self) -> str:
        """The end of a report's file name."""
        return f".{self.value}.json" if self in (ReportFormat.OSCAL, ReportFormat.LEGACY) else f".{self.value}"


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """One report to be made of an assessment."""

    assessment: Assessment
    format: ReportFormat


@dataclass(frozen=True, slots=True)
class Report:
    """A report as text, for the sinks that publish it."""

    assessment_id: str
    format: ReportFormat
    text: str = field(repr=False)
    attempt: int | None = None
