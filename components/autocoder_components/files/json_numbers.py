"""Numbers that are no JSON (NaN, Infinity) or too large for a float (1e999): the parser takes them, and writers lose them.

To look at every number would take longer than to parse it. So many lines at once are asked whether one of them may hold such a
number, and only those that may are looked through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Final

_CLASS_OF: Final = {**dict.fromkeys("0123456789+", "0"), **dict.fromkeys("eE", "e"), **dict.fromkeys("NIf", "N")}
_CLASSES: Final = bytes(ord({**_CLASS_OF, "a": "a", "n": "a"}.get(chr(code), ".")) for code in range(256))
"""What each byte is to the search: with all the others alike, it passes over most of a line without a look."""
_WORD: Final = re.compile(b"NaN")
"""The classes of `NaN` and of the beginning of `Infinity`. (Text this short re finds in half the time of `in`.)"""
_POWER: Final = re.compile(b"0e000")
"""The classes of an exponent of three digits."""
_MANY_DIGITS: Final = b"0" * 200
"""With fewer, a number is too large only if its exponent has three."""
_SUSPECT: Final = re.compile(rb"(?:NaN|Infinity|[0-9][eE]\+?[0-9]{3,})(?![^\s,\]}])")
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(-?(?:NaN|Infinity|[0-9][0-9.eE+-]*))', re.DOTALL)


class OddNumberError(ValueError):
    """A number that is no JSON, or that no float holds."""


def may_hold_odd_numbers(lines: Sequence[bytes]) -> bool:
    """Whether `refuse_odd_number` has to be asked about these lines; their encoding has to be a superset of ASCII."""
    text = b"\n".join(lines)
    classes = text.translate(_CLASSES)
    if _MANY_DIGITS in classes:
        return True
    return any(_SUSPECT.match(text, hit.start()) for wanted in (_WORD, _POWER) for hit in wanted.finditer(classes))


def refuse_odd_number(line: bytes) -> None:
    """Raise OddNumberError for the first such number outside of strings of a `line` that the parser takes, in UTF-8."""
    for match in _TOKEN.finditer(line):
        token = (match[1] or b"").decode()
        if token.endswith(("NaN", "Infinity")):
            raise OddNumberError(f"{token} is no JSON, at {_column(match)}")
        if any(each in token for each in ".eE") and not isfinite(float(token)):
            shown = token if len(token) <= 20 else f"{token[:20]}..."
            raise OddNumberError(f"the number {shown} is too large, at {_column(match)}")


def _column(match: re.Match[bytes]) -> str:
    """Where a number begins, counted in characters from 1."""
    return f"column {len(match.string[: match.start()].decode(errors='replace')) + 1}"
