"""What an environment sets for the assessment service: the section `assessments` of `config/<environment>.yaml`.

Also by variables, such as `AUTOCODER_ASSESSMENTS__MOVING__STORE=false` or `AUTOCODER_ASSESSMENTS__REDIS`.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from autocoder import Duration, Settings
from autocoder_components.assessments.lifecycle.states import Policy
from autocoder_components.assessments.requests import LONGEST_TIMEOUT, SHORTEST_TIMEOUT
from autocoder_components.assessments.web.options import check_token

SECTION: Final = "assessments"
_CONFIG: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
_REDIS: Final = ("redis://", "rediss://", "unix://")
_DATABASES: Final = ("sqlite:///", "postgresql://")


def _begins(forms: tuple[str, ...], written: SecretStr) -> SecretStr:
    if not written.get_secret_value().startswith(forms):
        raise ValueError(f"must begin with {' or '.join(forms)}")
    return written


def _strong(written: SecretStr) -> SecretStr:
    return SecretStr(check_token(written.get_secret_value()))


class MovingFlags(BaseModel):
    """What goes where while an older system is moved from. The defaults are the end of the move: the store does everything.

    An id goes to the store where its bucket, which its text alone decides, is below `percentage`: a larger percentage moves
    more ids and never takes one back. What was decided for an id stays whatever the flags become, so that the flags speak of
    new assessments alone; `store: false` is the way back.
    """

    model_config = _CONFIG

    store: bool = Field(default=True, description="false: new assessments go to the older system, all of them")
    percentage: float = Field(default=100, ge=0, le=100, description="how many of the new ids go to the store")
    legacy_fallback: bool = Field(
        default=False,
        description="the older system takes what the store cannot store, where it is certain that the store did not",
    )
    compare: bool = Field(
        default=False, description="both systems do each new assessment, and what differs is reported"
    )
    metrics: bool = Field(default=True, description="count what is decided")
    audit: bool = Field(default=True, description="keep with each decision why it was made and by what flags")


class ServiceSettings(BaseModel):
    """What the service uses beside the database of the settings, and where it stands in a move."""

    model_config = _CONFIG

    redis: Annotated[SecretStr, AfterValidator(lambda each: _begins(_REDIS, each))] | None = Field(
        default=None, description="redis://:password@host:6379/0, a cache that processes share; the extra `redis`"
    )
    redis_prefix: str = Field(
        default="autocoder", min_length=1, max_length=64, description="what the keys of this environment begin with"
    )
    replica: Annotated[SecretStr, AfterValidator(lambda each: _begins(_DATABASES, each))] | None = Field(
        default=None, description="the URL of a copy of the database that answers list, show, stats and audit"
    )
    replica_lag: Annotated[Duration, Field(gt=0, le=3600)] = Field(
        default=10.0,
        description="how far the copy may be behind; a standby says it, any other copy has to have the table sink_storage, too",
    )
    api_token: Annotated[SecretStr, AfterValidator(_strong)] | None = Field(
        default=None, description="what programs send to `autocoder assessments serve`, and people log in with"
    )
    timeout: Annotated[Duration, Field(ge=SHORTEST_TIMEOUT, le=LONGEST_TIMEOUT)] = Field(
        default=Policy().timeout, description="the longest that an attempt may take; a request may ask for less"
    )
    max_retries: int = Field(
        default=Policy().max_retries,
        ge=0,
        le=100,
        description="automatic attempts behind the first, where a request does not say",
    )
    keep_addresses: bool = Field(
        default=Policy().keep_addresses,
        description="whether the audit trail keeps the IP address and the user agent of who asks over HTTP",
    )
    moving: MovingFlags = Field(default_factory=MovingFlags)

    def policy(self) -> Policy:
        """The rules of a store in this environment."""
        return Policy(timeout=self.timeout, max_retries=self.max_retries, keep_addresses=self.keep_addresses)


def service_settings(settings: Settings) -> ServiceSettings:
    """The section of these settings, its defaults where nothing is set."""
    return settings.section(SECTION, ServiceSettings)
