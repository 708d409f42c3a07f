"""What a YAML parser's complaint usually means, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import yaml

from autocoder.errors import Place, Problem

_UNQUOTED_VARIABLE: Final = re.compile(r"[\[{,:]\s*[^\s\"'\[{,]*\$\{")
_TAB_TOKEN: Final = re.compile(r"character '?\\t")


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """A syntax error as a problem at its place."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(Place(file), f"is no YAML: {error.problem}")
    lines = text.splitlines() or [""]
    at = min(mark.line, len(lines) - 1)
    what, cure = _explain(error, lines, at)
    return Problem(Place(file, mark.line + 1, mark.column + 1), what, cure=cure)


def _explain(error: yaml.MarkedYAMLError, lines: Sequence[str], at: int) -> tuple[str, str | None]:
    """What a parser's complaint usually means, and what to do about it."""
    said, line = error.problem or "", lines[at]
    context = error.context_mark
    opened = f" (opened at {context.line + 1}:{context.column + 1})" if context is not None else ""
    indent = line[: len(line) - len(line.lstrip())]
    started = lines[context.line] if context is not None and context.line < len(lines) else ""
    if "\t" in indent or "tab" in said or _TAB_TOKEN.search(said):
        return "a tab indents this line", "indent with spaces"
    if _UNQUOTED_VARIABLE.search(line) or _UNQUOTED_VARIABLE.search(started):
        return "a ${...} between { } or [ ] must be in quotes", 'write "${NAME}"'
    if "cannot start any token" in said:
        return "no value can start with this character", "put the value in quotes"
    if "unexpected ':'" in said:
        return "a `:` needs a space behind it, as in key: value", "put a text that contains : in quotes"
    if "mapping values are not allowed" in said:
        return "a second `: ` on one line, or a line indented too deep", "put a text that contains `: ` in quotes"
    if "expected ',' or" in said:
        bracket = "}" if "'}'" in said else "]"
        return f"a comma or the closing {bracket} is missing{opened}", "put a text that contains { } [ ] or , in quotes"
    if "unexpected end of stream" in said or "unexpected document indicator" in said:
        return f"a quote or bracket is never closed{opened}", None
    if "could not find expected ':'" in said:
        return f"this is neither `key: value` nor part of the text above{opened}", "write `key: value`, with a space"
    if "escape" in said:
        return "an unknown escape: in double quotes \\ has a meaning", "use single quotes, or write \\\\"
    if "scanning an a" in (error.context or ""):  # an alias, an anchor
        return "a value that starts with * or & must be in quotes", "put the value in quotes"
    if "expected key" in said or "expected '-'" in said or "block end" in said:
        return f"this line does not fit the lines above{opened}", "indent it like its neighbours, and close every quote"
    return f"is no YAML: {said}", None
