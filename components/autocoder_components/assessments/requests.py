"""How a request for an assessment enters the pipeline, and what it may ask for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from autocoder import Batch, Source
from autocoder_components.assessments.model import Candidate, Request

AssessmentId = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
NOT_YET = {
    "check_server_status": ("checkServerStatus", "starting and probing servers"),
    "check_compliance": ("checkCompliance", "mapping outcomes to controls"),
    "deep_scan": ("deepScan", "starting servers to inspect their tools"),
}


def _option(name: str, camel: str) -> AliasChoices:
    return AliasChoices(name, camel)


class RequestSpec(BaseModel):
    """A request as a person or program writes it; the camel-case names of the older services are understood, too."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: AssessmentId | None = Field(default=None, description="the id of the assessment; made up where it is left out")
    type: Literal["security", "health", "compliance"] = Field(
        default="security", validation_alias=_option("type", "assessmentType"), description="what is judged"
    )
    paths: list[str] = Field(default_factory=list, description="files and folders; none: the clients of this machine")
    candidates: list[Candidate] = Field(default_factory=list, description="configurations given inline")
    server_filter: Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        default_factory=list,
        validation_alias=AliasChoices("server_filter", "serverFilter", "server_name", "serverName"),
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
            candidates=tuple(self.candidates),
            assessment_type=self.type,
            server_filter=tuple(self.server_filter),
            include_details=self.include_details,
            validate_config=self.validate_config,
            check_security=self.check_security,
            requested_at=now,
        )


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
    now: str | None = Field(default=None, description="a fixed time (ISO 8601 with offset) instead of the clock's")

    def read(self, resume: Any, /) -> Iterator[Batch[Request]]:
        for number in range(resume or 0, len(self.requests)):
            yield Batch([self.requests[number].request(clock(self.now))], resume=number + 1)
