"""The life of one assessment as server-sent events: every entry of its audit trail once, in order, then its end.

The id of an event is that of the audit entry, so a client that comes back with Last-Event-ID goes on exactly behind what it
had, even with another server. The end has an id of its own kind: who comes back with that is told that there is no more
(204, which ends an EventSource), unless the assessment was retried since.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
from starlette.requests import Request

from autocoder_components.assessments.lifecycle.output import data_of, outline_data, state_json
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.web.problems import Refusal, problem_response, refusal_of
from autocoder_components.assessments.web.service import Service, waited

MEDIA_TYPE: Final = "text/event-stream"
RECONNECT_MILLISECONDS: Final = 2000
_ID: Final = re.compile(r"([0-9]{1,18})(\.settled)?", re.ASCII)
_MOST: Final = 200
_AGAIN_SECONDS: Final = 0.05
_OUTLINE: Final = ("state", "version", "progress", "message", "retry_count", "updated_at", "error_message")


@dataclass(frozen=True, slots=True)
class Position:
    """What a client has: the entries of the trail up to one, and whether it was told the end behind it."""

    entry: int = 0
    settled: bool = False


def position_of(request: Request) -> Position:
    """What the client says it has; raises Refusal for what no event ended with."""
    given = request.headers.get("last-event-id", "")
    if not given:
        return Position()
    found = _ID.fullmatch(given)
    if found is None:
        raise Refusal(400, "bad_event_id", "no event has such an id; leave it out", ["Last-Event-ID"])
    return Position(int(found[1]), found[2] is not None)


async def has_more(service: Service, assessment_id: str, position: Position) -> bool:
    """Whether there is or will be anything behind a position. Raises AssessmentNotFoundError."""
    state = await service.store.get_state(assessment_id, fresh=True)
    if not (position.settled and state.is_settled):
        return True
    behind = await service.store.audit(
        AuditFilters(assessment_id=assessment_id), limit=1, after=position.entry, fresh=True
    )
    return bool(behind)


async def stream(service: Service, assessment_id: str, position: Position) -> AsyncIterator[bytes]:
    """The events behind a position; ends with the assessment, with its time, or with the server.

    What goes wrong meanwhile is told as an event, too, for the headers are long gone.
    """
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    try:
        # No cancel scope around a yield: it would belong to whoever takes the next event.
        async for each in _Told(service, assessment_id, position).run():
            yield each
    except Exception as error:
        yield _event("problem", bytes(problem_response(refusal_of(error)).body).decode())


class _Told:
    """What one client was told."""

    def __init__(self, service: Service, assessment_id: str, position: Position) -> None:
        self._service, self._id = service, assessment_id
        self._behind = position.entry
        self._version: int | None = None
        self._outline: Mapping[str, Any] = {}
        self._silent_since = anyio.current_time()

    async def run(self) -> AsyncIterator[bytes]:
        options, until = self._service.options, anyio.current_time() + self._service.options.longest_stream
        while not self._service.stopping.is_set() and anyio.current_time() < until:
            # The state first: what it says is then in the trail. Both are read in the database itself, for they are followed.
            state = await self._service.store.get_state(self._id, fresh=True)
            async for each in self._entries():
                yield each
            for each in self._changed(state):
                yield each
            agree = self._version in (None, state.version)
            if state.is_settled and agree:
                # Asked as a waiter asks, who gets the whole result even where the row does not keep it.
                whole = await waited(self._service, self._id, 0)
                if whole.version == state.version:
                    yield _event("settled", state_json(whole), f"{self._behind}.settled")
                    return
            if anyio.current_time() - self._silent_since >= options.keep_alive:
                self._silent_since = anyio.current_time()
                yield b": still here\n\n"
            look = min(options.look, options.keep_alive)
            if agree:
                await waited(self._service, self._id, look)
            else:  # the trail went on meanwhile, and the state is asked for again; where it is damaged they never agree
                await anyio.sleep(min(look, _AGAIN_SECONDS))

    async def _entries(self) -> AsyncIterator[bytes]:
        """What is new in the trail."""
        filters, found = AuditFilters(assessment_id=self._id), _MOST
        while found == _MOST:
            entries = await self._service.store.audit(filters, limit=_MOST, after=self._behind, fresh=True)
            found = len(entries)
            for entry in entries:
                self._behind, self._version, self._silent_since = entry.id, entry.version_to, anyio.current_time()
                yield _event("audit", json.dumps(data_of(entry)), str(entry.id))

    def _changed(self, state: AssessmentState) -> list[bytes]:
        """How the assessment is now, where that is news: progress moves between the entries of the trail."""
        data = outline_data(state)
        outline = {name: data[name] for name in _OUTLINE}
        if outline == self._outline:
            return []
        self._outline, self._silent_since = outline, anyio.current_time()
        return [_event("state", json.dumps(outline))]


def _event(name: str, data: str, event_id: str | None = None) -> bytes:
    """One event; JSON is one line, whatever it holds."""
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {name}\ndata: {data}\n\n".encode()
