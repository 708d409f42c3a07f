"""Characters in a text that a model reads and a person does not see, by kind. Scripts and emoji that need some keep them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from autocoder_components.assessments.model import Severity

_FLAG: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""A flag of a part of a country: the one use that tag characters still have."""
_TAGS: Final = re.compile("[\U000e0000-\U000e007f]+")
_OVERRIDES: Final = re.compile("[\u202d\u202e]+")
_DIRECTIONS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202c\u2066-\u2069]+")
_RIGHT_TO_LEFT: Final = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_JOINERS: Final = re.compile("[\u200c\u200d]+")
_ZERO_WIDTH: Final = re.compile("[\u180e\u200b\u2060\ufeff]+")
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}|[\U000e0100-\U000e01ef]+")
_OTHER: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u2061-\u2065\u206a-\u206f\u3164\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]+"
)
_SOFT_HYPHENS: Final = re.compile("\u00ad(?:\u00ad|\\W|$)|(?<!\\w)\u00ad")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]+")
_LETTERS: Final = 3


@dataclass(frozen=True, slots=True)
class Hidden:
    """One kind of hidden characters in a text: how many, which, and what they spell where they do."""

    kind: str
    severity: Severity
    count: int
    first: str
    spelled: str = ""

    def __str__(self) -> str:
        name = unicodedata.name(self.first, "")
        which = f"U+{ord(self.first):04X}" + (f" {name}" if name else "")
        return f"{self.count} {self.kind} ({which}{' and others' if self.count > 1 else ''})"


def hidden_in(text: str) -> Iterator[Hidden]:
    """The hidden characters of a text, one of each kind, the gravest kinds first."""
    if text.isascii() and text.isprintable():
        return
    rest = _FLAG.sub("", text)
    tags = "".join(_TAGS.findall(rest))
    if tags:
        spelled = "".join(chr(ord(each) - 0xE0000) for each in tags if 0x20 <= ord(each) - 0xE0000 < 0x7F)
        grave = sum(each.isalpha() for each in spelled) >= _LETTERS
        yield Hidden(
            "tag characters",
            Severity.CRITICAL if grave else Severity.HIGH,
            len(tags),
            tags[0],
            spelled if grave else "",
        )
    found = (
        ("variation selectors that select nothing", Severity.HIGH, _runs(_SELECTORS, rest, _selects)),
        ("overrides of the direction", Severity.HIGH, _runs(_OVERRIDES, rest)),
        ("marks of direction", Severity.HIGH, "" if _RIGHT_TO_LEFT.search(rest) else _runs(_DIRECTIONS, rest)),
        ("control characters", Severity.HIGH, _runs(_CONTROLS, rest)),
        ("zero-width characters", Severity.MEDIUM, _runs(_ZERO_WIDTH, rest) + _runs(_JOINERS, rest, _joins)),
        ("other invisible characters", Severity.MEDIUM, _runs(_OTHER, rest) + _runs(_SOFT_HYPHENS, rest)),
    )
    for kind, severity, characters in found:
        if characters:
            yield Hidden(kind, severity, len(characters), characters[0])


def without_hidden(text: str) -> str:
    """The text as a model reads it: without characters of format, the common forms of letters, single spaces."""
    plain = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    return re.sub(r"\s+", " ", plain)


def mixed_scripts(name: str) -> bool:
    """Whether a name has Latin letters beside Greek or Cyrillic ones, many of which look the same."""
    scripts = {unicodedata.name(each, "").partition(" ")[0] for each in name if each.isalpha()}
    return "LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK"})


def _runs(pattern: re.Pattern[str], text: str, honest: object = None) -> str:
    """All that matches, runs that have an honest use left out."""
    found = []
    for match in pattern.finditer(text):
        if not (callable(honest) and honest(match)):
            found.append(match[0])
    return "".join(found)


def _joins(match: re.Match[str]) -> bool:
    """Whether one joiner stands between what it joins: emoji, or letters of a script that needs it."""
    text = match.string
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    return len(match[0]) == 1 and ord(before or "a") > 0x2FF and ord(after or "a") > 0x2FF


def _selects(match: re.Match[str]) -> bool:
    """Whether one selector of a variant stands behind an ideograph."""
    before = match.string[match.start() - 1 : match.start()]
    return len(match[0]) == 1 and unicodedata.name(before or "a", "").startswith("CJK")
