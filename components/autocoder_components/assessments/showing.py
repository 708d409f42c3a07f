"""What of a value may be shown to people: only what is of a form that holds no secret. Everything else is `…`.

To mask what is known to be a secret was not enough: a script holds a password in as many ways as there are programs. So
nothing of a line is shown but names of programs out of a fixed list, and of a word or a path only what stands before the
first character that could begin a value.
"""

from __future__ import annotations

import re

from autocoder_components.assessments.credential_shapes import HEX, UUID
from autocoder_components.assessments.lines import commands, is_line
from autocoder_components.assessments.programs import KNOWN
from autocoder_components.assessments.secrets import is_secret_name, looks_random, redact

ELLIPSIS = "…"
MOST_PROGRAMS = 6
MOST_SHOWN = 256
ROOTED = re.compile(r"^(?:[A-Za-z]:[\\/]|\\\\|[/~$%<{]|\.{1,2}(?:[\\/]|$))")
ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(?:[^\s/?#]*@)?(\[[0-9A-Fa-f:.]+\]|[\w.-]*)(:\d{1,5}(?!\d))?")
REFERENCE = r"\$\{[\w:.-]+\}|\$\w+|%\w+%|\{(?:env|file):[\w./-]+\}|<[\w .-]+>"
PATH_PART = re.compile(
    rf"{REFERENCE}|[A-Za-z]:(?=[\\/])|Program Files(?: \(x86\))?(?=[\\/])|[\w.@+~-]+(?=[\\/]|$)|[\\/]+"
)
WORD = re.compile(rf"(?:{REFERENCE}|\[[0-9A-Fa-f:.]+\]|[\w.@/+~^*,-])*")
COMPARISON = re.compile(r"(?:[<>~^!]=?|={1,3})\s?v?[\w.*+-]{1,24}")
OPERATOR = re.compile(r"&&?|\|\|?|;|>>?|2>&1|<")
SEQUENCE = re.compile(r"[|&;`\n]")
FLAG = re.compile(r"(--[A-Za-z][\w.-]*|-[A-Za-z]{1,2}|-(?:[a-z]+-)+[a-z]+)(?:(=)(.*))?", re.DOTALL)


def presentable(text: str) -> str:
    """The part of a value that may be shown."""
    text = text[:MOST_SHOWN]
    if COMPARISON.fullmatch(text) or OPERATOR.fullmatch(text):
        return text
    address = ADDRESS.match(text)
    if address is not None:
        return _path(text[address.end() :], f"{address[1]}://{address[2]}{address[3] or ''}")
    if ROOTED.match(text) and not SEQUENCE.search(text):
        return _path(text)
    return programs(text) if is_line(text) else _word(text)


def programs(line: str) -> str:
    """The programs that a line starts, as far as they are known ones; the program of a wrapper (`sudo`) is not looked for."""
    names = list(dict.fromkeys(name for command in commands(line) if (name := command.program) in KNOWN))
    return f" {ELLIPSIS} ".join(names[:MOST_PROGRAMS]) + f" {ELLIPSIS}" if names else ELLIPSIS


def _path(text: str, start: str = "") -> str:
    """A path up to its first part that is not plain, behind the start of its address: some give access as a whole."""
    at = 0
    while match := PATH_PART.match(text, at):
        part = match.group()
        if looks_random(part) or HEX.fullmatch(part) or UUID.fullmatch(part):
            break
        at = match.end()
    return redact(start + text[:at]) + (ELLIPSIS if at < len(text) else "")


def _word(text: str) -> str:
    """A name, or a flag without its value; a word up to the first character that no name has."""
    flag = FLAG.fullmatch(text)
    if flag is not None:
        if flag[2] is None:
            return flag[1]
        shows = ROOTED.match(flag[3]) and not is_secret_name(flag[1])
        return f"{flag[1]}={_path(flag[3]) if shows else ELLIPSIS}"
    if text.startswith("-"):
        return text[:2] + ELLIPSIS
    match = WORD.match(text)
    shown = match.group() if match is not None else ""
    return redact(shown) + (ELLIPSIS if len(shown) < len(text) else "")
