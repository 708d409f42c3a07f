"""The tolerant parser: one pass, an explicit stack, never an exception. Text in, nodes and notes out.

A recursive parser was rejected: its depth is Python's, and a file of brackets would end the process that reads it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum, auto

from autocoder_components.assessments.nodes import Key, Kind, Node, Note, NoteCode, pointer_token
from autocoder_components.assessments.scalars import Scanned, scan_string, scan_word

SPACE = re.compile(r"[\s\ufeff]+")
LINE_COMMENT = re.compile(r"//[^\r\n]*")
LINE_END = re.compile(r"\r\n|\n|\r")
IDENTIFIER = re.compile(r"[^\W\d][\w$-]*|\$[\w$-]*")
STRICT_SPACE = frozenset(" \t\r\n")
MAX_NOTES = 500


class Await(Enum):
    """What an open object or array expects next."""

    FIRST = auto()
    NEXT = auto()
    VALUE = auto()
    SEPARATOR = auto()
    ANYTHING = auto()


@dataclass(slots=True)
class Frame:
    """An object or array that is still open."""

    kind: Kind
    start: int
    pointer: str
    awaits: Await = Await.FIRST
    comma: int = -1
    key: Key | None = None
    members: list[tuple[Key, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def closer(self) -> str:
        return "}" if self.kind is Kind.OBJECT else "]"

    def child_pointer(self) -> str:
        if self.kind is Kind.ARRAY:
            return f"{self.pointer}/{len(self.items)}"
        return f"{self.pointer}/{pointer_token(self.key.text if self.key else '')}"


class Parser:
    """Parses one text. `run` is called once; `notes` and the returned root are the result."""

    def __init__(self, text: str, max_depth: int) -> None:
        self.text = text
        self.max_depth = max_depth
        self.at = 0
        self.notes: list[Note] = []
        self.stack: list[Frame] = []
        self.root: Node | None = None
        self._line_starts = [0, *(match.end() for match in LINE_END.finditer(text))]
        self._last_fault = -1

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of an offset; a byte-order mark takes no column."""
        line = bisect_right(self._line_starts, offset)
        column = offset - self._line_starts[line - 1] + 1
        return line, column - (1 if line == 1 and self.text[:1] == "\ufeff" and offset else 0)

    def note(self, code: NoteCode, offset: int, message: str) -> None:
        if len(self.notes) < MAX_NOTES:
            line, column = self.place(offset)
            self.notes.append(Note(code, message, line, column, self.stack[-1].pointer if self.stack else ""))

    def fault(self, offset: int, message: str) -> None:
        """Note a syntax error; what directly follows from the last one is not said again."""
        if offset > self._last_fault:
            self.note(NoteCode.SYNTAX, offset, message)
        self._last_fault = max(self._last_fault, offset)

    def run(self) -> Node | None:
        self._trivia()
        if self.at >= len(self.text):
            self.fault(0, "the file is empty")
            return None
        if self._is_bare_member():
            self.fault(self.at, "the document starts with a member; the braces around it are missing")
            self.stack.append(Frame(Kind.OBJECT, self.at, ""))
        else:
            self._value("")
        self._finish_containers()
        if self.root is None or self.root.kind not in {Kind.OBJECT, Kind.ARRAY}:
            self._look_for_object()
        self._trivia()
        if self.at < len(self.text):
            self.fault(self.at, "text after the end of the document")
        return self.root

    def _finish_containers(self) -> None:
        while self.stack:
            self._step(self.stack[-1])

    def _look_for_object(self) -> None:
        """Recover a document that stands behind other text, such as a fence of the page it was copied from."""
        brace = self.text.find("{", self.at)
        if brace < 0:
            return
        self.fault(self.at, "text before the document")
        self.at = brace
        self._value("")
        self._finish_containers()

    def _is_bare_member(self) -> bool:
        """Whether the text is a fragment such as `"mcpServers": {...}`, as snippets in documentation are."""
        if self.text[self.at] not in "\"'":
            return False
        end = scan_string(self.text, self.at).end
        space = SPACE.match(self.text, end)
        end = space.end() if space else end
        return self.text[end : end + 1] == ":"

    def _step(self, frame: Frame) -> None:
        self._trivia()
        if self.at >= len(self.text):
            line, _ = self.place(frame.start)
            self.fault(len(self.text), f"the text ends inside the {frame.kind} opened on line {line}")
            self._close(frame)
        elif self.text[self.at] in "}]":
            self._closer(frame)
        elif frame.awaits is Await.VALUE:
            self._value(frame.child_pointer())
        elif self.text[self.at] == ",":
            self._comma(frame)
        else:
            if frame.awaits is Await.SEPARATOR:
                self.fault(self.at, f"a comma is missing before this, in the {frame.kind}")
            if frame.kind is Kind.ARRAY:
                self._value(frame.child_pointer())
            else:
                self._key(frame)

    def _comma(self, frame: Frame) -> None:
        if frame.awaits is not Await.SEPARATOR:
            self.fault(self.at, "a comma with nothing before it")
        frame.comma = self.at
        frame.awaits = Await.NEXT
        self.at += 1

    def _closer(self, frame: Frame) -> None:
        if self.text[self.at] == frame.closer:
            if frame.awaits is Await.VALUE:
                self.fault(self.at, "a member without a value")
            elif frame.awaits is Await.NEXT and (frame.members or frame.items):
                self.note(NoteCode.TRAILING_COMMA, frame.comma, f"a comma after the last entry of an {frame.kind}")
            self.at += 1
            self._close(frame)
            return
        self.fault(self.at, f"'{self.text[self.at]}' where the {frame.kind} should end with '{frame.closer}'")
        if any(outer.closer == self.text[self.at] for outer in self.stack[:-1]):
            self._close(frame)  # the closer is an outer one's: this one was never closed
        else:
            self.at += 1

    def _key(self, frame: Frame) -> None:
        start, character = self.at, self.text[self.at]
        if character in "\"'":
            scanned = scan_string(self.text, start)
            self._report(scanned)
        elif match := IDENTIFIER.match(self.text, start):
            scanned = Scanned(match.group(), match.end())
            self.note(NoteCode.JSON5, start, "an unquoted key")
        else:
            scanned_word = scan_word(self.text, start)
            if scanned_word is None or character in "-+.#<>=|&;()":
                self.fault(start, "a character that starts neither a key nor a value")
                self.at = scanned_word.end if scanned_word else start + 1
                frame.awaits = Await.ANYTHING
                return
            scanned = Scanned(self.text[start : scanned_word.end], scanned_word.end)
            self.fault(start, "a key that is not a string")
        line, column = self.place(start)
        key = Key(str(scanned.value), line, column, start, scanned.end)
        self.at = scanned.end
        self._trivia()
        if self.text[self.at : self.at + 1] not in {":", "="}:
            self.fault(self.at, "a ':' is missing after the key")
            frame.awaits = Await.ANYTHING
            if self.text[self.at : self.at + 1] in {",", "}", "]", ""}:
                return
        else:
            if self.text[self.at] == "=":
                self.fault(self.at, "'=' where ':' belongs")
            self.at += 1
        if key.text in frame.seen:
            self.note(NoteCode.DUPLICATE_KEY, start, "a key that this object already has; the last one wins")
        frame.seen.add(key.text)
        frame.key = key
        frame.awaits = Await.VALUE

    def _value(self, pointer: str) -> None:
        start, character = self.at, self.text[self.at]
        if character in "{[":
            if len(self.stack) >= self.max_depth:
                self.note(
                    NoteCode.TOO_DEEP, start, f"nested deeper than {self.max_depth} levels; this part is not read"
                )
                self._skip_container()
                self._deliver(self._node(Kind.NULL, start, pointer))
                return
            self.at += 1
            self.stack.append(Frame(Kind.OBJECT if character == "{" else Kind.ARRAY, start, pointer))
            return
        scanned = scan_string(self.text, start) if character in "\"'" else scan_word(self.text, start)
        if scanned is None or scanned.end == start:
            self.fault(start, "a character that starts no value")
            self.at += 1
            if self.stack and self.stack[-1].awaits is not Await.VALUE:
                self.stack[-1].awaits = Await.ANYTHING
            return
        self._report(scanned)
        self.at = scanned.end
        self._deliver(self._node(_kind_of(scanned.value), start, pointer, scanned.value))

    def _report(self, scanned: Scanned) -> None:
        for offset, message in scanned.faults:
            self.fault(offset, message)
        if scanned.json5:
            self.note(NoteCode.JSON5, *scanned.json5)

    def _node(self, kind: Kind, start: int, pointer: str, scalar: str | float | bool | None = None) -> Node:
        line, column = self.place(start)
        return Node(kind, pointer, line, column, start, self.at, scalar)

    def _close(self, frame: Frame) -> None:
        line, column = self.place(frame.start)
        members, items = tuple(frame.members), tuple(frame.items)
        self.stack.pop()
        self._deliver(Node(frame.kind, frame.pointer, line, column, frame.start, self.at, members=members, items=items))

    def _deliver(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if frame.kind is Kind.ARRAY:
            frame.items.append(node)
        elif frame.key is not None:
            frame.members.append((frame.key, node))
            frame.key = None
        frame.awaits = Await.SEPARATOR

    def _trivia(self) -> None:
        """Pass over space and comments; a comment and a space that strict JSON lacks are noted."""
        while self.at < len(self.text):
            if space := SPACE.match(self.text, self.at):
                odd = next((i for i in range(self.at, space.end()) if self.text[i] not in STRICT_SPACE and i), None)
                if odd is not None:
                    self.note(NoteCode.JSON5, odd, "a space character that strict JSON does not allow")
                self.at = space.end()
            elif comment := LINE_COMMENT.match(self.text, self.at):
                self.note(NoteCode.COMMENT, self.at, "a comment")
                self.at = comment.end()
            elif self.text.startswith("/*", self.at):
                self.note(NoteCode.COMMENT, self.at, "a comment")
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    self.fault(self.at, "this comment is not closed")
                self.at = len(self.text) if end < 0 else end + 2
            else:
                return

    def _skip_container(self) -> None:
        """Move past the container that starts here, however deep, minding strings and comments."""
        depth = 0
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in "\"'":
                self.at = scan_string(self.text, self.at).end
                continue
            depth += (character in "{[") - (character in "}]")
            self.at += 1
            if depth == 0:
                return


def _kind_of(value: str | float | bool | None) -> Kind:
    if isinstance(value, str):
        return Kind.STRING
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.NULL if value is None else Kind.NUMBER
