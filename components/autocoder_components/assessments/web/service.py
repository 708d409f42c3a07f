"""What the endpoints share: the store, the options, and the way to wait without outliving the client or the server."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import anyio
from starlette.requests import Request

from autocoder_components.assessments.lifecycle.errors import WaitTimeoutError
from autocoder_components.assessments.lifecycle.states import Actor, AssessmentState
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.reports.text import cut, visible
from autocoder_components.assessments.web.metrics import Meter
from autocoder_components.assessments.web.options import WebOptions
from autocoder_components.assessments.web.security import Guard

ACTOR: Final = "api"
_LONGEST_AGENT: Final = 300


@dataclass(frozen=True, slots=True)
class Service:
    """One service. `stopping` is set when the server is told to stop: whoever waits then answers at once."""

    store: AssessmentStore
    options: WebOptions
    guard: Guard
    meter: Meter = field(default_factory=Meter)
    stopping: anyio.Event = field(default_factory=anyio.Event)


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    return cast(Service, request.app.state.service)


def actor_of(request: Request) -> Actor:
    """Who asks, for the audit trail; the address and the program are kept only where the store's policy says so."""
    address = request.client.host if request.client is not None else None
    with suppress(ValueError):
        ipaddress.ip_address(address or "")
        agent = cut(visible(request.headers.get("user-agent", "")), _LONGEST_AGENT) or None
        return Actor(ACTOR, ip_address=address, user_agent=agent)
    return Actor(ACTOR)


async def waited(
    service: Service, assessment_id: str, seconds: float, request: Request | None = None
) -> AssessmentState:
    """The assessment once it has settled; or as it is when the time is over, the client gone, or the server stops.

    `request` is that of the client, where nobody else looks whether it is gone.
    """
    ends: list[Callable[[], Awaitable[None]]] = [service.stopping.wait]
    if request is not None:
        ends.append(partial(_gone, request))
    ended: AssessmentState | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        for end in ends:
            tasks.start_soon(_cancel_after, end, tasks.cancel_scope)
        try:
            ended = await service.store.wait_for_completion(assessment_id, seconds)
        except WaitTimeoutError:
            pass
        except Exception as error:  # raised below: out of the group it would come wrapped in another
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return ended or await service.store.get_state(assessment_id, fresh=True)


async def _cancel_after(end: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await end()
    scope.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
