"""Rules on the paths of a server: those of one machine, those that nothing is at, and those that nobody filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from autocoder_components.assessments.document import Node
from autocoder_components.assessments.launch import is_command_line
from autocoder_components.assessments.launch_parts import mounted
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.paths import (
    is_absolute,
    is_machine_path,
    is_personal,
    is_placeholder_path,
    machine_path_inside,
    unquoted,
    value_part,
)
from autocoder_components.assessments.rules.base import ServerContext, Theme, found, quote
from autocoder_components.assessments.secrets import is_reference

TILDE = RuleInfo(
    "AC-212",
    "UnexpandedTilde",
    "A tilde that nothing expands",
    Severity.MEDIUM,
    None,
    "`~` is expanded by shells. A client starts the program without one, and no such file is found.",
    "Write the path in full, or with the variable that the client replaces",
)
QUOTED_PATH = RuleInfo(
    "AC-213",
    "QuotedPath",
    "A path inside literal quotes",
    Severity.MEDIUM,
    None,
    "Without a shell the quotes are part of the name, and no such file or folder is found.",
    "Remove the inner quotes; spaces in a JSON string need none",
)
ABSOLUTE_PATH = RuleInfo(
    "AC-214",
    "AbsolutePath",
    "An absolute path of one machine",
    Severity.LOW,
    None,
    "The path need not exist on another machine, and names a user or a layout. On another machine whoever may create "
    "that path decides what is run.",
    "Use a path relative to the project, a variable that the client replaces, or a program on the PATH",
)
DEAD_PATH = RuleInfo(
    "AC-215",
    "DeadPath",
    "A path that does not exist",
    Severity.MEDIUM,
    None,
    "The program or folder is not there, so that the server cannot start or work. Whoever can create it decides what runs.",
    "Install the program, correct the path, or remove the server",
)
PLACEHOLDER_PATH = RuleInfo(
    "AC-216",
    "PlaceholderPath",
    "A path that is still to be filled in",
    Severity.LOW,
    None,
    "The path is that of an example. The server fails until somebody edits it.",
    "Replace the placeholder by the real path",
)

LEADS_TO_FILE = re.compile(r"^(?:[/~]|\.{1,2}[\\/]|[A-Za-z]:[\\/]|\\\\|[\w.-]+[\\/][\w.-])")


def path_candidates(context: ServerContext) -> Iterator[tuple[Node, str]]:
    """Every string of the server that may be a path on the host, with the part of it that is the path."""
    seen: set[int] = set()
    sources = {
        option.value_word.node.start: mounted(option)[0]
        for run in context.launch.containers
        for option in run.options
        if mounted(option)[0]
    }
    for word in context.launch.host_words:
        if word.node.start not in seen:
            seen.add(word.node.start)
            yield word.node, sources.get(word.node.start) or value_part(word.node.text or "")
    for node in (context.server.cwd, context.server.node.get("envFile")):
        if node is not None and node.text is not None:
            yield node, unquoted(node.text)
    for _, value in context.server.env:
        if value.text is not None:
            yield value, unquoted(value.text)


def paths(context: ServerContext) -> Iterator[Finding]:
    """Absolute, quoted, tilde and placeholder paths."""
    user_file = context.target.scope == "user"
    for node, path in path_candidates(context):
        text = node.text or ""
        if is_placeholder_path(path):
            yield found(context, PLACEHOLDER_PATH, node, f"A path to be filled in: {quote(text)}")
            continue
        if unquoted(text) != text and LEADS_TO_FILE.match(unquoted(text)):
            yield found(context, QUOTED_PATH, node, f"The quotes are part of the path: {quote(unquoted(text))}")
        if re.match(r"^~(?:[\\/]|$)", path):
            where = "command" if node is context.server.command else "value"
            yield found(context, TILDE, node, f"'~' is not expanded in this {where}: {quote(text)}")
        inside = None if is_machine_path(path) else machine_path_inside(path if is_reference(path) else text)
        starts_program = node in {context.server.command, context.server.cwd} and is_absolute(path)
        if is_machine_path(path) or inside or starts_program:
            if inside and re.match(r"[a-z][a-z0-9+.-]+://", text):
                continue
            severity = Severity.INFO if user_file or not _names_a_machine(inside or path) else None
            yield found(
                context,
                ABSOLUTE_PATH,
                node,
                f"A path of one machine: {quote(inside or path)}",
                severity=severity,
                judged=inside or path,
            )


def _names_a_machine(path: str) -> bool:
    """Whether another machine of the same kind is unlikely to have the path (/opt/homebrew is everyone's)."""
    if re.match(r"(?i)^[A-Z]:[\\/]+(?:Program Files|Windows)", path):
        return False
    return is_personal(path) or not re.match(r"^/(?:opt|usr/local|app|workspaces?|data|Applications|Library)/", path)


def dead_paths(context: ServerContext) -> Iterator[Finding]:
    """Paths of this machine's own configuration that are not there; only where looking is allowed and means something."""
    if not context.options.check_files or context.target.scope != "user":
        return
    server = context.server
    nodes = [server.argv[0]] if server.argv else []
    nodes += [word.node for word in context.launch.host_words[1:2] if re.search(r"\.\w{2,4}$", word.text)]
    nodes += [server.cwd] if server.cwd is not None else []
    for node in nodes:
        text = node.text or ""
        if not Path(text).is_absolute() or is_placeholder_path(text) or is_reference(text) or is_command_line(text):
            continue
        try:
            exists = Path(text).exists()
        except (OSError, ValueError):
            continue
        if not exists:
            yield found(context, DEAD_PATH, node, f"There is nothing at {quote(text)}")


THEME = Theme(
    (TILDE, QUOTED_PATH, ABSOLUTE_PATH, DEAD_PATH, PLACEHOLDER_PATH),
    server_rules=(paths, dead_paths),
)
