"""The states of an assessment, the ways between them, and who goes them: plain data that knows no database."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class State(StrEnum):
    """Where an assessment stands in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = (State.COMPLETED, State.FAILED, State.CANCELLED)
"""The states that set `completed_at`. Failed ends too, unless it is retried while attempts remain."""

TRANSITIONS: Final = (
    (State.PENDING, State.PROCESSING),
    (State.PENDING, State.CANCELLED),
    (State.PROCESSING, State.COMPLETED),
    (State.PROCESSING, State.FAILED),
    (State.PROCESSING, State.CANCELLED),
    (State.PROCESSING, State.PENDING),
    (State.FAILED, State.PENDING),
)
"""Every change of state there is; the database refuses all others, too."""


class Action(StrEnum):
    """What caused a row of the audit trail."""

    CREATE = "create"
    START = "start"
    PROGRESS = "progress"
    COMPLETE = "complete"
    FAIL = "fail"
    TIMEOUT = "timeout"
    CANCEL = "cancel"
    RETRY = "retry"
    RESCUE = "rescue"
    LATE_RESULT = "late_result"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes an assessment: a person or service by `name`, and what is known of where it came from.

    `context` is any JSON object. `ip_address` and `user_agent` are kept only where the store's policy says so. Raises
    ValueError for a name that is empty or over 255 characters, an address that is none, or a context that is no JSON.
    """

    name: str
    context: Mapping[str, Any] | None = None
    ip_address: str | None = None
    user_agent: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 255 or not self.name.isprintable():
            raise ValueError(f"an actor's name has 1 to 255 visible characters; found {self.name[:40]!r}")
        if self.ip_address is not None:
            ipaddress.ip_address(self.ip_address)
        if self.context is not None:
            try:
                json.dumps(self.context, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"the context of an actor has to be JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Outline:
    """How an assessment stands, as lists show it. Times are aware; `progress` is in percent, `timeout_seconds` in seconds.

    `version` grows by one with every change of state, and with nothing else. `retry_count` tells the attempts apart: it grows
    when the assessment goes back to pending.
    """

    assessment_id: str
    state: State
    version: int
    assessment_type: str
    source: str
    server_name: str | None
    priority: int
    progress: int
    message: str | None
    retry_count: int
    max_retries: int
    next_retry_at: datetime | None
    timeout_seconds: float
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    deadline_at: datetime | None
    completed_at: datetime | None
    error_message: str | None

    @property
    def is_terminal(self) -> bool:
        """Whether no worker is or will be at it, unless a failure is retried."""
        return self.state in TERMINAL

    @property
    def is_settled(self) -> bool:
        """Whether a waiter has its answer: an end, and no automatic retry ahead."""
        return self.is_terminal and self.next_retry_at is None


@dataclass(frozen=True, slots=True)
class AssessmentState(Outline):
    """One assessment as the store has it, whole: `request` is what was asked for, as JSON; `result` is there when completed."""

    request: Mapping[str, Any] = field(repr=False)
    result: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit trail. Where nothing but progress or a late result is told, both states and versions agree."""

    id: int
    assessment_id: str
    old_state: State | None
    new_state: State
    version_from: int | None
    version_to: int
    changed_by: str
    change_reason: str | None
    change_action: str
    created_at: datetime
    context: Mapping[str, Any] | None = None
    ip_address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """The seven aggregates, over everything that is stored; times in seconds.

    `throughput_per_minute` is of the window that was asked for, `error_rate` failed over completed and failed (0 to 1).
    None where there is nothing to take a mean of.
    """

    total_assessments: int
    active_assessments: int
    completed_assessments: int
    failed_assessments: int
    average_processing_time: float | None
    throughput_per_minute: float
    error_rate: float | None
    by_state: Mapping[State, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How the store does: `healthy`, or `degraded` (something waits too long), and `reasons` say why.

    That it is `unhealthy` nobody can read here: then the database does not answer, and who asks says it.
    """

    status: str
    reasons: tuple[str, ...]
    query_seconds: float
    pending: int
    processing: int
    oldest_pending_seconds: float | None
    overdue: int
    retries_due: int
    cache_hits: int = 0
    cache_misses: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds where a request says nothing, and the limits of what it may say. Times are in seconds.

    - `timeout`: of an attempt; a request may ask for less. `max_retries`: automatic attempts behind the first.
    - `backoff`, `backoff_cap`: the pause before a retry is drawn from 0 to the doubled backoff, capped (full jitter).
    - `ageing`: waiting for so long counts as one step of priority, so that nothing waits for ever.
    - `grace`: how long behind its deadline an attempt may stay silent before it counts as orphaned.
    - `progress_step`: progress is audited where it passes a multiple of so many percent.
    - `keep_addresses`: whether the audit trail keeps IP addresses and user agents.
    """

    timeout: float = 300.0
    max_retries: int = 3
    backoff: float = 5.0
    backoff_cap: float = 300.0
    ageing: float = 60.0
    grace: float = 30.0
    progress_step: int = 25
    keep_addresses: bool = False
