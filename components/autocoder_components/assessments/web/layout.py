"""What all pages have in common: the frame, the empty page, the page of a problem, the form to log in."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.responses import HTMLResponse, Response

from autocoder_components.assessments import reports
from autocoder_components.assessments.web.markup import Child, Html, element, joined
from autocoder_components.assessments.web.problems import Refusal

STATIC: Final = "/static"
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEAD: Final = Html(
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
)


@cache
def assets() -> dict[str, tuple[bytes, str]]:
    """The files that pages need, with their types. There is one style: that of the reports, and what pages add."""
    own, of_reports = files(__package__), files(reports.__name__)
    style = of_reports.joinpath("report.css").read_bytes() + b"\n" + own.joinpath("pages.css").read_bytes()
    return {
        "pages.css": (style, _TYPES["css"]),
        "pages.js": (own.joinpath("pages.js").read_bytes(), _TYPES["js"]),
        "icon.svg": (own.joinpath("icon.svg").read_bytes(), _TYPES["svg"]),
    }


@cache
def asset(name: str) -> str:
    """Where a file is found; its address changes with its content, so that it may be kept for ever."""
    return f"{STATIC}/{hashlib.sha256(assets()[name][0]).hexdigest()[:16]}/{name}"


def page(
    title: str,
    *main: Child,
    heading: Child = None,
    head: Child = None,
    status: int = 200,
    session: bool = False,
    headers: dict[str, str] | None = None,
    **attributes: str | None,
) -> Response:
    """A whole page. `heading` is the title where it is more than text, `head` stands under it.

    `session`: whether there is one to end. `attributes` are those of <main>.
    """
    links = joined(
        [
            element("link", rel="stylesheet", href=asset("pages.css")),
            element("link", rel="icon", href=asset("icon.svg"), type="image/svg+xml"),
            element("script", src=asset("pages.js"), defer=True),
        ]
    )
    leave = element("form", element("button", "Log out", class_="quiet"), method="post", action="/logout")
    banner = element(
        "header",
        element("nav", element("a", "Assessments", href="/"), leave if session else None, aria_label="Service"),
        element("h1", title if heading is None else heading),
        head,
        class_="top",
    )
    body = element(
        "body",
        element("a", "Skip to the content", class_="skip", href="#content"),
        element("div", banner, element("main", *main, id="content", tabindex="-1", **attributes), class_="page"),
    )
    inside = element("head", _HEAD, element("title", f"{title} – autocoder"), links)
    return HTMLResponse(f"<!DOCTYPE html>\n{element('html', inside, body, lang='en')}\n", status, headers)


def notice(*children: Child, role: str | None = None) -> Html:
    """Something that should not be missed."""
    return element("div", *children, class_="notice", role=role)


def empty(headline: str, *children: Child) -> Html:
    """Says that there is nothing, and why or what to do."""
    return element("div", element("b", headline), *children, class_="card empty")


def problem_page(refusal: Refusal, *, session: bool = False) -> Response:
    """The answer to a person."""
    details = refusal.details
    said = element("p", details.detail)
    back = element("p", element("a", "Back to the list of assessments", href="/"))
    body = element("div", said, back, class_="card plain")
    return page(
        f"{details.status} {details.title}", body, status=details.status, session=session, headers=refusal.headers
    )


def login_page(following: str, *, failed: bool = False) -> Response:
    """The form that takes the token."""
    wrong = notice(element("p", "That is not the token of this service.", id="wrong"), role="alert") if failed else None
    field = element(
        "input",
        id="token",
        name="token",
        type="password",
        required=True,
        autocomplete="current-password",
        aria_describedby="hint wrong" if failed else "hint",
        aria_invalid="true" if failed else None,
    )
    form = element(
        "form",
        element("label", "Token", for_="token"),
        field,
        element("p", "Whoever runs this service has it: it is what programs send, too.", id="hint", class_="hint"),
        element("input", type="hidden", name="next", value=following),
        element("button", "Log in"),
        method="post",
        action="/login",
        class_="card login",
    )
    return page("Log in", wrong, form, status=403 if failed else 200)
