"""Text out of other people's files, made fit to show: nothing that steers a terminal, hides or reverses what is read.

Configuration files name servers, files and packages as their authors liked; what a report shows passes here first.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ELLIPSIS = "…"


def visible(text: str, *, keep_newlines: bool = False) -> str:
    r"""`text` with every character that is not seen written as an escape (`\x1b`, `\u202e`).

    Those are the control, format (bidirectional overrides, zero-width, tags), surrogate, private, unassigned and
    line-separating characters, and the variation selectors that can carry hidden text. The result can be encoded in
    UTF-8 and stored in any database. Newlines are escaped too unless `keep_newlines`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(character, keep_newlines) for character in text)


def _seen(character: str, keep_newlines: bool) -> str:
    if keep_newlines and character == "\n":
        return character
    code = ord(character)
    hidden_selector = 0xE0100 <= code <= 0xE01EF
    if not hidden_selector and unicodedata.category(character) not in _UNSEEN:
        return character
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def cut(text: str, most: int) -> str:
    """`text` in at most `most` characters, an ellipsis for what is missing at the end."""
    return text if len(text) <= most else text[: most - 1] + _ELLIPSIS


def cut_front(text: str, most: int) -> str:
    """`text` in at most `most` characters, an ellipsis for what is missing at the front: a path's end says more."""
    return text if len(text) <= most else _ELLIPSIS + text[len(text) - most + 1 :]


def plural(number: int, singular: str, plural_form: str | None = None) -> str:
    """`1 server`, `2 servers`."""
    return f"{number} {singular if number == 1 else plural_form or singular + 's'}"


def percent(share: float) -> str:
    """A share as a whole per cent, never rounded up to 100 % or down to 0 %."""
    whole = round(share * 100)
    if whole == 100 and share < 1:
        whole = 99
    if whole == 0 and share > 0:
        whole = 1
    return f"{whole} %"


def moment(text: str) -> datetime:
    """The UTC instant that an ISO 8601 `text` with an offset names. Raises ValueError when it names none."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC: end it with Z")
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies before the first year or behind the last one of UTC") from None


def stamp(instant: datetime) -> str:
    """An aware instant as `2026-11-21T03:54:34.123456Z`: always UTC and microseconds, so that text sorts as time."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
