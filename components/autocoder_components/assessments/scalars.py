"""Read one string, number or word of tolerant JSON. Pure functions over a text and an offset; no positions, no notes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PLAIN = re.compile(r'[^"\\\x00-\x1f]*"')
CHUNK = {'"': re.compile(r'[^"\\\x00-\x1f]+'), "'": re.compile(r"[^'\\\x00-\x1f]+")}
STRICT_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
JSON5_NUMBER = re.compile(
    r"([+-]?)(?:(0[xX][0-9a-fA-F]+)|(Infinity|NaN)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))"
)
LEADING_ZERO = re.compile(r"[+-]?0[0-9]")
WORD = re.compile(r"""[^\s,:{}\[\]"'/]+|/(?![/*])[^\s,:{}\[\]"'/]*""")
WORD_CHARACTER = re.compile(r"[\w$.+-]")
HEX4 = re.compile(r"[0-9a-fA-F]{4}")
HEX2 = re.compile(r"[0-9a-fA-F]{2}")
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
JSON5_ESCAPES = {"'": "'", "v": "\v", "0": "\0"}


@dataclass(slots=True)
class Scanned:
    """A scalar and where it ends; `faults` are (offset, message), `json5` the offset of what strict JSON lacks."""

    value: str | int | float | bool | None
    end: int
    faults: list[tuple[int, str]] = field(default_factory=list)
    json5: tuple[int, str] | None = None


def scan_string(text: str, start: int) -> Scanned:
    """The string whose opening quote (double or single) is at `start`; an open string ends at its line's end."""
    quote = text[start]
    if quote == '"' and (plain := PLAIN.match(text, start + 1)):
        return Scanned(text[start + 1 : plain.end() - 1], plain.end())
    scanned = Scanned("", start + 1, json5=(start, "single quotes") if quote == "'" else None)
    parts: list[str] = []
    at = start + 1
    while True:
        if at >= len(text) or text[at] in "\r\n":
            scanned.faults.append((start, "this string is not closed on its line"))
            break
        if chunk := CHUNK[quote].match(text, at):
            parts.append(chunk.group())
            at = chunk.end()
        elif text[at] == quote:
            at += 1
            break
        elif text[at] == "\\":
            piece, at = _escape(text, at, scanned)
            parts.append(piece)
        else:
            scanned.faults.append((at, "a raw control character inside a string; write it as an escape"))
            parts.append(text[at])
            at += 1
    scanned.value, scanned.end = "".join(parts), at
    return scanned


def _escape(text: str, at: int, scanned: Scanned) -> tuple[str, int]:
    """What the escape at `at` stands for, and where the text goes on."""
    letter = text[at + 1 : at + 2]
    if letter in ESCAPES and letter:
        return ESCAPES[letter], at + 2
    if letter == "u" and HEX4.match(text, at + 2):
        return _utf16(text, at)
    if letter == "x" and HEX2.match(text, at + 2):
        scanned.json5 = scanned.json5 or (at, "a \\x escape")
        return chr(int(text[at + 2 : at + 4], 16)), at + 4
    if letter in JSON5_ESCAPES and letter:
        scanned.json5 = scanned.json5 or (at, f"a \\{letter} escape")
        return JSON5_ESCAPES[letter], at + 2
    if letter in {"\r", "\n"}:
        scanned.json5 = scanned.json5 or (at, "a string continued over a line end")
        return "", at + (3 if text[at + 1 : at + 3] == "\r\n" else 2)
    scanned.faults.append((at, "a backslash that starts no escape; write \\\\ for one backslash"))
    return "\\", at + 1


def _utf16(text: str, at: int) -> tuple[str, int]:
    """A \\u escape, joined with the next one when the two are a surrogate pair (lone ones stay, as in `json`)."""
    unit = int(text[at + 2 : at + 6], 16)
    if 0xD800 <= unit <= 0xDBFF and text[at + 6 : at + 8] == "\\u" and HEX4.match(text, at + 8):
        low = int(text[at + 8 : at + 12], 16)
        if 0xDC00 <= low <= 0xDFFF:
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)), at + 12
    return chr(unit), at + 6


def scan_word(text: str, start: int) -> Scanned | None:
    """The number, literal or bare word at `start`; None when no word starts there."""
    strict = STRICT_NUMBER.match(text, start)
    if strict and not WORD_CHARACTER.match(text, strict.end()):
        return Scanned(_number(strict.group(), whole=not (strict[1] or strict[2])), strict.end())
    for literal, value in (("true", True), ("false", False), ("null", None)):
        if text.startswith(literal, start) and not WORD_CHARACTER.match(text, start + len(literal)):
            return Scanned(value, start + len(literal))
    loose = JSON5_NUMBER.match(text, start)
    if loose and not WORD_CHARACTER.match(text, loose.end()):
        if LEADING_ZERO.match(text, start):
            return Scanned(_json5_number(loose), loose.end(), faults=[(start, "a number with a leading zero")])
        return Scanned(_json5_number(loose), loose.end(), json5=(start, "a number that strict JSON cannot write"))
    word = WORD.match(text, start)
    if word is None:
        return None
    fault = (start, "a bare word; write it in double quotes")
    return Scanned(word.group(), word.end(), faults=[fault])


def _number(text: str, *, whole: bool) -> int | float:
    try:
        return int(text) if whole else float(text)
    except ValueError:  # Python refuses whole numbers of more than 4300 digits
        return float(text)


def _json5_number(match: re.Match[str]) -> int | float:
    sign = -1 if match[1] == "-" else 1
    if match[2]:
        return sign * int(match[2], 16)
    if match[3]:
        return sign * float(match[3].lower().replace("infinity", "inf"))
    return sign * _number(match[4], whole=match[4].isdigit())
