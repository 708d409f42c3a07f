"""ProbeServer: whether a configured server is up, found by asking it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from anyio.to_thread import run_sync
from pydantic import Field

from autocoder import Transformer
from autocoder_components.assessments.checking import mistake
from autocoder_components.assessments.discover import load
from autocoder_components.assessments.model import Check, Finding, Outcome, Status
from autocoder_components.assessments.probes.asking import (
    Asking,
    CertificatesError,
    blank,
    in_order,
    place_of,
    while_wanted,
    with_escaped,
)
from autocoder_components.assessments.probes.http import DAY
from autocoder_components.assessments.probes.outcome import (
    Answered,
    NotAskedError,
    ProbeError,
    Remark,
    SignInNeededError,
    Trace,
    UnavailableError,
)
from autocoder_components.assessments.reports.text import plural
from autocoder_components.assessments.rules import server_context
from autocoder_components.assessments.rules.base import ServerContext, found
from autocoder_components.assessments.rules.status import SLOW

__all__ = ["CertificatesError", "ProbeServer"]


class ProbeServer(Asking, Transformer[Check, Outcome], concurrency=8, ordered=False):
    """Ask each configured server whether it is up: connect, check its certificate, speak MCP, list its tools, see it end.

    Nothing is started and no host is contacted unless it is allowed: `allow_exec` for programs, `hosts` for addresses. What
    is not allowed is `skipped` with the reason. A name among the hosts stands for public addresses; private, loopback,
    link-local and metadata addresses have to be named as such, beside the name that has them; no other name is resolved, and
    every redirect is judged again. Both eras of the protocol are understood, over standard streams, Streamable HTTP and the
    older HTTP+SSE. Probes over HTTP need `autocoder[http]`.

    A program gets the variables of its configuration and those of `pass_on`, nothing else, and a supervisor: when the probe
    is over, however it ended, a kill of this process included, all its processes are (on Linux wherever they went, elsewhere
    those of its process group); where that is not certain it is a finding. Nothing that a server says is quoted or kept.

    ```yaml
    status:
      use: assessments.ProbeServer
      from: plan.status
      with: {hosts: ["*.example.org", 10.1.0.0/16], timeout: 10}
    ```
    """

    slow: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="seconds after which a list of tools is slow"
    )
    expiry_days: int = Field(
        default=14, ge=0, description="days before its end from which a certificate is remarked on"
    )

    async def process(self, check: Check, /) -> Outcome:
        return await while_wanted(check, partial(self._outcome, check), partial(blank, check, Status.SKIPPED))

    def _soon(self) -> float:
        return self.expiry_days * DAY

    async def _outcome(self, check: Check) -> Outcome:
        """What the probe comes to; what breaks is an error outcome, never a pass and never lost."""
        try:
            return await self._judged(check)
        except Exception as error:
            return blank(check, Status.ERROR, mistake("the probe broke on this server", error))

    async def _judged(self, check: Check) -> Outcome:
        loaded = await run_sync(load, check.target)
        if loaded.document is None:
            return blank(check, Status.ERROR, loaded.problem)
        context = server_context(check.target, loaded.document)
        trace = Trace()
        return with_escaped(context, trace, await self._asked(check, context, trace))

    async def _asked(self, check: Check, context: ServerContext, trace: Trace) -> Outcome:
        status, reason = Status.PASS, ""
        faults: tuple[Remark, ...] = ()
        try:
            reason = self._said(await self._ask(context, trace, check), trace)
        except NotAskedError as refused:
            return self._refusal(check, refused)
        except UnavailableError as missing:
            return blank(check, Status.ERROR, str(missing))
        except SignInNeededError as needed:
            status, reason = Status.MANUAL, str(needed)
        except ProbeError as fault:
            faults = (fault.remark,)
        findings = _findings(context, (*faults, *trace.remarks))
        if findings:
            return replace(blank(check, Status.FAIL, None), findings=findings)
        return blank(check, status, reason)

    def _said(self, answered: Answered, trace: Trace) -> str:
        said = f"MCP {answered.version} over {answered.transport}"
        if answered.tools is None:
            return f"{said}, no tools offered"
        if answered.seconds > self.slow:
            trace.remark(SLOW, f"The list of tools takes {answered.seconds:.1f} s, more than {self.slow:g} s")
        return f"{said}, {plural(answered.tools, 'tool')} listed in {answered.seconds * 1000:.0f} ms"


def _findings(context: ServerContext, remarks: Sequence[Remark]) -> tuple[Finding, ...]:
    """The findings that the remarks are, at the address or the command."""
    where = place_of(context)
    return in_order([found(context, each.rule, where, each.message) for each in remarks])
