"""What a probe can come to: an answer with remarks, a fault of the server, or a reason not to ask. Plain data and errors.

Nothing here quotes what a server says: its answers may hold secrets, and its words are not to be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autocoder_components.assessments.model import RuleInfo


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to find fault with in a server; `message` is for a person."""

    rule: RuleInfo
    message: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one probe may take. Times are seconds, sizes bytes.

    `patience` is the wait for a word on the new revision before a program is asked for the older one, `grace` the time that it
    has to end by itself.
    """

    message_bytes: int = 4 * 1024 * 1024
    total_bytes: int = 16 * 1024 * 1024
    patience: float = 5.0
    grace: float = 2.0
    redirects: int = 5
    pages: int = 100


@dataclass(slots=True)
class Trace:
    """How far a probe has come: `stage` says what it waits for, `remarks` what it saw on the way.

    `escaped` says that something of a program may still run: whatever else is found, that has to be told.
    """

    stage: str = "starting"
    remarks: list[Remark] = field(default_factory=list)
    answered: bool = False
    escaped: Remark | None = None

    def remark(self, rule: RuleInfo, message: str) -> None:
        """Note something; the same thing twice is one remark."""
        remark = Remark(rule, message)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def escape(self, rule: RuleInfo, message: str) -> None:
        """Note that something may still run."""
        self.escaped = Remark(rule, message)

    def heard(self, tool: Mapping[str, Any]) -> None:
        """A tool as the server lists it, one after the other. Who wants to know more than their number overrides this."""

    def instructed(self, instructions: str) -> None:
        """What the server tells the model about itself, where it does."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A server that answered: the revision it speaks, over what, how many tools it lists (None: none) in how many seconds."""

    version: str
    transport: str
    tools: int | None
    seconds: float


class ProbeError(Exception):
    """The server is at fault: `remark` says how."""

    def __init__(self, rule: RuleInfo, message: str) -> None:
        super().__init__(message)
        self.remark = Remark(rule, message)


class NotAskedError(Exception):
    """The server was not asked, and why: what is not allowed here, or needs what only its client has.

    `cure` says what would allow it, up to the name of the component whose field that is.
    """

    def __init__(self, why: str, cure: str | None = None) -> None:
        super().__init__(why)
        self.cure = cure


class UnavailableError(Exception):
    """The server could not be asked, though it should have been, and why: the fault lies here and not with the server."""


class SignInNeededError(Exception):
    """Only a person can find out: the server asks for a sign-in."""
