"""Rules on the values of a server: commands that cannot start, what is still to be filled in, references nobody replaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autocoder_components.assessments.clients import BRACE, DOLLAR, EDITOR, ENV, INPUT, SECRETS, SHELL
from autocoder_components.assessments.credential_shapes import PLAIN_VALUE
from autocoder_components.assessments.dialects import Member
from autocoder_components.assessments.document import Kind
from autocoder_components.assessments.launch import is_command_line
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.paths import is_placeholder_path
from autocoder_components.assessments.rules.base import ServerContext, Theme, found, quote
from autocoder_components.assessments.secrets import (
    has_placeholder_login,
    is_fill_in,
    is_placeholder,
    is_reference,
    is_secret_name,
)

COMMAND_WITH_ARGS = RuleInfo(
    "AC-211",
    "CommandWithArguments",
    "The command holds its arguments too",
    Severity.MEDIUM,
    None,
    "`command` is the program alone. A client that starts it without a shell looks for a program of that whole name "
    "and fails; one that uses a shell lets whatever stands there be interpreted.",
    "Put the program in command and each argument in args",
)
NO_YES = RuleInfo(
    "AC-217",
    "NpxWithoutYes",
    "npx may wait for an answer",
    Severity.LOW,
    None,
    "Without `-y` npx asks before it installs a package. A client shows no such question and the first start hangs.",
    "Add -y as the first argument, with an exact version of the package",
)
NO_PROGRAM = RuleInfo(
    "AC-218",
    "NoServerProgram",
    "The command starts no server",
    Severity.MEDIUM,
    None,
    "A shell, interpreter or package runner alone waits for input that never comes and speaks no MCP.",
    "Give the program or package that is the server as an argument",
)
EMPTY_ENV = RuleInfo(
    "AC-219",
    "EmptyVariable",
    "An empty environment variable",
    Severity.LOW,
    None,
    "The empty value hides a variable of the same name that the user has set, and the server starts without it.",
    "Remove the entry, or give it a reference to the variable",
)
PLACEHOLDER = RuleInfo(
    "AC-220",
    "Placeholder",
    "A value that is still to be filled in",
    Severity.LOW,
    "MCP01:2025",
    "The value is that of an example. Where it stands for a credential, the next person will write a real one here.",
    "Refer to a variable or an input of the client instead of writing the value here",
)
UNDEFINED_INPUT = RuleInfo(
    "AC-221",
    "UndefinedInput",
    "An input that is not defined",
    Severity.MEDIUM,
    None,
    "`${input:id}` asks for an entry of `inputs` with that id. Without one the server does not start.",
    "Define the input, with password: true for a credential",
)
UNRESOLVED = RuleInfo(
    "AC-222",
    "UnresolvedReference",
    "A reference that this client does not replace",
    Severity.LOW,
    None,
    "The client hands the text on as it stands, so the server gets the name of a variable instead of its value.",
    "Use the client's own syntax for references",
)
METACHARACTERS = RuleInfo(
    "AC-223",
    "ShellSyntax",
    "Shell syntax where there is no shell, or an unseen one",
    Severity.MEDIUM,
    "MCP05:2025",
    "`&&`, `|`, `;` and `$()` mean something to a shell only. Without one the program gets them as text; a client that "
    "passes the line to a shell runs whatever is added to it.",
    "Start one program with its arguments; put a longer sequence in a script that is reviewed",
)

SYNTAXES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (SECRETS, re.compile(r"\$\{\{\s*[\w.]+\s*\}\}")),
    (INPUT, re.compile(r"\$\{input:([^}]{0,200})\}")),
    (ENV, re.compile(r"\$\{env:[^}]{0,200}\}")),
    (
        EDITOR,
        re.compile(
            r"\$\{(?:workspaceFolder|workspaceRoot|userHome|file|config:|command:|pathSeparator|/)[^}]{0,200}\}"
        ),
    ),
    (SHELL, re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,200}(?::?[-=?+][^}]{0,200})?\}")),
    (BRACE, re.compile(r"(?<!\$)\{(?:env|file):[^}]{0,200}\}")),
    (DOLLAR, re.compile(r"^\$[A-Za-z_][A-Za-z0-9_]*$")),
)
META = re.compile(r"&&|\|\||[;|`<>]|\$\(|\s&(?:\s|$)")
LONE_META = re.compile(r"^(?:&&|\|\|?|;|>>?|2>&1|<)$")
INPUT_REFERENCE = re.compile(r"\$\{input:([^}]{0,200})\}")
ASSIGNED = re.compile(r"^(?:--?)?([A-Za-z_][\w.-]*)=(.*)$", re.DOTALL)


def settings_of(context: ServerContext) -> Iterator[Member]:
    """The environment variables and headers that are strings."""
    for key, value in (*context.server.env, *context.server.headers):
        if value.text is not None:
            yield key, value


def commands(context: ServerContext) -> Iterator[Finding]:
    """Commands that cannot start as they are written."""
    server = context.server
    command = server.argv[0] if server.argv and server.command is not None else None
    if command is not None and command.text is not None:
        if server.command is command and is_command_line(command.text):
            yield found(
                context,
                COMMAND_WITH_ARGS,
                command,
                f"The command is a whole line: {_line(context)}",
                judged=command.text,
            )
        if META.search(re.sub(r"<[^<>]*>", "", command.text)):
            yield found(
                context,
                METACHARACTERS,
                command,
                f"Shell syntax in the command: {quote(command.text)}",
                judged=command.text,
            )
    scripts = {id(script.text.node) for script in context.launch.scripts}
    cmd = any(word.program == "cmd" for word in context.launch.programs)
    for word in server.argv[1:]:
        text = word.text or ""
        if id(word) not in scripts and (LONE_META.match(text) or (cmd and re.search(r"\s(?:&&?|\|)\s", text))):
            yield found(
                context,
                METACHARACTERS,
                word,
                f"Shell syntax among the arguments: {quote(text)}",
                judged=context.line,
            )
    readable = server.args is not None or server.node.get("args") is None
    if context.launch.nothing_to_run is not None and readable:
        where = server.args or server.command or server.node
        program = quote(context.launch.nothing_to_run.text)
        yield found(context, NO_PROGRAM, where, f"{program} is started with nothing to run")
    if context.launch.unconfirmed:
        where = server.args or server.command or server.node
        yield found(context, NO_YES, where, "npx is started without -y")


def _line(context: ServerContext) -> str:
    """The program that a command with its arguments starts, and that there is more."""
    started = context.launch.programs
    return f"{quote(started[0].program)} and its arguments" if started else "a program and its arguments"


def variables(context: ServerContext) -> Iterator[Finding]:
    """Empty variables, and placeholders wherever a value stands."""
    for key, value in context.server.env:
        if value.text == "":
            secret = is_secret_name(key.text)
            severity = None if secret else Severity.INFO
            what = "The credential" if secret else "The variable"
            yield found(context, EMPTY_ENV, value, f"{what} {quote(key)} is empty", severity=severity)
    for key, value in settings_of(context):
        text = value.text or ""
        secret = is_secret_name(key.text)
        if PLAIN_VALUE.match(text) or is_reference(text) or is_placeholder_path(text):
            continue
        if has_placeholder_login(text) or (is_placeholder(text) if secret else is_fill_in(text)):
            severity = None if secret or _looks_like_credential(text) else Severity.INFO
            yield found(context, PLACEHOLDER, value, f"{quote(key)} is still to be filled in", severity=severity)
    flag = ""
    for node in context.server.argv:
        text = node.text or ""
        match = ASSIGNED.match(text)
        value_text, name = (match[2], match[1]) if match else (text, flag)
        flag = text.lstrip("-") if text.startswith("-") and not match else ""
        if not value_text or is_reference(value_text) or is_placeholder_path(value_text):
            continue
        fill_in = is_placeholder(value_text) if is_secret_name(name) else is_fill_in(value_text)
        if fill_in or has_placeholder_login(value_text):
            yield found(context, PLACEHOLDER, node, f"The argument {quote(text)} is still to be filled in")
    yield from _placeholder_url(context)


def _placeholder_url(context: ServerContext) -> Iterator[Finding]:
    url = context.server.url
    pattern = r"(?i)<[^<>]+>|your[-_.]?(?:domain|server|host|site|instance|api|token|key|company|org|url|workspace)|(?:=|/)xxx+"
    if url is not None and url.text and re.search(pattern, re.sub(r"\$?\{[^}]{0,200}\}", "", url.text)):
        yield found(context, PLACEHOLDER, url, "The address is still to be filled in")


def _looks_like_credential(text: str) -> bool:
    return bool(re.search(r"(?i)key|token|secret|password|credential|client_id", text))


def references(context: ServerContext) -> Iterator[Finding]:
    """References that this client leaves as they stand, and inputs that nobody defines."""
    defined = _defined_inputs(context)
    expands = context.dialect.expands
    in_shell = {id(script.text.node) for script in context.launch.scripts}
    nodes = [node for node in context.server.node.walk() if node.text and ("$" in node.text or "{" in node.text)]
    for node in nodes:
        text = node.text or ""
        takes_inputs = expands is not None and INPUT in expands
        if takes_inputs:
            for name in dict.fromkeys(INPUT_REFERENCE.findall(text)):
                if name not in defined:
                    message = f"'inputs' defines no {quote(name)}"
                    yield found(context, UNDEFINED_INPUT, node, message, distinct=name)
        if expands is None or id(node) in in_shell:
            continue
        for syntax, pattern in SYNTAXES:
            if syntax in expands or (syntax == DOLLAR and SHELL in expands):
                text = pattern.sub("", text)
            elif pattern.search(text):
                message = f"{context.dialect.title} does not replace references of the form {syntax}"
                yield found(context, UNRESOLVED, node, message, distinct=syntax)
                break


def _defined_inputs(context: ServerContext) -> set[str]:
    """The ids of every `inputs` list: at the top level, or beside the servers in a settings file."""
    root = context.document.root
    lists = [root.get("inputs")] if root is not None else []
    for parent in ("mcp", "settings"):
        holder = root.get(parent) if root is not None else None
        lists.append(holder.get("inputs") if holder is not None else None)
        inner = holder.get("mcp") if holder is not None else None
        lists.append(inner.get("inputs") if inner is not None else None)
    ids = (
        item.get("id")
        for entries in lists
        if entries is not None and entries.kind is Kind.ARRAY
        for item in entries.items
    )
    return {node.text for node in ids if node is not None and node.text is not None}


THEME = Theme(
    (COMMAND_WITH_ARGS, NO_YES, NO_PROGRAM, EMPTY_ENV, PLACEHOLDER, UNDEFINED_INPUT, UNRESOLVED, METACHARACTERS),
    server_rules=(commands, variables, references),
)
