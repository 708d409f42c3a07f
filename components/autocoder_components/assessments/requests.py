"""How a request for an assessment enters the pipeline, and what it may ask for."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from autocoder import Batch, Source
from autocoder_components.assessments.model import Candidate, Request
from autocoder_components.assessments.reports.text import moment

NOT_YET: Final[Mapping[str, tuple[str, str]]] = {
    "check_server_status": ("checkServerStatus", "starting and probing servers"),
    "check_compliance": ("checkCompliance", "mapping outcomes to controls"),
    "deep_scan": ("deepScan", "starting servers to inspect their tools"),
}
"""Options that may be written as false, and what has to come before they may be true."""

UNKNOWN_YET: Final[Mapping[str, str]] = {
    "generateReport": "the sinks of the pipeline say which reports are written",
    "saveResults": "the sinks of the pipeline say what is kept",
    "timeout": "nothing here waits for anything but files",
}
"""Options of the older services that no component could honour, and what holds instead."""

_FILTER_NAMES: Final = ("server_filter", "serverFilter", "server_name", "serverName")


def _visible_id(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("an id is made of visible characters, without control characters or line breaks")
    return text


def _not_empty(path: str) -> str:
    # No constraint of pydantic's: that would refuse the names that are no UTF-8, which files may have.
    if not path:
        raise ValueError("a path must not be empty; write . for the working folder")
    return path


def _fixed_time(text: str) -> str:
    return moment(text).isoformat(timespec="microseconds")


AssessmentId = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_visible_id)]
FixedTime = Annotated[str, AfterValidator(_fixed_time)]
"""An instant as ISO 8601 with an offset from UTC, for environments whose reports shall repeat."""


def _option(name: str, camel: str) -> AliasChoices:
    return AliasChoices(name, camel)


class CandidateSpec(BaseModel):
    """A configuration given inline. What is wrong with it is said without quoting it: it may hold credentials."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    text: str = Field(description="the configuration, as a client would have it on disk")
    name: str = Field(default="<inline>", min_length=1, description="what reports call it")
    client: str | None = Field(default=None, description="the client whose dialect it is in; none: found out")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, written: Any) -> Any:
        # Refused here and not by pydantic, whose errors stand at the unknown key and so are shown with its value.
        unknown = [str(key) for key in written if key not in cls.model_fields] if isinstance(written, Mapping) else []
        if unknown:
            raise ValueError(f"a candidate has no field {unknown[0]!r}; its fields: {', '.join(cls.model_fields)}")
        return written

    def candidate(self) -> Candidate:
        """The candidate as the pipeline carries it."""
        return Candidate(self.text, self.name, self.client)


class RequestSpec(BaseModel):
    """A request as a person or program writes it; the camel-case names of the older services are understood, too.

    What cannot be done yet is refused by name, never ignored: an assessment that silently left out a check would be read
    as a pass of it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: AssessmentId | None = Field(default=None, description="the id of the assessment; made up where it is left out")
    type: Literal["security", "health", "compliance"] = Field(
        default="security", validation_alias=_option("type", "assessmentType"), description="what is judged"
    )
    paths: list[Annotated[str, AfterValidator(_not_empty)]] = Field(
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
    validate_config: bool = Field(default=True, validation_alias=_option("validate_config", "validateConfig"))
    check_security: bool = Field(default=True, validation_alias=_option("check_security", "checkSecurity"))
    check_server_status: bool = Field(
        default=False, validation_alias=_option("check_server_status", "checkServerStatus")
    )
    check_compliance: bool = Field(default=False, validation_alias=_option("check_compliance", "checkCompliance"))
    deep_scan: bool = Field(default=False, validation_alias=_option("deep_scan", "deepScan"))

    @model_validator(mode="before")
    @classmethod
    def _said_once(cls, written: Any) -> Any:
        if not isinstance(written, Mapping):
            return written
        for name, instead in UNKNOWN_YET.items():
            if name in written or _snake(name) in written:
                raise ValueError(f"{name} is not available yet: {instead}; leave it out")
        for field in cls.model_fields.values():
            names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else ()
            said = [str(name) for name in names if name in written]
            if len(said) > 1:
                raise ValueError(f"{' and '.join(said)} say the same; write one of them")
        return written

    @model_validator(mode="after")
    def _available(self) -> RequestSpec:
        for name, (camel, what) in NOT_YET.items():
            if getattr(self, name):
                raise ValueError(f"{camel} is not available yet: {what} comes in a later version; leave it out")
        if self.type != "security":
            missing = "status probes" if self.type == "health" else "controls"
            raise ValueError(
                f"assessments of type {self.type!r} are not available yet: they need {missing}; use 'security'"
            )
        if not (self.validate_config or self.check_security):
            raise ValueError("both validateConfig and checkSecurity are off, so nothing would be judged; leave one on")
        return self

    def request(self, now: str) -> Request:
        """The request as the pipeline carries it."""
        return Request(
            assessment_id=self.id or str(uuid.uuid4()),
            paths=tuple(self.paths),
            candidates=tuple(each.candidate() for each in self.candidates),
            assessment_type=self.type,
            server_filter=tuple(self.server_filter),
            include_details=self.include_details,
            validate_config=self.validate_config,
            check_security=self.check_security,
            requested_at=now,
        )


def _snake(camel: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in camel)


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
