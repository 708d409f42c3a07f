"""Asking a configured server, as the components that do so share it: what is allowed, how long, how much."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import anyio
from anyio.to_thread import run_sync
from pydantic import Field

from autocoder import AutocoderError, Component
from autocoder_components.assessments.lifecycle.wanted import TIME_OVER, seconds_left, until_unwanted
from autocoder_components.assessments.model import Check, Finding, Outcome, Status
from autocoder_components.assessments.nodes import Node
from autocoder_components.assessments.probes.breaker import Breakers
from autocoder_components.assessments.probes.http import Terms
from autocoder_components.assessments.probes.outcome import (
    Answered,
    Limits,
    NotAskedError,
    ProbeError,
    SignInNeededError,
    Trace,
    UnavailableError,
)
from autocoder_components.assessments.probes.processes import SUPPORTED
from autocoder_components.assessments.probes.reach import Reach
from autocoder_components.assessments.probes.remote import Remote, probe_remote
from autocoder_components.assessments.probes.stdio import probe_program
from autocoder_components.assessments.probes.subject import PASSED_ON, subject_of
from autocoder_components.assessments.rules.base import ServerContext, found
from autocoder_components.assessments.rules.status import SILENT, UNREACHABLE

T = TypeVar("T")
TOO_LATE: Final = "the time of the assessment was over before the server was asked; give the request a longer timeout"
_LOOK: Final = 0.5
_TO_END: Final = 0.5
"""Seconds that are kept for the end of a probe, besides the grace of a program."""


class CertificatesError(AutocoderError):
    """The certificates of `ca_file` cannot be read."""


class Asking(Component):
    """The fields of a component that asks servers, and how it asks one. What is not allowed is not asked."""

    allow_exec: bool = Field(default=False, description="start the programs that configurations name")
    hosts: list[str] = Field(
        default_factory=list,
        description="hosts to contact: names (globs), addresses, networks; none: no host",
    )
    variables: list[str] = Field(
        default_factory=list, description="variables of this environment that references may be replaced from"
    )
    pass_on: list[str] = Field(
        default=list(PASSED_ON),
        description="variables of this environment that a program gets; nothing else of it reaches one",
    )
    timeout: float = Field(
        default=30.0, gt=0, le=3600, description="seconds for one server in all; the request may ask for less"
    )
    grace: float = Field(default=2.0, gt=0, le=60, description="seconds that a program has to end by itself")
    ca_file: Path | None = Field(
        default=None, description="certificates (PEM) of authorities to trust besides the known"
    )
    message_bytes: int = Field(default=4 * 1024 * 1024, gt=0, description="bytes, the longest message that is read")
    total_bytes: int = Field(default=16 * 1024 * 1024, gt=0, description="bytes, the most that is read from one server")
    failures: int = Field(default=3, ge=1, description="failures of a host in a row after which it is left alone")
    pause: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="seconds for which such a host is left alone"
    )

    def check(self) -> None:
        if self.allow_exec and not SUPPORTED:
            raise ValueError("allow_exec needs process groups, which this system does not have; leave it out")
        self._reach = Reach.of(self.hosts)

    async def open(self) -> None:
        self._limits = Limits(message_bytes=self.message_bytes, total_bytes=self.total_bytes, grace=self.grace)
        self._terms = Terms(self._reach, await run_sync(_trust, self.ca_file), self._limits, self._soon())
        self._breakers = Breakers(self.failures, self.pause)

    def _soon(self) -> float:
        """Seconds before its end from which a certificate is remarked on."""
        return 0.0

    async def _time(self, check: Check) -> tuple[float, bool]:
        """The seconds that asking for this check may take, and whether they are a fair share.

        A probe ends a little before the time of its assessment, so that silence is found by the ordinary way. A server whose
        turn came late is not to be blamed for the others: less than half of what it could have had is no fair share.
        """
        usual = min(self.timeout, check.request.timeout or self.timeout)
        left = await seconds_left(check.request)
        if left <= 0:
            raise UnavailableError(TOO_LATE)
        within = min(usual, left - min(self.grace + _TO_END, left / 4))
        return within, within >= usual / 2

    async def _ask(self, context: ServerContext, trace: Trace, check: Check) -> Answered:
        """The answer of the server within the time that there is.

        Raises ProbeError for what is wrong with it, NotAskedError for what is not allowed or cannot be asked, SignInNeededError
        where a person has to sign in, UnavailableError where the fault lies here. Nothing that was started is left.
        """
        subject = subject_of(
            context.server, os.environ, frozenset(self.variables), programs=self.allow_exec, passed_on=self.pass_on
        )
        within, fair = await self._time(check)  # before the host is given its one try, which would be lost
        host = f"{subject.url.host}:{subject.url.port}" if isinstance(subject, Remote) else None
        if host is not None and (left := self._breakers.wait(host)) > 0:
            raise UnavailableError(
                f"the host failed {self.failures} times in a row and is left alone for another {left:.0f} s; assess it later"
            )
        limits = replace(self._limits, patience=min(self._limits.patience, within / 4))
        reached: bool | None = None  # nothing is known where it is cancelled, or never asked
        try:
            with anyio.fail_after(within):
                if isinstance(subject, Remote):
                    answered = await probe_remote(subject, replace(self._terms, limits=limits), trace)
                else:
                    answered = await probe_program(subject, limits, trace)
            reached = True
            return answered
        except TimeoutError:
            if not fair:
                raise UnavailableError(
                    f"no end after {within:.1f} s, which is all that was left of the assessment's time; give the request a "
                    "longer timeout"
                ) from None
            reached = False
            raise ProbeError(SILENT, f"No end after {round(within, 1):g} s, {trace.stage}") from None
        except ProbeError as fault:
            reached = fault.remark.rule is not UNREACHABLE
            raise
        except SignInNeededError:
            reached = True
            raise
        finally:
            if host is not None and reached is not None:
                self._breakers.record(host, reached=reached)

    def _refusal(self, check: Check, refused: NotAskedError) -> Outcome:
        """Why a server was not asked, with the field that would allow it where one would."""
        if refused.cure is None:
            return blank(check, Status.SKIPPED, str(refused))
        reason = f"{refused}; {refused.cure} of {type(self).__name__}"
        return replace(blank(check, Status.SKIPPED, reason), not_allowed=True)


async def while_wanted(check: Check, work: Callable[[], Awaitable[T]], otherwise: Callable[[str], T]) -> T:
    """What the work comes to; when the assessment is wanted no more it is ended, and `otherwise` is told why.

    Who cancels an assessment does not want its programs to run on. That its time is over is nothing that is watched for here:
    who asks is bounded by it, and what it then found is a verdict that has to be told.
    """
    if check.request.attempt is None:
        return await work()
    done: list[T] = []
    why = ""

    async def watch() -> None:
        nonlocal why
        while (why := await until_unwanted(check.request)) == TIME_OVER:  # noqa: ASYNC110  another process cancels
            await anyio.sleep(_LOOK)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        done.append(await work())
        tasks.cancel_scope.cancel()
    return done[0] if done else otherwise(why)


def with_escaped(context: ServerContext, trace: Trace, outcome: Outcome) -> Outcome:
    """That something of a program may still run is told by whatever started it, and never passes."""
    if trace.escaped is None:
        return outcome
    finding = found(context, trace.escaped.rule, place_of(context), trace.escaped.message)
    status = Status.FAIL if outcome.status is Status.PASS else outcome.status
    return replace(outcome, status=status, findings=in_order((finding, *outcome.findings)))


def blank(check: Check, status: Status, reason: str | None) -> Outcome:
    """The outcome of a check without findings."""
    return Outcome(check.request, check.target, check.kind, status, check.planned, reason=reason)


def place_of(context: ServerContext) -> Node:
    """Where a finding on what a server does stands: at its address, its command, or its name."""
    server = context.server
    return server.url or (server.argv[0] if server.argv else server.node)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each finding once, worst first."""
    unique = {each.fingerprint: each for each in reversed(findings)}
    return tuple(sorted(unique.values(), key=lambda each: (each.severity.rank, each.rule, each.fingerprint)))


def _trust(extra: Path | None) -> ssl.SSLContext:
    """The certificates of the system, and those of the file."""
    tls = ssl.create_default_context()
    if extra is not None:
        try:
            tls.load_verify_locations(cafile=extra)
        except (OSError, ssl.SSLError) as error:
            raise CertificatesError(
                f"ca_file: {extra} holds no certificates that can be read ({error.strerror}); give PEM"
            ) from None
    return tls
