"""Text out of other people's files as HTML: the only way into the page."""

from __future__ import annotations

import html
from typing import Final

from autocoder_components.assessments.reports.text import cut, visible

LONGEST: Final = 2000


def escaped(value: str) -> str:
    """`value` fit for the page: unseen characters visible, cut, escaped for text and for quoted attributes."""
    return html.escape(cut(visible(value), LONGEST))


def isolated(value: str) -> str:
    """`escaped` kept from rearranging its neighbours when it is written from right to left."""
    return f"<bdi>{escaped(value)}</bdi>"


def path_of(value: str) -> str:
    """`isolated` that breaks a long line behind a slash rather than within a name."""
    return isolated(value).replace("/", "/<wbr>").replace("</<wbr>", "</")
