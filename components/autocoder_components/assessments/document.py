"""Parse a configuration file as published: JSON, JSON with comments, JSON5, or broken. Never raises, keeps every place."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from autocoder_components.assessments.nodes import Document, Key, Kind, Node, Note, NoteCode, pointer_token
from autocoder_components.assessments.syntax import MAX_NOTES, Parser

__all__ = ["Document", "Key", "Kind", "Limits", "Node", "Note", "NoteCode", "parse", "pointer_token"]

MARKER = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?=[ \t\r\n]|\Z)[^\r\n]*", re.MULTILINE)
FILLED = re.compile(r"[^\r\n]")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read: bytes of the whole file, and levels of nesting."""

    max_bytes: int = 2 * 1024 * 1024
    max_depth: int = 100


DEFAULT_LIMITS = Limits()


def parse(content: bytes | str, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Everything that can be read of `content`, with a note for each difference from strict JSON.

    Guarantees: never raises; takes time linear in the size; on strict JSON within the limits `root.to_python()`
    equals `json.loads` and there is no note (but for duplicate keys); `text[node.start:node.end]` is the node's text.
    """
    size = len(content) if isinstance(content, bytes) else len(content.encode("utf-8", "surrogatepass"))
    if size > limits.max_bytes:
        message = f"the file has more than {limits.max_bytes} bytes and is not read; no client configuration needs that"
        return Document("", None, (Note(NoteCode.TOO_LARGE, message, 1, 1),))
    text, notes = _decode(content)
    markers = list(MARKER.finditer(text))
    if any(text[marker.start()] in "<>" for marker in markers):
        return _parse_conflicted(text, notes, markers, limits)
    return _parse_text(text, notes, limits)


def _decode(content: bytes | str) -> tuple[str, list[Note]]:
    if isinstance(content, str):
        return content, _bom_note(content)
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        message = "the file is UTF-16; clients read UTF-8"
        return content.decode("utf-16", "replace"), [Note(NoteCode.ENCODING, message, 1, 1)]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        message = "the file is not UTF-8 here; save it as UTF-8"
        return content.decode("utf-8", "replace"), [Note(NoteCode.ENCODING, message, line, column)]
    return text, _bom_note(text)


def _bom_note(text: str) -> list[Note]:
    if not text.startswith("\ufeff"):
        return []
    return [Note(NoteCode.BOM, "a byte-order mark, which strict parsers refuse", 1, 1)]


def _parse_text(text: str, notes: list[Note], limits: Limits) -> Document:
    parser = Parser(text, limits.max_depth)
    root = parser.run()
    return Document(text, root, (*notes, *sorted(parser.notes, key=lambda note: (note.line, note.column))))


def _parse_conflicted(text: str, notes: list[Note], markers: list[re.Match[str]], limits: Limits) -> Document:
    """Take the side of the conflict that reads best: ours, theirs, or both with only the marker lines blanked.

    Nested and half-resolved conflicts are common in published files, so no one side is right by construction.
    """
    sides = (_blank(text, markers, "ours"), _blank(text, markers, "theirs"), _blank(text, markers, "both"))
    documents = [_parse_text(side, [], limits) for side in sides]
    best = min(documents, key=lambda document: (len(document.errors), -_size(document.root)))
    parser = Parser(text, limits.max_depth)
    found = []
    for marker in markers[:MAX_NOTES]:
        line, column = parser.place(marker.start())
        found.append(Note(NoteCode.MERGE_CONFLICT, "an unresolved git merge conflict marker", line, column))
    first = replace(found[0], code=NoteCode.SYNTAX, message="a merge conflict marker is not JSON: no client reads on")
    # What else is wrong with the chosen side follows from the conflict and is not said again.
    tolerable = (note for note in best.notes if not note.is_error)
    return Document(text, best.root, (*notes, first, *found, *tolerable))


def _blank(text: str, markers: list[re.Match[str]], side: str) -> str:
    """The text with markers, and what the other side wrote, replaced by spaces so that every offset stays."""
    pieces: list[str] = []
    at = 0
    parts: list[str] = []  # the part of each open conflict that the text is in, outermost first
    unwanted = 0  # how many of them are not the wanted side
    for marker in markers:
        between = text[at : marker.start()]
        pieces.append(FILLED.sub(" ", between) if unwanted and side != "both" else between)
        pieces.append(" " * (marker.end() - marker.start()))
        at = marker.end()
        sign = marker.group()[0]
        if sign != "<" and parts:
            unwanted -= parts.pop() != side
        if sign != ">":
            parts.append({"<": "ours", "|": "base", "=": "theirs"}[sign])
            unwanted += parts[-1] != side
    pieces.append(FILLED.sub(" ", text[at:]) if unwanted and side != "both" else text[at:])
    return "".join(pieces)


def _size(root: Node | None) -> int:
    return sum(1 for _ in root.walk()) if root is not None else 0
