"""The application: its routes, and the edge that every request passes, whatever it asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import anyio
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.web import pages
from autocoder_components.assessments.web.api import OPERATIONS, Endpoint, as_json
from autocoder_components.assessments.web.layout import STATIC, problem_page
from autocoder_components.assessments.web.openapi import document
from autocoder_components.assessments.web.options import WebOptions
from autocoder_components.assessments.web.problems import Refusal, problem_response, refusal_of
from autocoder_components.assessments.web.security import Guard, is_from_elsewhere
from autocoder_components.assessments.web.service import Service, service_of

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` a browser hides the origin of our own forms, too, and they would count as those of another site.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer says unless it says something else itself."""
UNMATCHED: Final = "unmatched"
DRAIN_BYTES: Final = 64 * 1024 * 1024
DRAIN_SECONDS: Final = 2.0
_PUBLIC: Final = ("/openapi.json", "/login", "/logout", *(each.path for each in OPERATIONS if each.is_public))
_FOR_PROGRAMS: Final = ("/api/", "/metrics", "/health", "/openapi.json")
_logger: Final = logging.getLogger("autocoder.assessments.web")


async def _openapi(request: Request) -> Response:
    """The document that describes the API."""
    return as_json(document())


_ENDPOINTS: Final[Sequence[tuple[str, str, Endpoint]]] = (
    *((each.method, each.path, each.endpoint) for each in OPERATIONS),
    ("GET", "/openapi.json", _openapi),
    ("GET", "/", pages.show_list),
    ("GET", "/assessments/{assessment_id}", pages.show_one),
    ("GET", "/login", pages.show_login),
    ("POST", "/login", pages.login),
    ("POST", "/logout", pages.logout),
    ("GET", f"{STATIC}/{{digest}}/{{name}}", pages.show_asset),
)


def make_app(store: AssessmentStore, options: WebOptions | None = None) -> Starlette:
    """The application on an open store. `app.state.service.stopping` ends who waits; whoever serves it sets that."""
    options = options or WebOptions()
    # The documents follow from the code alone, so what is wrong with them shows before anything listens.
    document()
    by_path: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in _ENDPOINTS:
        by_path.setdefault(path, {})[method] = endpoint
    app = Starlette(
        routes=[Route(path, _by_method(found), methods=list(found)) for path, found in by_path.items()],
        middleware=[Middleware(Edge)],
        exception_handlers={HTTPException: _as_refusal},
    )
    app.router.redirect_slashes = False
    app.state.service = Service(store, options, Guard(options))
    return app


def _by_method(found: dict[str, Endpoint]) -> Endpoint:
    """One endpoint for a path, so that a method it has not is answered with all of those it has."""

    async def endpoint(request: Request) -> Response:
        return await found["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _as_refusal(_request: Request, error: Exception) -> Response:
    raise refusal_of(error)


class Edge:
    """What holds for every request: who may ask, the headers of every answer, problems as answers, and the counting.

    Everything but what is listed as public needs the token or a session: a route that is added is closed until it is named.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes see the path as it was written: an id may hold a slash, which the server has decoded in `path`.
        scope["path"] = scope["raw_path"].decode("ascii")
        answer = _Answer(send)
        request, began = Request(scope, receive), time.perf_counter()
        meter = service_of(request).meter
        meter.in_progress += 1
        try:
            await self._answered(request, answer)
        finally:
            meter.in_progress -= 1
            route = getattr(scope.get("route"), "path", UNMATCHED)
            seconds = time.perf_counter() - began
            meter.count(request.method, route, answer.status, seconds)
            _logger.debug("%s %s: %d in %.1f ms", request.method[:20], route, answer.status, 1000 * seconds)

    async def _answered(self, request: Request, answer: _Answer) -> None:
        try:
            response: ASGIApp = _refused(request) or self._app
            await response(request.scope, request.receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:
            refusal = refusal_of(error)
            if answer.status:  # the answer has begun, and what was told cannot be taken back: break it off
                raise ConnectionAbortedError(refusal.details.code) from None
            told = _problem(request, refusal)
            if refusal.details.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                await _refuse_and_drain(told, request, answer)
            else:
                await told(request.scope, request.receive, answer)


class _Answer:
    """Sends an answer with the headers that every one has; `status` is 0 until it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _refused(request: Request) -> Response | None:
    """The answer to a request that goes no further."""
    guard, path = service_of(request).guard, request.scope["path"]
    if not guard.knows_host(request):
        said = "this service is not called by that name; `--url` names the address that people use"
        return _problem(request, Refusal(421, "wrong_host", said, ["Host"]))
    if is_from_elsewhere(request):
        return _problem(request, Refusal(403, "cross_site", "pages of other sites may not ask for this", ["Origin"]))
    if path in _PUBLIC or path.startswith(f"{STATIC}/") or guard.admits(request):
        return None
    if request.method in ("GET", "HEAD") and not path.startswith(_FOR_PROGRAMS):
        query = request.scope["query_string"].decode("latin-1")
        following = f"{path}?{query}" if query else path
        return RedirectResponse("/login" if path == "/" else f"/login?next={quote(following, safe='')}", 303)
    said = "send the token of this service: Authorization: Bearer TOKEN"
    return _problem(request, Refusal(401, "unauthorized", said, ["Authorization"], {"WWW-Authenticate": "Bearer"}))


def _problem(request: Request, refusal: Refusal) -> Response:
    """The answer to a refusal: for programs, or for people."""
    if request.scope["path"].startswith(_FOR_PROGRAMS):
        return problem_response(refusal)
    guard = service_of(request).guard
    return problem_page(refusal, session=not guard.is_open and guard.admits(request))


async def _refuse_and_drain(response: Response, request: Request, answer: _Answer) -> None:
    """Answer whoever is still sending, then take a little of what comes before the connection is closed.

    The reset of a connection that is closed at once can reach a client before the answer does.
    """
    await answer({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await answer({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    left = DRAIN_BYTES
    with anyio.move_on_after(DRAIN_SECONDS):
        while left > 0:
            message = await request.receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                break
    await answer({"type": "http.response.body", "body": b"", "more_body": False})
