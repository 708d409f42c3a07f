"""ProbeServer: whether a configured server is up, found by asking it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from pydantic import Field

from autocoder import AutocoderError, Transformer
from autocoder_components.assessments.checking import mistake
from autocoder_components.assessments.discover import load
from autocoder_components.assessments.lifecycle.wanted import until_unwanted
from autocoder_components.assessments.model import Check, Finding, Outcome, Status
from autocoder_components.assessments.probes.breaker import Breakers
from autocoder_components.assessments.probes.http import DAY, Terms
from autocoder_components.assessments.probes.outcome import (
    Answered,
    Limits,
    NotAskedError,
    ProbeError,
    Remark,
    SignInNeededError,
    Trace,
    UnavailableError,
)
from autocoder_components.assessments.probes.processes import SUPPORTED
from autocoder_components.assessments.probes.reach import Reach
from autocoder_components.assessments.probes.remote import Remote, probe_remote
from autocoder_components.assessments.probes.stdio import probe_program
from autocoder_components.assessments.probes.subject import subject_of
from autocoder_components.assessments.rules import server_context
from autocoder_components.assessments.rules.base import ServerContext, found
from autocoder_components.assessments.rules.status import SILENT, SLOW, UNREACHABLE


class CertificatesError(AutocoderError):
    """The certificates of `ca_file` cannot be read."""


class ProbeServer(Transformer[Check, Outcome], concurrency=8, ordered=False):
    """Ask each configured server whether it is up: connect, check its certificate, speak MCP, list its tools, see it end.

    Nothing is started and no host is contacted unless it is allowed: `allow_exec` for programs, `hosts` for addresses. What
    is not allowed is `skipped` with the reason. A name among the hosts stands for public addresses; private, loopback,
    link-local and metadata addresses have to be named as such, and every redirect is judged again. Both eras of the protocol
    are understood, over standard streams, Streamable HTTP and the older HTTP+SSE. Probes over HTTP need `autocoder[http]`.

    A program gets the variables of its configuration and PATH, HOME and the like, nothing else, and a process group of its
    own: when the probe is over, however it ended, all its processes are. Nothing that a server says is quoted or kept.

    ```yaml
    status:
      use: assessments.ProbeServer
      from: plan.status
      with: {hosts: ["*.example.org", 10.1.0.0/16], timeout: 10}
    ```
    """

    allow_exec: bool = Field(default=False, description="start the programs that configurations name")
    hosts: list[str] = Field(
        default_factory=list, description="hosts to contact: names (globs), addresses, networks; none: no host"
    )
    variables: list[str] = Field(
        default_factory=list, description="variables of this environment that references may be replaced from"
    )
    timeout: float = Field(
        default=30.0, gt=0, le=3600, description="seconds for one server in all; the request may ask for less"
    )
    slow: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="seconds after which a list of tools is slow"
    )
    grace: float = Field(default=2.0, gt=0, le=60, description="seconds that a program has to end by itself")
    expiry_days: int = Field(
        default=14, ge=0, description="days before its end from which a certificate is remarked on"
    )
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
        tls = await run_sync(_trust, self.ca_file)
        self._terms = Terms(self._reach, tls, self._limits, self.expiry_days * DAY)
        self._breakers = Breakers(self.failures, self.pause)

    async def process(self, check: Check, /) -> Outcome:
        if check.request.attempt is None:
            return await self._outcome(check)
        made: list[Outcome] = []

        async def watch() -> None:
            why = await until_unwanted(check.request)
            made.append(_blank(check, Status.SKIPPED, why))
            tasks.cancel_scope.cancel()

        # Who cancels an assessment does not want its programs to run on: the watch ends the probe, and with it all of them.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            made.append(await self._outcome(check))
            tasks.cancel_scope.cancel()
        return made[0]

    async def _outcome(self, check: Check) -> Outcome:
        """What the probe comes to; what breaks is an error outcome, never a pass and never lost."""
        try:
            return await self._judged(check)
        except Exception as error:
            return _blank(check, Status.ERROR, mistake("the probe broke on this server", error))

    async def _judged(self, check: Check) -> Outcome:
        loaded = await run_sync(load, check.target)
        if loaded.document is None:
            return _blank(check, Status.ERROR, loaded.problem)
        context = server_context(check.target, loaded.document)
        timeout = min(self.timeout, check.request.timeout or self.timeout)
        trace = Trace()
        status, reason = Status.PASS, ""
        faults: tuple[Remark, ...] = ()
        try:
            reason = self._said(await self._probe(context, trace, timeout), trace)
        except NotAskedError as refused:
            return _blank(check, Status.SKIPPED, str(refused))
        except UnavailableError as missing:
            return _blank(check, Status.ERROR, str(missing))
        except SignInNeededError as needed:
            status, reason = Status.MANUAL, str(needed)
        except ProbeError as fault:
            faults = (fault.remark,)
        findings = _findings(context, (*faults, *trace.remarks))
        if findings:
            return replace(_blank(check, Status.FAIL, None), findings=findings)
        return _blank(check, status, reason)

    async def _probe(self, context: ServerContext, trace: Trace, within: float) -> Answered:
        """The answer of the server within so many seconds, or how it failed to give one."""
        subject = subject_of(context.server, os.environ, frozenset(self.variables), programs=self.allow_exec)
        host = f"{subject.url.host}:{subject.url.port}" if isinstance(subject, Remote) else None
        if host is not None and (left := self._breakers.wait(host)) > 0:
            raise UnavailableError(
                f"the host failed {self.failures} times in a row and is left alone for another {left:.0f} s; assess it later"
            )
        limits = replace(self._limits, patience=min(self._limits.patience, within / 4))
        reached = True
        try:
            with anyio.fail_after(within):
                if isinstance(subject, Remote):
                    return await probe_remote(subject, replace(self._terms, limits=limits), trace)
                return await probe_program(subject, limits, trace)
        except TimeoutError:
            reached = False
            raise ProbeError(SILENT, f"No end after {within:g} s, {trace.stage}") from None
        except ProbeError as fault:
            reached = fault.remark.rule is not UNREACHABLE
            raise
        finally:
            if host is not None:
                self._breakers.record(host, reached=reached)

    def _said(self, answered: Answered, trace: Trace) -> str:
        said = f"MCP {answered.version} over {answered.transport}"
        if answered.tools is None:
            return f"{said}, no tools offered"
        if answered.seconds > self.slow:
            trace.remark(SLOW, f"The list of tools takes {answered.seconds:.1f} s, more than {self.slow:g} s")
        return f"{said}, {answered.tools} tools listed in {answered.seconds * 1000:.0f} ms"


def _blank(check: Check, status: Status, reason: str | None) -> Outcome:
    return Outcome(check.request, check.target, check.kind, status, check.planned, reason=reason)


def _findings(context: ServerContext, remarks: Sequence[Remark]) -> tuple[Finding, ...]:
    """The findings that the remarks are, at the address or the command, worst first."""
    server = context.server
    where = server.url or (server.argv[0] if server.argv else server.node)
    made = [found(context, each.rule, where, each.message) for each in remarks]
    unique = {each.fingerprint: each for each in reversed(made)}
    return tuple(sorted(unique.values(), key=lambda each: (each.severity.rank, each.rule)))


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
