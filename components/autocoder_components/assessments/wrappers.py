"""Programs that only start another one (`sudo`, `env`, `timeout`, `ssh`), and what they start. Executes nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from autocoder_components.assessments.launch_parts import Word
from autocoder_components.assessments.programs import PRIVILEGE, SSH_VALUED, WRAPPERS

AS_ANOTHER = PRIVILEGE | {"su", "runuser"}
"""Those that start it as somebody else."""
RUNUSER_VALUED = frozenset({"-u", "--user", "-g", "--group", "-G", "--supp-group"})
NAMES_USER = re.compile(r"^(?:-u|--user(?:=|$))")
COMMAND_FLAG = re.compile(r"^(?:-[a-z]*c|--command)$")


def split(word: Word) -> list[Word]:
    """The words of a command line that stands in one string."""
    try:
        lexer = shlex.shlex(word.text, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        lexer.commenters = ""
        if "\\" in word.text:
            lexer.escape = ""  # a Windows path, not an escape
        return [Word(text, word.node, whole=False) for text in lexer]
    except ValueError:  # an open quote
        return [Word(text, word.node, whole=False) for text in word.text.split()]


def started_by(head: Word, rest: list[Word]) -> list[Word] | None:
    """The words of what a program that only starts another one starts; None when it is no such program."""
    program = head.program
    if program in PRIVILEGE:
        return _after_flags(rest, {"-u", "-g", "-C", "-h", "-p", "-D"})
    if program in AS_ANOTHER:
        return _as_user(program, rest)
    if program in WRAPPERS:
        return _after_flags(rest, WRAPPERS[program])[program in {"timeout", "taskset"} :]
    if program == "ssh":
        inner = _after_flags(rest, SSH_VALUED)[1:]
        return split(inner[0]) if len(inner) == 1 else inner
    if program == "env":
        return _after_assignments(rest)
    if program == "cmd":
        return _after_windows_shell(rest)
    if program == "wsl":
        return _after_flags(rest, {"-d", "--distribution", "--cd", "-u", "--user"})
    return None


def _as_user(program: str, rest: list[Word]) -> list[Word]:
    """`su user -c 'line'`, `su --command='line'`, `runuser -u user -- program argument`; nothing where a shell is started."""
    if program == "runuser":
        inner = _after_flags(rest, RUNUSER_VALUED)
        if any(NAMES_USER.match(word.text) for word in rest[: len(rest) - len(inner)]):
            return inner
    for at, word in enumerate(rest):
        flag, equals, value = word.text.partition("=")
        if flag == "--command" and equals:
            return split(Word(value, word.node, whole=False))
        if COMMAND_FLAG.match(word.text) and at + 1 < len(rest):
            return split(rest[at + 1])
    return []


def _after_flags(words: list[Word], valued: Collection[str]) -> list[Word]:
    """The words after leading options; an option in `valued` takes the next word with it."""
    at = 0
    while at < len(words) and words[at].text.startswith("-"):
        text = words[at].text
        if text == "--" or (text in {"-e", "--exec"} and text not in valued):
            return words[at + 1 :]
        at += 2 if text in valued else 1
    return words[at:]


def _after_assignments(words: list[Word]) -> list[Word]:
    at = 0
    while at < len(words) and (words[at].text.startswith("-") or re.match(r"^\w+=", words[at].text)):
        at += 2 if words[at].text in {"-u", "-C"} else 1
    return words[at:]


def _after_windows_shell(rest: list[Word]) -> list[Word]:
    index = next((i for i, word in enumerate(rest) if word.text.lower() in {"/c", "/k", "-c"}), len(rest))
    inner = rest[index + 1 :]
    return split(inner[0]) if len(inner) == 1 and " " in inner[0].text else inner
