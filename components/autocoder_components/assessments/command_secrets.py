"""Credentials in the words of a command: given to a flag, assigned to a variable, or fed to a program that asks for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autocoder_components.assessments.launch_parts import program_name
from autocoder_components.assessments.lines import Command, commands, is_line
from autocoder_components.assessments.programs import DOWNLOADERS, ENGINES, PRIVILEGE

ASSIGNED = re.compile(r"(?:--?|/|\$(?:env:)?|\$\{env:)?([A-Za-z_][A-Za-z0-9_.-]*)\}?=(.+)", re.DOTALL)
VARIABLE = re.compile(r"\$(?:env:)?([A-Za-z_][A-Za-z0-9_]*)=$")
NAMED_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)$")
LOGIN_FLAGS = frozenset({"-u", "-U", "--user", "--username", "--userpass", "--login", "--proxy-user", "--basic-auth"})
LOGIN = re.compile(r"[^\s:/@\\]{1,64}:([^\s/@]{2,})$")
HEADER_FLAGS = frozenset({"-H", "--header", "--headers", "-header", "--proxy-header"})
HEADER = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\s*:\s*(?:(?:bearer|basic|token|digest)\s+)?(\S+)$", re.IGNORECASE)
FED_PASSWORD = re.compile(r"^(?:-[a-zA-Z]*S[a-zA-Z]*|--stdin|--password-stdin|--passphrase-fd|--with-token)$")
# By program, for `-p word` and `-pword` mean a port, a path or a project elsewhere.
PASSWORD_FLAG_OF: tuple[tuple[re.Pattern[str], str, bool], ...] = (
    (re.compile(r"^sshpass"), "-p", True),
    (re.compile(r"^(?:mongo|sqlplus|ipmitool|rdesktop|lftp)"), "-p", True),
    (re.compile(r"^(?:mysql|mariadb|mycli)"), "-p", False),
    (re.compile(r"^redis"), "-a", True),
    (re.compile(r"^(?:sqlcmd|bcp|isql|tsql|ipmitool)"), "-P", True),
)
TELLING = frozenset("-$/")
ATTACHED = frozenset({"-p", "-P", "-a"})
ECHOES = frozenset({"echo", "printf", "write-output"})
DEEPEST = 3
WRAPPERS = PRIVILEGE | {"env", "nohup", "exec", "time", "nice", "cmd"}
STRONG = re.compile(r"(?=[^\d]*\d)(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[^\s/\\=,]{8,}$")


@dataclass(frozen=True, slots=True)
class InWord:
    """A credential in one of the words, and its slice of that word."""

    index: int
    what: str
    start: int
    end: int


def inside(raw: str) -> tuple[int, int]:
    """The slice of a word without one pair of quotes around it, or an open quote before it."""
    start = 1 if raw[:1] in "\"'" else 0
    end = len(raw) - 1 if start and len(raw) > 1 and raw[-1] == raw[0] else len(raw)
    return (start, end) if raw else (0, 0)


def in_words(words: Sequence[str], may_be: Callable[[str, str], bool]) -> Iterator[InWord]:
    """The credentials of one command; `may_be` judges a value and the name it has."""
    names = (program_name(word) for word in words if not re.match(r"[A-Za-z_]\w*=|-", word))
    program = next((name for name in names if name not in WRAPPERS), "")
    before = ""
    for index, raw in enumerate(words):
        start, end = inside(raw)
        word = raw[start:end]
        if "=" not in word and before[:1] not in TELLING and word[:2] not in ATTACHED and program != "setx":
            before = word  # most words: nothing before them or in them could give a credential away
            continue
        for what, at in _in_word(word, before, program, may_be):
            low, high = inside(word[at:])
            if high > low:
                yield InWord(index, what, start + at + low, start + at + high)
            break
        before = before + "=" if word == "=" else word  # PowerShell's `$env:NAME = 'value'`


def _in_word(word: str, before: str, program: str, may_be: Callable[[str, str], bool]) -> Iterator[tuple[str, int]]:
    assigned = ASSIGNED.match(word)
    if assigned is not None and may_be(assigned[2], assigned[1]):
        yield "credential", assigned.start(2)
    name = VARIABLE.match(before) or (None if word.startswith("-") else NAMED_FLAG.match(before))
    if name is None and program == "setx" and re.match(r"[A-Za-z_]\w*$", before):
        name = re.match(r"(.*)", before)
    if name is not None and may_be(word, name[1]):
        yield "credential", 0
    header = HEADER.match(word) if before in HEADER_FLAGS else None
    if header is not None and may_be(header[2], header[1]):
        yield "credential", header.start(2)
    login = LOGIN.match(word) if before in LOGIN_FLAGS and program not in ENGINES else None
    if login is not None and _is_password(login[1], program):
        yield "password", login.start(1)
    yield from _short_flag(word, before, program)


def _is_password(text: str, program: str) -> bool:
    """Whether what stands behind a user's name is a password, not a group (`--user app:staff`)."""
    if text.isdigit():
        return program in DOWNLOADERS
    return program in DOWNLOADERS or re.search(r"\d|[^\w-]|[a-z][A-Z]", text) is not None


def _short_flag(word: str, before: str, program: str) -> Iterator[tuple[str, int]]:
    """`-pPASSWORD` and `-p PASSWORD`, by the program; where it is none of the known ones, only what nobody else writes so."""
    for pattern, flag, apart in PASSWORD_FLAG_OF:
        if pattern.match(program):
            if word.startswith(flag) and len(word) > len(flag):
                yield "password", len(flag)
            elif apart and before == flag and not word.startswith("-"):
                yield "password", 0
            return
    if program in ENGINES:
        return
    if word.startswith("-p") and STRONG.match(word[2:]) and "-" not in word[2:]:
        yield "password", 2
    elif before == "-p" and STRONG.match(word):
        yield "password", 0


def in_line(text: str, may_be: Callable[[str, str], bool], depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """The credentials of a command line, as what they are and their slices of the text; of a script inside it as well."""
    parts = commands(text)
    for number, command in enumerate(parts):
        words = [piece.text for piece in command.words]
        for found in in_words(words, may_be) if len(words) > 1 or "=" in words[0] else ():
            offset = command.words[found.index].start
            yield found.what, offset + found.start, offset + found.end
        for piece in command.words if depth < DEEPEST else ():
            low, high = inside(piece.text) if piece.text[0] in "\"'" else (0, 0)
            if low and is_line(piece.text[low:high]):
                offset = piece.start + low
                for what, start, end in in_line(piece.text[low:high], may_be, depth + 1):
                    yield what, offset + start, offset + end
        following = parts[number + 1] if number + 1 < len(parts) else None
        if following is not None and words[0].lower() in ECHOES and _asks(following):
            for piece in command.words[1:]:
                low, high = inside(piece.text)
                if high > low and not piece.text.startswith("-"):
                    yield "password", piece.start + low, piece.start + high


def _asks(command: Command) -> bool:
    """Whether the command takes a password from what is piped into it."""
    return command.operator == "|" and (
        command.program in {"passwd", "chpasswd", "su", "kinit", "cryptsetup"}
        or any(FED_PASSWORD.match(piece.text) for piece in command.words)
    )
