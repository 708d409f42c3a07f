"""How a request for an assessment enters the pipeline, and what it may ask for."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from autocoder import Batch, Source
from autocoder_components.assessments.model import OF_SERVERS, USUAL_CHECKS, Candidate, CheckKind, ReportFormat, Request
from autocoder_components.assessments.reports.text import moment

LONGEST_TIMEOUT: Final = 24 * 3600
"""Seconds, a day."""
SHORTEST_TIMEOUT: Final = 0.01
"""Seconds. In less nothing is done, so that whoever asks for it means another unit, or nothing."""

_FILTER_NAMES: Final = ("server_filter", "serverFilter", "server_name", "serverName")


def _visible_id(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("an id is made of visible characters, without control characters or line breaks")
    return text


def _sound_path(path: str) -> str:
    # No constraint of pydantic's: that would refuse the names that are no UTF-8, which files may have.
    if not path:
        raise ValueError("a path must not be empty; write . for the working folder")
    if "\0" in path:  # no file has such a name, and no system takes it
        raise ValueError("a path must not hold the character U+0000")
    return path


_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _report_formats(written: Any) -> Any:
    """One format alone, a list of them, or a truth; what is none of it is refused in one sentence, without quoting it."""
    asked = _WORDS.get(written.lower(), [written]) if isinstance(written, str) else written
    known = [each.value for each in ReportFormat]
    if asked is None or isinstance(asked, bool) or (isinstance(asked, list) and all(each in known for each in asked)):
        return asked
    raise ValueError(f"must be true, false, or formats out of {', '.join(ReportFormat)}")


def _every_spelling(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Editors are told of the older names, too."""
    for field in model.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            first, *others = map(str, field.validation_alias.choices)
            schema["properties"].update((each, schema["properties"][first]) for each in others)


@dataclass(frozen=True, slots=True)
class _Twice:
    """The value of an option that is written under two names."""

    names: tuple[str, ...]


def _fixed_time(text: str) -> str:
    return moment(text).isoformat(timespec="microseconds")


AssessmentId = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_visible_id)]
FixedTime = Annotated[str, AfterValidator(_fixed_time)]
"""An instant as ISO 8601 with an offset from UTC, for environments whose reports shall repeat."""


def _option(name: str, camel: str) -> AliasChoices:
    return AliasChoices(name, camel)


class CandidateSpec(BaseModel):
    """A configuration given inline. What is wrong with it is said without quoting it: it may hold credentials."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: str = Field(description="the configuration, as a client would have it on disk")
    name: str = Field(default="<inline>", min_length=1, description="what reports call it")
    client: str | None = Field(default=None, description="the client whose dialect it is in; none: found out")

    def candidate(self) -> Candidate:
        """The candidate as the pipeline carries it."""
        return Candidate(self.text, self.name, self.client)


class RequestSpec(BaseModel):
    """A request as a person or program writes it; the camel-case names of the older services are understood, too.

    What cannot be done yet is refused by name, never ignored: an assessment that silently left out a check would be read
    as a pass of it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra=_every_spelling)

    id: AssessmentId | None = Field(default=None, description="the id of the assessment; made up where it is left out")
    type: Literal["security", "health", "compliance"] = Field(
        default="security", validation_alias=_option("type", "assessmentType"), description="what is judged"
    )
    paths: list[Annotated[str, AfterValidator(_sound_path)]] = Field(
        default_factory=list, description="files and folders; none: the clients of this machine"
    )
    candidates: list[CandidateSpec] = Field(default_factory=list, description="configurations given inline")
    server_filter: Annotated[
        list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v, json_schema_input_type=str | list[str])
    ] = Field(
        default_factory=list,
        validation_alias=AliasChoices(*_FILTER_NAMES),
        description="globs of server names; none: every server",
    )
    include_details: bool = Field(
        default=True,
        validation_alias=_option("include_details", "includeDetails"),
        description="false: counts and failures only, no evidence",
    )
    validate_config: bool | None = Field(
        default=None,
        validation_alias=_option("validate_config", "validateConfig"),
        description="judge whether the configuration is valid; by default of every type",
    )
    check_security: bool | None = Field(
        default=None,
        validation_alias=_option("check_security", "checkSecurity"),
        description="judge whether the configuration is safe; by default of the types security and compliance",
    )
    check_server_status: bool | None = Field(
        default=None,
        validation_alias=_option("check_server_status", "checkServerStatus"),
        description="ask the servers themselves, as far as the environment allows it; by default of the types health and "
        "compliance",
    )
    check_compliance: bool | None = Field(
        default=None,
        validation_alias=_option("check_compliance", "checkCompliance"),
        description="map the outcomes to controls and frameworks; by default of the type compliance",
    )
    deep_scan: bool = Field(
        default=False,
        validation_alias=_option("deep_scan", "deepScan"),
        description="ask the servers for their tools and judge them, as far as the environment allows it",
    )
    generate_report: Annotated[
        bool | list[ReportFormat] | None,
        BeforeValidator(_report_formats, json_schema_input_type=bool | ReportFormat | list[ReportFormat] | None),
    ] = Field(
        default=None,
        validation_alias=_option("generate_report", "generateReport"),
        description="formats of the reports to write; true: those of the pipeline, false: none; by default as the pipeline",
    )
    save_results: bool = Field(
        default=True,
        validation_alias=_option("save_results", "saveResults"),
        description="false: only the numbers are kept; who waits for the result gets all of it. Messages of the pipeline that "
        "were on their way when it noted where it stands hold findings, too, until `keep_messages` of the database is over",
    )
    timeout: float | None = Field(
        default=None,
        ge=SHORTEST_TIMEOUT,
        le=LONGEST_TIMEOUT,
        description="seconds that probing one server may take at most",
    )
    always_waits: ClassVar[bool] = False
    """Whether a timeout has a meaning even where no server is asked."""

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, written: Any) -> Any:
        """An option under two names keeps its place under the first, for the field to refuse beside all else."""
        if not isinstance(written, Mapping):
            return written
        kept = dict(written)
        for field in cls.model_fields.values():
            names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else ()
            said = tuple(str(name) for name in names if name in kept)
            if len(said) > 1:
                for name in said[1:]:
                    del kept[name]
                kept[said[0]] = _Twice(said)
        return kept

    @field_validator("*", mode="before")
    @classmethod
    def _said_once(cls, value: Any) -> Any:
        if isinstance(value, _Twice):
            raise ValueError(f"{' and '.join(value.names)} say the same; write one of them")  # noqa: TRY004
        return value

    @model_validator(mode="after")
    def _judges_something(self) -> RequestSpec:
        kinds = self.kinds()
        if not kinds:
            raise ValueError(
                "validateConfig, checkSecurity, checkServerStatus and deepScan are off, so nothing would be judged; leave one "
                "on"
            )
        if self.timeout is not None and not kinds & OF_SERVERS and not self.always_waits:
            raise ValueError(
                "timeout is for asking servers, which this request does not; say checkServerStatus or deepScan, too"
            )
        if ReportFormat.OSCAL in _listed(self.generate_report) and self.check_compliance is False:
            raise ValueError("generateReport: oscal shows controls, and checkCompliance is off; leave it out")
        return self

    def kinds(self) -> frozenset[CheckKind]:
        """The checks to make: those of the type, with what the options add and take away."""
        said = {
            CheckKind.CONFIG: self.validate_config,
            CheckKind.SECURITY: self.check_security,
            CheckKind.STATUS: self.check_server_status,
            CheckKind.DEEP: self.deep_scan,
        }
        usual = USUAL_CHECKS[self.type]
        return frozenset(kind for kind, asked in said.items() if (kind in usual if asked is None else asked))

    def maps_to_controls(self) -> bool:
        """Whether outcomes are mapped to controls: for the type compliance, and for a report that shows them."""
        if self.check_compliance is not None:
            return self.check_compliance
        return self.type == "compliance" or ReportFormat.OSCAL in _listed(self.generate_report)

    def request(self, now: str) -> Request:
        """The request as the pipeline carries it."""
        kinds = self.kinds()
        return Request(
            assessment_id=self.id or str(uuid.uuid4()),
            paths=tuple(self.paths),
            candidates=tuple(each.candidate() for each in self.candidates),
            assessment_type=self.type,
            server_filter=tuple(self.server_filter),
            include_details=self.include_details,
            validate_config=CheckKind.CONFIG in kinds,
            check_security=CheckKind.SECURITY in kinds,
            check_server_status=CheckKind.STATUS in kinds,
            requested_at=now,
            timeout=self.timeout,
            check_compliance=self.maps_to_controls(),
            generate_report=_formats(self.generate_report),
            save_results=self.save_results,
            deep_scan=CheckKind.DEEP in kinds,
        )


def _listed(asked: bool | list[ReportFormat] | None) -> list[ReportFormat]:
    return asked if isinstance(asked, list) else []


def _formats(asked: bool | list[ReportFormat] | None) -> bool | tuple[str, ...] | None:
    return tuple(dict.fromkeys(each.value for each in asked)) if isinstance(asked, list) else asked


def clock(fixed: str | None) -> str:
    """The time as ISO 8601 with microseconds in UTC, or a fixed one where the environment wants reports that repeat."""
    return fixed or datetime.now(UTC).isoformat(timespec="microseconds")


class Requests(Source[Request]):
    """Give the requests written in the pipeline, one after the other; position: how many were given.

    ```yaml
    requests: {use: assessments.Requests, with: {requests: [{paths: ["~/projects"]}]}}
    ```
    """

    requests: list[RequestSpec] = Field(description="what to assess, as a list of requests")
    now: FixedTime | None = Field(
        default=None, description="a fixed time (ISO 8601 with offset) instead of the clock's"
    )

    def check(self) -> None:
        ids = Counter(each.id for each in self.requests if each.id is not None)
        twice = [each for each, times in ids.items() if times > 1]
        if twice:
            raise ValueError(f"two requests have the id {twice[0]!r}; their outcomes could not be told apart")

    def read(self, resume: Any, /) -> Iterator[Batch[Request]]:
        for number in range(resume or 0, len(self.requests)):
            yield Batch([self.requests[number].request(clock(self.now))], resume=number + 1)
