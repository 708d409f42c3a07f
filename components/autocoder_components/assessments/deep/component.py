"""InspectTools: what the tools of a configured server are, found by asking it, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from anyio.to_thread import run_sync

from autocoder import Emission, Out, Splitter
from autocoder_components.assessments.checking import mistake
from autocoder_components.assessments.deep.definitions import Tool, tool_of
from autocoder_components.assessments.deep.judging import MOST_TOOLS, drift_findings, findings_of
from autocoder_components.assessments.deep.memory import SeenTools, definitions_of, drift_between, remembered, seen
from autocoder_components.assessments.deep.powers import Power, means_of
from autocoder_components.assessments.discover import load
from autocoder_components.assessments.model import Check, Finding, Outcome, Status
from autocoder_components.assessments.probes.asking import (
    Asking,
    blank,
    in_order,
    while_wanted,
    with_escaped,
)
from autocoder_components.assessments.probes.outcome import (
    NotAskedError,
    ProbeError,
    SignInNeededError,
    Trace,
    UnavailableError,
)
from autocoder_components.assessments.rules import server_context
from autocoder_components.assessments.rules.base import ServerContext
from autocoder_components.assessments.rules.tools import TOOL_CHANGED, TOOLS_ADDED, TOOLS_GONE

DRIFT: Final = (TOOL_CHANGED.id, TOOLS_ADDED.id, TOOLS_GONE.id)
"""What the first scan of a server cannot judge."""


@dataclass(slots=True)
class _Listening(Trace):
    """Keeps what a server lists, as far as it is inspected."""

    listed: int = 0
    tools: list[Mapping[str, Any]] = field(default_factory=list)
    instructions: str = ""

    def heard(self, tool: Mapping[str, Any]) -> None:
        self.listed += 1
        if len(self.tools) < MOST_TOOLS:
            self.tools.append(tool)

    def instructed(self, instructions: str) -> None:
        self.instructions = instructions


@dataclass(frozen=True, slots=True)
class _Inspected:
    outcome: Outcome
    seen: SeenTools | None = None


class InspectTools(Asking, Splitter[Check], concurrency=8, ordered=False):
    """Ask each configured server for its tools and judge them: `outcomes` for the assessment, `tools` to be remembered.

    Judged are changes since the last scan, hidden characters, orders to the model, annotations that say less than the tool
    does, names that can be mistaken, and tools that together can carry private data out. Names and descriptions are all that
    is looked at: no tool is called, and that none of this is found is no proof of anything. What the tools of several servers
    make together is judged by JoinOutcomes.

    Programs are started only with `allow_exec`, hosts contacted only out of `hosts`; what is not allowed is `skipped` with
    the reason, what cannot be inspected is an `error`. A program gets the variables of its configuration and those of
    `pass_on`, nothing else; it is bounded in time and output, and all its processes are gone when it was asked, however that
    ended. Of what a server says, findings quote names of tools and, as evidence, a few words.

    ```yaml
    deep:
      use: assessments.InspectTools
      from: plan.deep
      with: {allow_exec: true, pass_on: [PATH, HOME]}
    tools: {use: assessments.RememberTools, from: deep.tools}
    ```
    """

    outcomes = Out(Outcome)
    tools = Out(SeenTools)

    async def process(self, check: Check, /) -> AsyncIterator[Emission]:
        def unwanted(why: str) -> _Inspected:
            return _Inspected(blank(check, Status.SKIPPED, why))

        inspected = await while_wanted(check, partial(self._inspected, check), unwanted)
        if inspected.seen is not None:
            yield self.tools(inspected.seen)
        yield self.outcomes(inspected.outcome)

    async def _inspected(self, check: Check) -> _Inspected:
        """What the inspection comes to; what breaks is an error outcome, never a pass and never lost."""
        try:
            return await self._judged(check)
        except Exception as error:
            return _Inspected(blank(check, Status.ERROR, mistake("the inspection broke on this server", error)))

    async def _judged(self, check: Check) -> _Inspected:
        loaded = await run_sync(load, check.target)
        if loaded.document is None:
            return _Inspected(blank(check, Status.ERROR, loaded.problem))
        context = server_context(check.target, loaded.document)
        trace = _Listening()
        inspected = await self._asked(check, context, trace)
        return replace(inspected, outcome=with_escaped(context, trace, inspected.outcome))

    async def _asked(self, check: Check, context: ServerContext, trace: _Listening) -> _Inspected:
        try:
            await self._ask(context, trace, check)
        except NotAskedError as refused:
            return _Inspected(self._refusal(check, refused))
        except UnavailableError as missing:
            return _Inspected(blank(check, Status.ERROR, str(missing)))
        except SignInNeededError as needed:
            return _Inspected(blank(check, Status.MANUAL, str(needed)))
        except ProbeError as fault:
            # Whether a server is up is what ProbeServer judges: here it is only a reason why nothing is known of its tools.
            said = f"the tools could not be inspected: {fault.remark.message}"
            return _Inspected(blank(check, Status.ERROR, said))
        return await self._compared(check, context, trace)

    async def _compared(self, check: Check, context: ServerContext, trace: _Listening) -> _Inspected:
        tools, findings, means = await run_sync(_judge, context, trace)
        now = definitions_of(tools)
        before, unknown = await remembered(check.target, check.request)
        if before is not None:
            findings = [*findings, *drift_findings(context, drift_between(before, now))]
        if not check.request.include_details:
            findings = [replace(each, evidence=None) for each in findings]
        outcome = replace(
            blank(check, Status.FAIL if findings else Status.PASS, _said(trace.listed, unknown, first=before is None)),
            findings=in_order(findings),
            left_out=DRIFT if before is None else (),
            powers=tuple((power.value, tool) for power, tool in means.items()),
        )
        return _Inspected(outcome, seen(check.target, check.request, now))


def _said(listed: int, unknown: str | None, *, first: bool) -> str:
    inspected = f"{listed:,} {'tool' if listed == 1 else 'tools'} inspected"
    if unknown is not None:
        return f"{inspected}; whether {'it' if listed == 1 else 'they'} changed is not known: {unknown}"
    return f"{inspected}, " + ("for the first time" if first else "compared with the last scan")


def _judge(context: ServerContext, trace: _Listening) -> tuple[list[Tool], list[Finding], dict[Power, str]]:
    tools = [tool_of(each) for each in trace.tools]
    return tools, list(findings_of(context, tools, trace.listed, trace.instructions)), means_of(tools)
