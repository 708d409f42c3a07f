"""HTML that cannot be injected into: text becomes markup by being escaped, and by nothing else.

Everything that is shown comes out of files, requests and headers of other people. So a child or an attribute that is not an
`Html` made here is made visible (no control or direction-changing characters) and escaped, always.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from autocoder_components.assessments.reports.text import cut, stamp, visible

LONGEST: Final = 4000
_VOID: Final = frozenset({"br", "hr", "input", "link", "meta", "wbr"})


class Html(str):
    """Markup that was made by `element` or `joined`, or that stands in this package as it is."""

    __slots__ = ()


Child = str | int | None


def text(value: str | int) -> Html:
    """A value fit for text and for quoted attributes: unseen characters visible, cut, escaped."""
    return value if isinstance(value, Html) else Html(html.escape(cut(visible(str(value)[: LONGEST + 1]), LONGEST)))


def joined(children: Iterable[Child]) -> Html:
    """Children behind each other; None is left out."""
    return Html("".join(text(each) for each in children if each is not None))


def element(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """`<name attributes>children</name>`; `class_` is `class`, `data_label` is `data-label`; False and None are left out."""
    # An attribute is never markup, so even what is markup elsewhere is escaped here: `str` makes plain text of it.
    written = "".join(
        f" {each.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(str(value))}"')
        for each, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{joined(children)}</{name}>")


def said(value: str) -> Html:
    """Somebody else's text, kept from rearranging its neighbours when it is written from right to left."""
    return element("bdi", value)


def code(value: str) -> Html:
    """The same for names and paths."""
    return element("code", said(value))


def instant(moment: datetime) -> Html:
    """A moment for people, in UTC, and for programs."""
    moment = moment.astimezone(UTC)
    return element("time", f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC", datetime=stamp(moment))
