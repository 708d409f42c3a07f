"""A command line cut into commands and words, each with its place in the text. Reads no more of a shell than that.

`shlex` was rejected here: it gives no places, and refuses a line with an open quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from autocoder_components.assessments.launch_parts import program_name

# Each alternative fails at most once for the whole text, so that no line of quotes takes longer than its length.
PIECE = re.compile(r"(?P<operator>&&|\|\|?|[;&\n()`])|(?P<word>(?:'[^']*'|\"[^\"]*\"|[^\s'\"|&;()`]|['\"])++)")
PREFIX = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")
KEYWORDS = frozenset({"then", "do", "else", "elif", "if", "while", "until", "!", "{", "time", "exec", "command"})
SHELL_SYNTAX = re.compile(r"[\s|&;<>`]|\$\(")


@dataclass(frozen=True, slots=True)
class Piece:
    """One word as it is written, quotes included."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command, and the operator before it (empty for the first)."""

    operator: str
    words: tuple[Piece, ...]

    @property
    def program(self) -> str:
        """The name of the program, behind assignments and words of the shell; empty when there is none."""
        for piece in self.words:
            if not PREFIX.match(piece.text) and piece.text not in KEYWORDS:
                return program_name(piece.text)
        return ""


def is_line(text: str) -> bool:
    """Whether the text is more than one word, or a word that a shell reads as more."""
    return SHELL_SYNTAX.search(text) is not None


def commands(text: str) -> tuple[Command, ...]:
    """The commands of a line in their order, those of substitutions among them. Never fails; linear in the text."""
    found: list[Command] = []
    words: list[Piece] = []
    operator = ""
    for match in PIECE.finditer(text):
        if match["operator"] is None:
            words.append(Piece(match["word"], match.start()))
            continue
        if words:
            found.append(Command(operator, tuple(words)))
        words, operator = [], match["operator"]
    if words:
        found.append(Command(operator, tuple(words)))
    return tuple(found)
