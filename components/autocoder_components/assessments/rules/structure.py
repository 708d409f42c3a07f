"""Rules on the shape of a configuration: the keys a client knows, and what a server must and must not say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from autocoder_components.assessments.clients import EVERY_SERVER_KEY
from autocoder_components.assessments.dialects import Member
from autocoder_components.assessments.document import Key, Kind, Node
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.rules.base import FileContext, ServerContext, Theme, found, quote, start_of
from autocoder_components.assessments.secrets import is_placeholder

NO_SERVERS = RuleInfo(
    "AC-201",
    "NoServers",
    "No server is configured",
    Severity.LOW,
    None,
    "The file has the name of a client configuration but no map of servers that any known client reads.",
    "Put the servers under the key that the client reads, or delete the file",
)
WRONG_DIALECT = RuleInfo(
    "AC-202",
    "WrongDialect",
    "The servers stand under a key that this client does not read",
    Severity.MEDIUM,
    None,
    "Each client reads its servers from one key. Under another key they are never started, and nothing says so.",
    "Rename the key to the one that the client reads",
)
UNKNOWN_KEY = RuleInfo(
    "AC-203",
    "UnknownKey",
    "A key that the client does not know",
    Severity.LOW,
    None,
    "The client ignores the key. What it was meant to do, such as a restriction, does not happen.",
    "Delete the key, or write it as the client's documentation has it",
)
WRONG_TYPE = RuleInfo(
    "AC-204",
    "WrongType",
    "A value of the wrong JSON type",
    Severity.MEDIUM,
    None,
    "The client refuses the server, or reads the value as something else.",
    "Write the value in the type that the client expects",
)
TYPE_VALUE = RuleInfo(
    "AC-205",
    "TransportName",
    "A transport name that this client does not know",
    Severity.LOW,
    None,
    "Clients spell the transports differently (`http`, `streamable-http`, `streamableHttp`). An unknown one is refused "
    "or replaced by a default.",
    "Use the client's own spelling of the transport",
)
BOTH = RuleInfo(
    "AC-206",
    "CommandAndUrl",
    "A server with both a command and an address",
    Severity.MEDIUM,
    None,
    "A server is either started here or reached elsewhere. Given both, clients differ in which they use.",
    "Keep the command or the address, not both",
)
NEITHER = RuleInfo(
    "AC-207",
    "NothingToStart",
    "A server with neither a command nor an address",
    Severity.MEDIUM,
    None,
    "The client cannot start or reach this server.",
    "Give the server a command, or a url",
)
TRANSPORT_MISMATCH = RuleInfo(
    "AC-208",
    "TransportMismatch",
    "The transport does not fit the address",
    Severity.LOW,
    None,
    "By convention `/sse` is the older SSE transport and `/mcp` streamable HTTP. A client told the wrong one fails to "
    "connect, or falls back to the deprecated transport.",
    "Set the transport that the address serves",
)
DUPLICATE_SERVER = RuleInfo(
    "AC-209",
    "DuplicateServer",
    "Two servers that are one",
    Severity.LOW,
    "MCP09:2025",
    "Two entries of one name, or of names that differ in case only, hide one another; the same program configured "
    "twice offers every tool twice, and which one answers is chance.",
    "Keep one of the entries, or give them different names and purposes",
)
UNSUPPORTED = RuleInfo(
    "AC-210",
    "UnsupportedTransport",
    "This client does not read remote servers from its file",
    Severity.INFO,
    None,
    "The client starts local programs only from this file; remote servers are added in its settings.",
    "Add the server in the client's settings, or start a local bridge such as mcp-remote",
)
BAD_ADDRESS = RuleInfo(
    "AC-224",
    "BadAddress",
    "An address that cannot be read",
    Severity.MEDIUM,
    None,
    "An address begins with http:// or https:// and the name of a host. Anything else no client can connect to.",
    "Write the address in full, as in https://host/mcp",
)

ANNOTATIONS = frozenset({"name", "description", "version", "comment", "_comment", "//", "$schema", "notes", "title"})
REMOTE_KEYS = frozenset({"url", "serverUrl", "httpUrl", "headers", "type", "transport"})
TOP_LEVEL_NOISE = frozenset({"inputs", "$schema"})
STRING_KEYS = frozenset({"url", "serverUrl", "httpUrl", "cwd", "type", "envFile", "transport"})
OBJECT_KEYS = frozenset({"env", "environment", "headers"})
BOOLEAN_KEYS = frozenset({"disabled", "enabled"})
SCHEMES = frozenset({"http", "https", "ws", "wss"})


def no_servers(context: FileContext) -> Iterator[Finding]:
    """A file with no servers at all; where settings live in the same file that is nothing to report."""
    if context.containers and not context.servers:
        where = context.containers[0].node
        yield found(context, NO_SERVERS, where, "The map of servers is empty", severity=Severity.INFO)
    if context.containers or context.dialect.settings or context.document.root is None:
        return
    wanted = context.dialect.containers[0]
    yield found(context, NO_SERVERS, start_of(context), f"No servers: {context.dialect.title} reads '{wanted}'")


def wrong_dialect(context: FileContext) -> Iterator[Finding]:
    """Servers under another client's key."""
    dialect = context.dialect
    if dialect.id == "generic":
        return
    known = any(container.path in dialect.containers for container in context.containers)
    for container in context.containers:
        if container.path in dialect.containers or (not container.path and dialect.unwrapped):
            continue
        if known and not container.node.items and not container.node.members:
            continue
        key = f"under '{container.path}'" if container.path else "at the top level"
        message = f"The servers stand {key}; {dialect.title} reads '{dialect.containers[0]}' and sees none of these"
        severity = Severity.LOW if known else None
        yield found(context, WRONG_DIALECT, container.node, message, severity=severity)


def unknown_top_level(context: FileContext) -> Iterator[Finding]:
    """Foreign keys beside the map of servers, said once for the file at the one most likely meant to have an effect."""
    root, dialect = context.document.root, context.dialect
    if root is None or dialect.settings or any(container.path == "" for container in context.containers):
        return
    known = dialect.roots | TOP_LEVEL_NOISE | {container.path.split(".")[0] for container in context.containers}
    known |= {container.path for container in context.containers} | {path.split(".")[0] for path in dialect.containers}
    foreign = [member for member in root.members if member[0].text not in known]
    yield from _unknown(context, foreign, f"{dialect.title} does not know")


def unknown_server_keys(context: ServerContext) -> Iterator[Finding]:
    """Keys of a server: each typing error, and once for the server what it ignores and what only other clients read."""
    server, dialect = context.server, context.dialect
    known = dialect.keys or EVERY_SERVER_KEY
    foreign: list[Member] = []
    elsewhere: list[Member] = []
    for key, value in server.node.members:
        if key.text in dialect.keys or (key.text in REMOTE_KEYS and not dialect.remote):
            continue
        meant = get_close_matches(key.text[:40], known - {key.text}, n=1, cutoff=0.8)
        if key.text in EVERY_SERVER_KEY and key.text not in ANNOTATIONS and not _is_inline_tools(key, value):
            if dialect.keys and not _says_nothing(value):
                elsewhere.append((key, value))
        elif meant and key.text not in ANNOTATIONS:
            message = f"The key {quote(key)} is unknown; '{meant[0]}' was probably meant"
            yield found(context, UNKNOWN_KEY, value, message, severity=Severity.MEDIUM, distinct=key.text)
        else:
            foreign.append((key, value))
    if any(key.text not in ANNOTATIONS for key, _ in foreign) or not elsewhere:
        yield from _unknown(context, foreign + elsewhere, f"{dialect.title} ignores")
        return
    # A restriction that is ignored matters more than a convenience that is.
    weighty = [member for member in elsewhere if member[0].text in {"disabled", "enabled", "disabledTools"}]
    names = ", ".join(quote(key) for key, _ in elsewhere)
    message = f"{dialect.title} does not document {names}, which other clients read"
    severity = Severity.LOW if weighty else Severity.INFO
    yield found(context, UNKNOWN_KEY, (weighty or elsewhere)[0][1], message, severity=severity)


def _says_nothing(value: Node) -> bool:
    """Whether the value is what an absent key means: `disabled: false`, an empty list."""
    return value.scalar is False or (value.kind in {Kind.ARRAY, Kind.OBJECT} and not value.items and not value.members)


def _is_inline_tools(key: Key, value: Node) -> bool:
    """Whether tools are described in the configuration, which no client reads (a list of names is a filter)."""
    return key.text == "tools" and any(item.kind is Kind.OBJECT for item in value.items)


def _unknown(context: FileContext | ServerContext, members: list[Member], verb: str) -> Iterator[Finding]:
    if not members:
        return
    effective = [member for member in members if member[0].text not in ANNOTATIONS]
    _, value = (effective or members)[0]
    names = ", ".join(quote(key) for key, _ in members[:8]) + (" and more" if len(members) > 8 else "")
    severity = None if effective else Severity.INFO
    yield found(context, UNKNOWN_KEY, value, f"{verb} {names}", severity=severity)


def wrong_types(context: ServerContext) -> Iterator[Finding]:
    """Values whose JSON type no client accepts there."""
    server = context.server
    if server.node.kind is not Kind.OBJECT:
        yield found(context, WRONG_TYPE, server.node, f"A server must be an object, not {_a(server.node.kind)}")
        return
    for key, value in server.node.members:
        expected = _expected(key.text, context.dialect.id)
        if expected and value.kind not in expected:
            wanted = " or ".join(kind.value for kind in sorted(expected))
            message = f"'{key.text}' must be {wanted}, not {_a(value.kind)}"
            yield found(context, WRONG_TYPE, value, message)
    if server.args is not None:
        for item in server.args.items:
            if item.kind is not Kind.STRING:
                severity = Severity.LOW if item.kind is Kind.NUMBER else None
                yield found(
                    context, WRONG_TYPE, item, f"An argument must be a string, not {_a(item.kind)}", severity=severity
                )
    for _, value in (*server.env, *server.headers):
        if value.kind not in {Kind.STRING, Kind.NULL}:
            severity = Severity.LOW if value.kind in {Kind.NUMBER, Kind.BOOLEAN} else None
            yield found(
                context, WRONG_TYPE, value, f"The value must be a string, not {_a(value.kind)}", severity=severity
            )


def _a(kind: Kind) -> str:
    return f"{'an' if kind.value[0] in 'ao' else 'a'} {kind.value}" if kind is not Kind.NULL else "null"


def _expected(key: str, dialect: str) -> frozenset[Kind] | None:
    if key == "command":
        kinds = {"opencode": {Kind.ARRAY}, "zed": {Kind.STRING, Kind.OBJECT}}
        return frozenset(kinds.get(dialect, {Kind.STRING, Kind.ARRAY} if dialect == "generic" else {Kind.STRING}))
    if key == "args":
        return frozenset({Kind.ARRAY})
    if key in STRING_KEYS:
        return frozenset({Kind.STRING})
    if key in OBJECT_KEYS:
        return frozenset({Kind.OBJECT})
    return frozenset({Kind.BOOLEAN}) if key in BOOLEAN_KEYS else None


def type_value(context: ServerContext) -> Iterator[Finding]:
    """A transport that the client does not spell so."""
    kind, known = context.server.type, context.dialect.types
    if kind is None or kind.text is None or not known or kind.text in known:
        return
    if context.server.url is not None and not context.dialect.remote:
        return  # said by `transport_mismatch`
    message = f"The transport {quote(kind.text)} is not one of {context.dialect.title}: {', '.join(sorted(known))}"
    yield found(context, TYPE_VALUE, kind, message)


def command_or_url(context: ServerContext) -> Iterator[Finding]:
    """Both or neither of command and address."""
    server = context.server
    if server.node.kind is not Kind.OBJECT:
        return
    if server.command is not None and server.url is not None:
        yield found(context, BOTH, server.url, "The server has a command and an address")
    elif server.command is None and server.url is None and server.url_key is None:
        known_elsewhere = {"settings", "extension", "tcp", "source", "registry", "dev", "enabled", "disabled"}
        if not any(key.text in known_elsewhere for key, _ in server.node.members):
            yield found(context, NEITHER, server.node, "The server says neither what to start nor where it is")
    elif server.command is not None and server.command.text is not None and not server.command.text.strip():
        yield found(context, NEITHER, server.command, "The command is empty")


def transport_mismatch(context: ServerContext) -> Iterator[Finding]:
    """An address whose path belongs to the other HTTP transport, or a transport that has no use for what is given."""
    server = context.server
    kind = (server.type.text or "").lower() if server.type is not None else ""
    where = server.type or server.url or server.node
    if server.url is not None and server.url.text is not None:
        path = re.split(r"[?#]", server.url.text)[0].rstrip("/").lower()
        if kind == "sse" and re.search(r"/(?:mcp|streamable|stream|http)$", path):
            yield found(context, TRANSPORT_MISMATCH, where, "The type is 'sse', the address that of streamable HTTP")
        elif kind and "http" in kind and path.endswith("/sse"):
            yield found(context, TRANSPORT_MISMATCH, where, f"The type is {quote(kind)}, the address that of SSE")
        elif kind in {"stdio", "local"}:
            yield found(
                context, TRANSPORT_MISMATCH, where, "The type is that of a local program, but an address is given"
            )
        elif server.url_key == "httpUrl" and path.endswith("/sse"):
            yield found(
                context, TRANSPORT_MISMATCH, server.url, "'httpUrl' is streamable HTTP, the address that of SSE"
            )
        if not context.dialect.remote:
            message = f"{context.dialect.title} starts local servers only from this file"
            yield found(context, UNSUPPORTED, server.url, message)
    elif server.command is not None and (kind in {"sse", "remote", "ws"} or "http" in kind):
        yield found(context, TRANSPORT_MISMATCH, where, f"The type is {quote(kind)}, but a command is given")


def unreadable_address(context: ServerContext) -> Iterator[Finding]:
    """An address without a scheme or a host. What a reference or a person is still to fill in is not judged."""
    url = context.server.url
    text = (url.text or "").strip() if url is not None else ""
    if url is None or not text or re.search(r"[${}<>%]", text) or is_placeholder(text):
        return
    scheme, colon, rest = text.partition("://")
    if not colon:
        yield found(context, BAD_ADDRESS, url, f"{quote(text)} has no http:// or https:// in front of a host")
    elif scheme.lower() not in SCHEMES:
        yield found(context, BAD_ADDRESS, url, f"{quote(scheme)} is no way to reach a server; https is")
    elif not re.match(r"^(?:[^/?#@]*@)?[^/?#:@\s]", rest) or re.search(r"\s", rest):
        yield found(context, BAD_ADDRESS, url, f"{quote(text)} names no host")


def list_of_servers(context: FileContext) -> Iterator[Finding]:
    """Servers in a list, where the client reads an object and takes its keys for their names."""
    for container in context.containers:
        listed = container.node.kind is Kind.ARRAY
        if listed and container.path in context.dialect.containers and not context.dialect.lists:
            key = container.path.rpartition(".")[2]
            yield found(context, WRONG_TYPE, container.node, f"'{key}' must be object, not an array")


def duplicate_servers(context: FileContext) -> Iterator[Finding]:
    """Names that clients confuse, and one program configured twice in exactly the same way."""
    names: dict[tuple[int, str], Key] = {}
    programs: dict[tuple[str | None, ...], Key] = {}
    for server in context.servers:
        folded = (server.container.node.start if "*" in server.container.path else 0, server.name.casefold())
        if folded in names and names[folded].text != server.name:
            message = f"The name {quote(server.key)} is taken by {quote(names[folded])}; only one of the two is used"
            yield found(context, DUPLICATE_SERVER, server.node, message, severity=Severity.MEDIUM, distinct="name")
        names.setdefault(folded, server.key)
        program = tuple(word.text for word in server.argv)
        scope = (str(folded[0]), *program)
        if len(program) > 1 and scope in programs and programs[scope].text != server.name:
            message = f"The same command as {quote(programs[scope])}"
            yield found(context, DUPLICATE_SERVER, server.node, message, severity=Severity.INFO, distinct="program")
        programs.setdefault(scope, server.key)


THEME = Theme(
    (
        *(NO_SERVERS, WRONG_DIALECT, UNKNOWN_KEY, WRONG_TYPE, TYPE_VALUE, BOTH, NEITHER, TRANSPORT_MISMATCH),
        *(DUPLICATE_SERVER, UNSUPPORTED, BAD_ADDRESS),
    ),
    file_rules=(no_servers, wrong_dialect, unknown_top_level, list_of_servers, duplicate_servers),
    server_rules=(unknown_server_keys, wrong_types, type_value, command_or_url, unreadable_address, transport_mismatch),
)
