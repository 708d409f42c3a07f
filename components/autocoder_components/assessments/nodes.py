"""What a parsed configuration file is made of: inert nodes that know where they stand. Knows nothing of clients or rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_TEXT = 64 * 1024


class Kind(StrEnum):
    """The six JSON types."""

    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Key:
    """The name of an object's member and where it is written (1-based line and column, in characters)."""

    text: str
    line: int
    column: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document.

    `pointer` is RFC 6901, `line` and `column` (1-based, in characters) are of its first character, and
    `start:end` is its slice of `Document.text`. A scalar has `scalar`; an object has `members` in the order they
    are written, duplicates included; an array has `items`.
    """

    kind: Kind
    pointer: str
    line: int
    column: int
    start: int
    end: int
    scalar: str | int | float | bool | None = None
    members: tuple[tuple[Key, Node], ...] = ()
    items: tuple[Node, ...] = ()

    @property
    def text(self) -> str | None:
        """The string this node is, at most its first 65,536 characters; None when it is something else.

        The bound keeps the time of the rules' expressions bounded; no setting of a client is that long, and AC-507 says so
        where one is.
        """
        return self.scalar[:MAX_TEXT] if isinstance(self.scalar, str) else None

    def get(self, name: str) -> Node | None:
        """The member called `name`, the last of several (as every client reads it); None when there is none."""
        for key, value in reversed(self.members):
            if key.text == name:
                return value
        return None

    def key(self, name: str) -> Key | None:
        """Where the name of the member called `name` is written."""
        for key, _ in reversed(self.members):
            if key.text == name:
                return key
        return None

    def walk(self) -> Iterator[Node]:
        """This node and everything below it, in the order of the text."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.items or tuple(value for _, value in node.members)))

    def to_python(self) -> object:
        """The plain value, as `json.loads` gives it: the last of duplicate keys wins."""
        if self.kind is Kind.OBJECT:
            return {key.text: value.to_python() for key, value in self.members}
        if self.kind is Kind.ARRAY:
            return [item.to_python() for item in self.items]
        return self.scalar


class NoteCode(StrEnum):
    """The ways in which a text can differ from strict JSON."""

    SYNTAX = "syntax"
    MERGE_CONFLICT = "merge-conflict"
    TOO_LARGE = "too-large"
    TOO_DEEP = "too-deep"
    ENCODING = "encoding"
    COMMENT = "comment"
    TRAILING_COMMA = "trailing-comma"
    DUPLICATE_KEY = "duplicate-key"
    JSON5 = "json5"
    BOM = "bom"


BROKEN = frozenset({NoteCode.SYNTAX, NoteCode.MERGE_CONFLICT, NoteCode.TOO_LARGE, NoteCode.TOO_DEEP, NoteCode.ENCODING})


@dataclass(frozen=True, slots=True)
class Note:
    """One difference from strict JSON, and where. The message never quotes a value of the document."""

    code: NoteCode
    message: str
    line: int
    column: int
    pointer: str = ""

    @property
    def is_error(self) -> bool:
        """Whether no dialect of JSON accepts this."""
        return self.code in BROKEN


@dataclass(frozen=True, slots=True)
class Document:
    """The result of parsing: what could be read (`root`, None when nothing), and every note in the order of the text."""

    text: str
    root: Node | None
    notes: tuple[Note, ...]

    @property
    def errors(self) -> tuple[Note, ...]:
        """The notes that make the text unreadable for every client."""
        return tuple(note for note in self.notes if note.is_error)

    def at(self, pointer: str, line: int | None = None) -> Node | None:
        """The node with that pointer; with `line`, the one of several duplicates that starts there."""
        if self.root is None:
            return None
        found = None
        for node in self.root.walk():
            if node.pointer == pointer and (line is None or node.line == line):
                found = node
        return found


def pointer_token(name: str) -> str:
    """One step of an RFC 6901 pointer for the member called `name`."""
    return name.replace("~", "~0").replace("/", "~1")
