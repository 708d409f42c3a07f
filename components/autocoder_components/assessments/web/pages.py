"""The pages: the list with its filters, one assessment with its verdict and its timeline, the way in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from autocoder_components.assessments.lifecycle.output import shown_request
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Page
from autocoder_components.assessments.lifecycle.states import AssessmentState, AuditEntry, Outline, State
from autocoder_components.assessments.lifecycle.stored import read
from autocoder_components.assessments.web.api import Instant, ListQuery, page_of, place_of
from autocoder_components.assessments.web.bodies import id_of, read_form, read_query
from autocoder_components.assessments.web.layout import asset, assets, empty, login_page, notice, page
from autocoder_components.assessments.web.markup import Html, code, element, instant, joined, said
from autocoder_components.assessments.web.problems import Refusal
from autocoder_components.assessments.web.security import SESSION_SECONDS
from autocoder_components.assessments.web.service import service_of
from autocoder_components.assessments.web.verdict import preformatted, verdict

MOST_ENTRIES: Final = 500
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_LOOKS: Final = {
    State.PENDING: "plain",
    State.PROCESSING: "low",
    State.COMPLETED: "pass",
    State.FAILED: "critical",
    State.CANCELLED: "plain",
}
_TYPES: Final = ("security", "health", "compliance")
_SOURCES: Final = ("installer", "compliance")
_COLUMNS: Final = ("Assessment", "State", "Type", "Server", "Created", "Progress", "Priority")


def _in_utc(given: Any) -> Any:
    """What a browser's field for a time gives has no offset; the form says that it is UTC."""
    return f"{given}Z" if isinstance(given, str) and len(given) in (16, 19) else given


FieldTime = Annotated[Instant, BeforeValidator(_in_utc)]


class FormQuery(ListQuery):
    """The same from the form above the list."""

    since: FieldTime | None = None
    before: FieldTime | None = None


async def show_list(request: Request) -> Response:
    """The assessments, the newest first, narrowed by a form."""
    query = read_query(request, FormQuery, forgiving=True)
    found = await page_of(request, query)
    narrowed = bool(query.model_fields_set - {"limit", "after"})
    if found.assessments:
        body = joined([_table(found.assessments), _paging(request, found, query.after)])
    elif narrowed or query.after:
        body = empty("Nothing here", element("a", "Show all assessments", href="/"))
    else:
        hint = joined(["Ask for one: ", element("code", "autocoder assessments create --path ~/projects")])
        body = empty("No assessments yet", hint)
    return page("Assessments", _filters(query, narrowed=narrowed), body, session=not service_of(request).guard.is_open)


def _filters(query: FormQuery, *, narrowed: bool) -> Html:
    boxes = [
        element(
            "label",
            element("input", type="checkbox", name="state", value=each.value, checked=each in query.state),
            each.value,
        )
        for each in State
    ]
    fields = (
        _select("Type", "type", _TYPES, query.type),
        _select("Asked by", "source", _SOURCES, query.source),
        _input("Server", "server", query.server, maxlength=255),
        *(
            _input(label, name, None if value is None else f"{value:%Y-%m-%dT%H:%M}", type="datetime-local")
            for label, name, value in (
                ("Created since (UTC)", "since", query.since),
                ("Created before (UTC)", "before", query.before),
            )
        ),
    )
    buttons = element("div", element("button", "Show"), element("a", "Show all", href="/"), class_="buttons")
    states = element("fieldset", element("legend", "State"), *boxes, class_="filters")
    form = element("form", states, element("div", *fields, class_="fields"), buttons, action="/", role="search")
    return element("details", element("summary", "Narrow the list"), form, class_="card narrow", open=narrowed)


def _input(label: str, name: str, value: str | None, **attributes: str | int) -> Html:
    field = element("input", id=name, name=name, value=value, **attributes)
    return element("div", element("label", label, for_=name), field)


def _select(label: str, name: str, values: Sequence[str], chosen: str | None) -> Html:
    options = [element("option", each, value=each, selected=each == chosen) for each in values]
    field = element("select", element("option", "any", value=""), *options, id=name, name=name)
    return element("div", element("label", label, for_=name), field)


def _table(states: Sequence[Outline]) -> Html:
    head = element("tr", *(element("th", each, scope="col") for each in _COLUMNS))
    return element(
        "div",
        element("table", element("thead", head), element("tbody", *(_row(each) for each in states))),
        class_="card scroll list",
    )


def _row(state: Outline) -> Html:
    link = element("a", said(state.assessment_id), href=page_of_assessment(state.assessment_id))
    server = element("span", "any", class_="none") if state.server_name is None else said(state.server_name)
    cells = (_state(state.state), state.assessment_type, server, instant(state.created_at), f"{state.progress} %")
    labelled = zip(_COLUMNS[1:], (*cells, str(state.priority)), strict=True)
    return element(
        "tr", element("th", link, scope="row"), *(element("td", each, data_label=name) for name, each in labelled)
    )


def _state(state: State) -> Html:
    return element("span", state.value, class_=f"badge {_LOOKS[state]}")


def page_of_assessment(assessment_id: str) -> str:
    """Where a person looks at an assessment."""
    return f"/assessments/{quote(assessment_id, safe='')}"


def _paging(request: Request, found: Page, after: str | None) -> Html | None:
    kept = [
        (name, value) for name, value in parse_qsl(request.scope["query_string"].decode("latin-1")) if name != "after"
    ]
    first = element("a", "Newest", href=f"/?{urlencode(kept)}") if after is not None else None
    following = f"/?{urlencode([*kept, ('after', found.next)])}"
    further = element("a", "Older", href=following, rel="next") if found.next is not None else None
    return element("nav", first, further, class_="paging", aria_label="Pages") if first or further else None


async def show_one(request: Request) -> Response:
    """One assessment: how it is, its verdict, and everything that happened to it."""
    service, assessment_id = service_of(request), id_of(request)
    state = await service.store.get_state(assessment_id, fresh=True)
    entries = await service.store.audit(AuditFilters(assessment_id=assessment_id), limit=MOST_ENTRIES + 1, fresh=True)
    place = place_of(assessment_id)
    return page(
        f"Assessment {assessment_id}",
        _news(assessment_id),
        verdict(state.result) if state.result is not None else None,
        _facts(state),
        _timeline(entries),
        _request(state, place),
        heading=joined(["Assessment ", said(assessment_id)]),
        head=element("p", _state(state.state), " ", state.assessment_type, " assessment, asked for by ", state.source),
        session=not service.guard.is_open,
        data_events=None if state.is_settled else f"{place}/events",
    )


def _news(assessment_id: str) -> Html:
    """Stands hidden in the page until its script finds that there is more to see."""
    again = element("a", "Show it", href=page_of_assessment(assessment_id))
    hidden = element(
        "div", element("p", "This assessment has changed. ", again), id="told", class_="notice", hidden=True
    )
    return element("div", hidden, role="status")


def _facts(state: AssessmentState) -> Html:
    progress = None if state.is_terminal else _progress(state)
    facts: list[tuple[str, Html | str | None]] = [
        ("Progress", progress),
        ("Error", None if state.error_message is None else said(state.error_message)),
        ("Created", instant(state.created_at)),
        ("Started", None if state.started_at is None else instant(state.started_at)),
        ("Deadline", None if state.deadline_at is None or state.is_terminal else instant(state.deadline_at)),
        ("Ended", None if state.completed_at is None else instant(state.completed_at)),
        ("Next attempt", None if state.next_retry_at is None else instant(state.next_retry_at)),
        ("Priority", f"{state.priority} (1 is first)"),
        ("Retries", f"{state.retry_count} of {state.max_retries}"),
        ("Time for an attempt", f"{state.timeout_seconds:g} s"),
        ("Server", None if state.server_name is None else said(state.server_name)),
        ("Version", str(state.version)),
    ]
    rows = [element("div", element("dt", name), element("dd", value)) for name, value in facts if value is not None]
    listed = element("dl", *rows, class_="card facts")
    return element("section", element("h2", "State", id="state"), listed, aria_labelledby="state")


def _progress(state: AssessmentState) -> Html:
    words = f"{state.progress} %" + (f", {state.message}" if state.message else "")
    bar = element("progress", id="progress", max=100, value=state.progress, aria_labelledby="progress-words")
    return joined([bar, " ", element("bdi", words, id="progress-words")])


def _timeline(entries: Sequence[AuditEntry]) -> Html:
    items = [_entry(each) for each in entries[:MOST_ENTRIES]]
    rest = f"These are the first {MOST_ENTRIES}; `autocoder assessments audit` has what came behind them."
    more = notice(element("p", rest)) if len(entries) > MOST_ENTRIES else None
    shown = (
        element("ol", *items, class_="card timeline") if items else empty("No trail", "It was deleted, or never kept.")
    )
    return element("section", element("h2", "Timeline", id="timeline"), shown, more, aria_labelledby="timeline")


def _entry(entry: AuditEntry) -> Html:
    change: list[Html | str] = [_state(entry.new_state)]
    if entry.old_state is not None and entry.old_state is not entry.new_state:
        change = [_state(entry.old_state), element("span", " becomes ", class_="visually-hidden"), " → ", *change]
    return element(
        "li",
        element("p", element("b", entry.change_action.replace("_", " ").capitalize()), " ", *change),
        element("p", said(entry.change_reason), class_="message") if entry.change_reason else None,
        element("p", instant(entry.created_at), " by ", said(entry.changed_by), class_="hint"),
    )


def _request(state: AssessmentState, place: str) -> Html:
    shown = element(
        "details",
        element("summary", "What was asked for", id="asked"),
        preformatted(read(shown_request(state)), labelled_by="asked"),
    )
    file = f"{state.assessment_id}.json"
    download = element("a", "download it", href=place, download=file)
    whole = element("p", element("a", "All of it as JSON", href=place), ", or ", download)
    body = element("div", shown, whole, element("p", "Id: ", code(state.assessment_id)), class_="card plain")
    return element("section", element("h2", "Request", id="request"), body, aria_labelledby="request")


async def show_login(request: Request) -> Response:
    """The form that takes the token; where none is needed, straight to the list."""
    following = _local(request.query_params.get("next", "/"))
    return RedirectResponse("/", 303) if service_of(request).guard.is_open else login_page(following)


async def login(request: Request) -> Response:
    """Take the token, once, and give a session for it."""
    service = service_of(request)
    form = await read_form(request, service.options.body_seconds)
    following = _local(form.get("next", "/"))
    if service.guard.is_open:
        return RedirectResponse("/", 303)
    if not service.guard.is_token(form.get("token", "")):
        return login_page(following, failed=True)
    answer = RedirectResponse(following, 303)
    answer.set_cookie(
        service.guard.cookie,
        service.guard.session(),
        max_age=SESSION_SECONDS,
        secure=service.guard.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


async def logout(request: Request) -> Response:
    """Forget the session in this browser."""
    guard = service_of(request).guard
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(guard.cookie, secure=guard.secure, httponly=True, samesite="strict")
    return answer


def _local(address: str) -> str:
    """An address within this service; anything that a browser could take for another place becomes the list."""
    return address if address.startswith("/") and address[1:2] not in ("/", "\\") and address.isprintable() else "/"


async def show_asset(request: Request) -> Response:
    """A file of the pages. An address of another version of it is not there."""
    name = request.path_params["name"]
    if name not in assets() or request.scope["path"] != asset(name):
        raise Refusal(404, "no_such_page", "there is nothing at this address")
    content, kind = assets()[name]
    return Response(content, headers=_FOR_EVER, media_type=kind)
