"""The operations of the API: each says once how it is asked and answered, and both the routes and OpenAPI follow from that."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from autocoder import UnreachableError
from autocoder_components.assessments.lifecycle.arguments import MOST_SECONDS
from autocoder_components.assessments.lifecycle.errors import InvalidRequestError
from autocoder_components.assessments.lifecycle.output import data_of, state_json
from autocoder_components.assessments.lifecycle.reading import Filters, Page
from autocoder_components.assessments.lifecycle.requests import AssessmentRequest, judged
from autocoder_components.assessments.lifecycle.states import AssessmentState, Health, Outline, Policy, State, Stats
from autocoder_components.assessments.lifecycle.tables import LONGEST_ID
from autocoder_components.assessments.reports.text import moment
from autocoder_components.assessments.web import events, metrics
from autocoder_components.assessments.web.bodies import id_of, judged_by, read_json, read_query
from autocoder_components.assessments.web.problems import Refusal, problem_response, refusal_of
from autocoder_components.assessments.web.service import actor_of, service_of, waited

PREFIX: Final = "/api/v1"
ONE: Final = f"{PREFIX}/assessments/{{assessment_id}}"
MOST_IN_BATCH: Final = 1000
LONGEST_PAGE: Final = 1000
Endpoint = Callable[[Request], Awaitable[Response]]


def _visible(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be made of visible characters")
    return text


def _instant(given: Any) -> datetime:
    try:
        return moment(given)
    except (TypeError, ValueError):
        raise ValueError("must be a time of ISO 8601 with an offset, like 2026-11-21T08:00:00Z") from None


Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID), AfterValidator(_visible)]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
_STRICT: Final = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class ListQuery(BaseModel):
    """Which assessments to list."""

    model_config = _STRICT

    state: tuple[State, ...] = Field(default=(), description="only in one of these states; repeatable")
    type: Literal["security", "health", "compliance"] | None = Field(default=None, description="only of this type")
    source: Literal["installer", "compliance"] | None = Field(
        default=None, description="only asked for by this service"
    )
    server: Name | None = Field(default=None, description="only those that asked for this server alone")
    since: Instant | None = Field(default=None, description="created then or later")
    before: Instant | None = Field(default=None, description="created before")
    limit: int = Field(default=50, ge=1, le=LONGEST_PAGE, description="at most so many")
    after: Name | None = Field(default=None, description="the `next` of the page before")

    def filters(self) -> Filters:
        """The same for the store."""
        return Filters(self.state, self.type, self.source, self.server, self.since, self.before)


class ShowQuery(BaseModel):
    """How new the answer has to be."""

    model_config = _STRICT

    fresh: bool = Field(
        default=False, description="ask the database itself, where a shared cache or a copy would answer"
    )


class WaitQuery(BaseModel):
    """How long to wait."""

    model_config = _STRICT

    timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False, description="seconds; the service may allow fewer")


class StatsQuery(BaseModel):
    """What the throughput is measured over."""

    model_config = _STRICT

    window: float = Field(default=3600.0, ge=1, le=MOST_SECONDS, description="seconds, for the throughput")


class NoQuery(BaseModel):
    """Nothing may be said."""

    model_config = _STRICT


class Batch(BaseModel):
    """Many requests; all of them are stored, or none."""

    model_config = _STRICT

    requests: list[Any] = Field(min_length=1, max_length=MOST_IN_BATCH)


class Cancellation(BaseModel):
    """Why, and of which version; without a version the assessment is cancelled however it is."""

    model_config = _STRICT

    reason: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_visible)] | None = Field(
        default=None, description="why; the audit trail keeps it"
    )
    version: int | None = Field(
        default=None, ge=1, lt=2**31, description="refuse where the assessment has another version"
    )


@dataclass(frozen=True, slots=True)
class Created:
    """Stored, and handed to the pipeline."""

    assessment_id: str


@dataclass(frozen=True, slots=True)
class BatchCreated:
    """Stored, in the order of the requests."""

    assessment_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Waited:
    """`settled`: it has ended, and no retry is ahead. Otherwise the time was over: ask again."""

    settled: bool
    assessment: AssessmentState


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of assessments, the newest first; `next` is the `after` of the next page."""

    assessments: Sequence[Outline]
    next: str | None


@dataclass(frozen=True, slots=True)
class HealthTold:
    """How the store does, for whoever may not know more."""

    status: Literal["healthy", "degraded", "unhealthy"]


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer; ASCII alone, so that half characters out of other people's files break nothing."""
    body = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, "application/json")


def _as_told(body: str) -> Response:
    """An answer that is JSON by now."""
    return Response(body, media_type="application/json")


def place_of(assessment_id: str) -> str:
    """Where an assessment is asked for."""
    return f"{PREFIX}/assessments/{quote(assessment_id, safe='')}"


async def create(request: Request) -> Response:
    """Ask for an assessment; it is stored when the answer comes. The same request under the same id changes nothing."""
    read_query(request, NoQuery)
    service = service_of(request)
    body = await read_json(request, service.options.most_bytes, service.options.body_seconds)
    assessment_id = await service.store.create(body, actor=actor_of(request))
    return as_json({"assessment_id": assessment_id}, 202, {"Location": place_of(assessment_id)})


async def create_batch(request: Request) -> Response:
    """Ask for many assessments at once: all of them are stored, or none."""
    read_query(request, NoQuery)
    service = service_of(request)
    body = await read_json(request, service.options.most_batch_bytes, service.options.body_seconds)
    asked: list[Any] = judged_by(Batch, body, status=422, code="invalid_request").requests
    try:
        ids = await service.store.batch_create(asked, actor=actor_of(request))
    except InvalidRequestError as error:
        raise _numbered(asked) or error from None
    return as_json({"assessment_ids": ids}, 202)


def _numbered(asked: Sequence[Any]) -> InvalidRequestError | None:
    """The first request that cannot be stored, told with its number, which the store does not."""
    for number, each in enumerate(asked):
        try:
            judged(each, Policy())
        except InvalidRequestError as error:
            return InvalidRequestError(
                f"requests.{number}: {error}", [f"requests.{number}.{at}" for at in error.fields]
            )
    return None


async def show(request: Request) -> Response:
    """One assessment, whole: the request, and the result once there is one. A shared cache or a copy of the database answers,
    where the service has one, as far as that is new enough."""
    store, query = service_of(request).store, read_query(request, ShowQuery)
    state = await store.get_state(id_of(request), fresh=query.fresh or not store.has_levels)
    return _as_told(state_json(state))


async def wait(request: Request) -> Response:
    """Wait until an assessment has ended and no retry is ahead, for a bounded time; that changes nothing about it."""
    service, query = service_of(request), read_query(request, WaitQuery)
    state = await waited(service, id_of(request), min(query.timeout, service.options.longest_wait), request)
    return _as_told(f'{{"settled":{json.dumps(state.is_settled)},"assessment":{state_json(state)}}}')


async def follow(request: Request) -> Response:
    """The life of an assessment as server-sent events: `audit` for each entry of its trail, `state` for how it is, and
    `settled` with all of it at the end. Come back with Last-Event-ID and it goes on behind that."""
    read_query(request, NoQuery)
    service, assessment_id, position = service_of(request), id_of(request), events.position_of(request)
    if not await events.has_more(service, assessment_id, position):
        return Response(status_code=204)
    if request.method == "HEAD":  # whose answer nobody reads, so nothing would end it
        return Response(media_type=events.MEDIA_TYPE)
    return StreamingResponse(events.stream(service, assessment_id, position), media_type=events.MEDIA_TYPE)


async def list_all(request: Request) -> Response:
    """How assessments stand, without their requests and results, the newest first, a page at a time."""
    query = read_query(request, ListQuery)
    page = await page_of(request, query)
    states = [data_of(each) for each in page.assessments]
    headers = (
        {} if page.next is None else {"Link": f'<{request.scope["path"]}?{_next(request, page.next)}>; rel="next"'}
    )
    return as_json({"assessments": states, "next": page.next}, headers=headers)


async def page_of(request: Request, query: ListQuery) -> Page:
    """The page that a query asks for. Raises Refusal for an `after` that no page gave."""
    store = service_of(request).store
    try:
        return await store.list_assessments(query.filters(), limit=query.limit, after=query.after)
    except ValueError as error:
        raise Refusal(400, "bad_query", str(error), ["after"]) from None


def _next(request: Request, after: str) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    return urlencode([*kept, ("after", after)])


async def cancel(request: Request) -> Response:
    """Give up an assessment that waits or is worked on. A body is not needed."""
    read_query(request, NoQuery)
    service, said = service_of(request), Cancellation()
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        body = await read_json(request, service.options.most_bytes, service.options.body_seconds)
        said = judged_by(Cancellation, body, status=422, code="invalid_request")
    state = await service.store.cancel(id_of(request), said.reason, version=said.version, actor=actor_of(request))
    return _as_told(state_json(state))


async def stats(request: Request) -> Response:
    """The aggregates, over everything that is stored."""
    window = read_query(request, StatsQuery).window
    return as_json(data_of(await service_of(request).store.stats(window=window)))


async def health(request: Request) -> Response:
    """How the store does. 200 where it works, though something may wait too long (`degraded`); 503 where it does not.

    Without a token nothing but the status is told, so that a balancer may ask.
    """
    read_query(request, NoQuery)
    service = service_of(request)
    try:
        found = await service.store.health()
    except (DBAPIError, OSError, UnreachableError) as error:
        return problem_response(refusal_of(error))
    told = data_of(found) if service.guard.admits(request) else {"status": found.status}
    return as_json(told, 503 if found.status == "unhealthy" else 200)


async def show_metrics(request: Request) -> Response:
    """Everything that is measured, as Prometheus reads it. Where the database does not answer, it says just that."""
    service = service_of(request)
    try:
        found = metrics.store_families(await service.store.stats(), await service.store.health())
    except (DBAPIError, OSError, UnreachableError):
        found = metrics.store_families(None, None)
    return Response(metrics.rendered([*found, *service.meter.families()]), media_type=metrics.MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Operation:
    """How something is asked and answered. `refusals` are the statuses besides those that every operation has."""

    method: str
    path: str
    endpoint: Endpoint
    answer: Any
    status: int = 200
    query: type[BaseModel] = NoQuery
    body: Any = None
    media_type: str = "application/json"
    refusals: Sequence[int] = ()
    is_public: bool = False


_BODY: Final = (408, 413, 415, 422)
OPERATIONS: Final = (
    Operation("GET", f"{PREFIX}/assessments", list_all, Listed, query=ListQuery),
    Operation("POST", f"{PREFIX}/assessments", create, Created, 202, body=AssessmentRequest, refusals=(*_BODY, 409)),
    Operation(
        "POST", f"{PREFIX}/assessments/batch", create_batch, BatchCreated, 202, body=Batch, refusals=(*_BODY, 409)
    ),
    Operation("GET", ONE, show, AssessmentState, query=ShowQuery, refusals=(404,)),
    Operation("GET", f"{ONE}/wait", wait, Waited, query=WaitQuery, refusals=(404,)),
    Operation("GET", f"{ONE}/events", follow, str, media_type=events.MEDIA_TYPE, refusals=(404,)),
    Operation("POST", f"{ONE}/cancel", cancel, AssessmentState, body=Cancellation, refusals=(*_BODY, 404, 409)),
    Operation("GET", f"{PREFIX}/stats", stats, Stats, query=StatsQuery),
    Operation("GET", "/health", health, Health | HealthTold, is_public=True),
    Operation("GET", "/metrics", show_metrics, str, media_type="text/plain"),
)
