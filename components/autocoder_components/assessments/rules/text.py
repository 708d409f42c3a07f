"""Rules on the text itself: what is not JSON, and what only some clients read."""

from __future__ import annotations

from collections.abc import Iterator

from autocoder_components.assessments.document import NoteCode
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.rules.base import FileContext, Theme, found

PARSE_ERROR = RuleInfo(
    "AC-101",
    "ParseError",
    "The file is not valid JSON",
    Severity.HIGH,
    None,
    "No client reads the file beyond this place, or it reads something other than what was meant. What could be "
    "recovered of the file is assessed all the same.",
    "Correct the syntax at this place; the client's own log names the same position",
)
MERGE_CONFLICT = RuleInfo(
    "AC-102",
    "MergeConflict",
    "An unresolved merge conflict marker",
    Severity.HIGH,
    None,
    "The marker makes the file unreadable for every client, and leaves open which of two configurations was meant.",
    "Choose one side, delete the marker lines and commit the result",
)
TRAILING_COMMA = RuleInfo(
    "AC-103",
    "TrailingComma",
    "A trailing comma",
    Severity.LOW,
    None,
    "Strict JSON has no comma after the last entry. Clients that read JSON with comments accept it; others refuse the "
    "whole file, as do most tools that check or merge configurations.",
    "Delete the comma after the last entry",
)
COMMENT = RuleInfo(
    "AC-104",
    "Comment",
    "A comment in JSON",
    Severity.LOW,
    None,
    "Strict JSON has no comments. Clients that read JSON with comments accept them; others refuse the whole file.",
    "Move the comment to the documentation, or keep it only where the client reads JSON with comments",
)
DUPLICATE_KEY = RuleInfo(
    "AC-105",
    "DuplicateKey",
    "A key that is given twice",
    Severity.MEDIUM,
    None,
    "Clients take the last of two equal keys without a word. The first may be what a reviewer saw and approved.",
    "Keep one of the two and delete the other",
)
JSON5 = RuleInfo(
    "AC-106",
    "Json5Syntax",
    "JSON5 syntax that no known client reads",
    Severity.MEDIUM,
    None,
    "Single quotes, unquoted keys and the like are JSON5; clients read JSON or JSON with comments and refuse the file.",
    "Write keys and strings in double quotes and numbers in decimal",
)
ENCODING = RuleInfo(
    "AC-107",
    "Encoding",
    "The file is not plain UTF-8",
    Severity.MEDIUM,
    None,
    "Clients read UTF-8. Another encoding, or a byte-order mark, makes some of them refuse the file.",
    "Save the file as UTF-8 without a byte-order mark",
)
TOO_LARGE = RuleInfo(
    "AC-108",
    "TooLarge",
    "The file is too large or too deeply nested to be read",
    Severity.MEDIUM,
    None,
    "The assessment reads a bounded amount, so that a hostile file cannot stop it. What lies beyond was not judged.",
    "Check that this is a client configuration, and split it when it is",
)

RULE_OF = {
    NoteCode.SYNTAX: PARSE_ERROR,
    NoteCode.MERGE_CONFLICT: MERGE_CONFLICT,
    NoteCode.TRAILING_COMMA: TRAILING_COMMA,
    NoteCode.COMMENT: COMMENT,
    NoteCode.DUPLICATE_KEY: DUPLICATE_KEY,
    NoteCode.JSON5: JSON5,
    NoteCode.ENCODING: ENCODING,
    NoteCode.BOM: ENCODING,
    NoteCode.TOO_LARGE: TOO_LARGE,
    NoteCode.TOO_DEEP: TOO_LARGE,
}
ONCE = frozenset({NoteCode.COMMENT, NoteCode.JSON5, NoteCode.TOO_DEEP})
MAX_EACH = 50


def notes(context: FileContext) -> Iterator[Finding]:
    """One finding for each note of the parser; what a file has many of as a rule (comments) is said once, with a count."""
    counts: dict[NoteCode, int] = {}
    for note in context.document.notes:
        counts[note.code] = counts.get(note.code, 0) + 1
    said: dict[NoteCode, int] = {}
    broken_lines: set[int] = set()
    for note in context.document.notes:
        if note.code is NoteCode.SYNTAX and note.line in broken_lines:
            continue  # one mistake often breaks the rest of its line
        broken_lines.update({note.line} if note.code is NoteCode.SYNTAX else ())
        said[note.code] = said.get(note.code, 0) + 1
        if said[note.code] > (1 if note.code in ONCE else MAX_EACH):
            continue
        message = note.message[0].upper() + note.message[1:]
        if note.code in ONCE and counts[note.code] > 1:
            message += f" (and {counts[note.code] - 1} more of this kind)"
        tolerated = context.dialect.comments and note.code in {NoteCode.COMMENT, NoteCode.TRAILING_COMMA}
        if tolerated:
            message += f"; {context.dialect.title} accepts it, strict JSON readers do not"
        severity = Severity.INFO if tolerated else Severity.LOW if note.code is NoteCode.BOM else None
        yield found(context, RULE_OF[note.code], note, message, severity=severity, distinct=f"{said[note.code]}")


THEME = Theme(
    (PARSE_ERROR, MERGE_CONFLICT, TRAILING_COMMA, COMMENT, DUPLICATE_KEY, JSON5, ENCODING, TOO_LARGE),
    file_rules=(notes,),
)
