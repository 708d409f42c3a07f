"""Which client a file belongs to, and its servers in one shape whatever the dialect; every part keeps its node."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from autocoder_components.assessments.clients import BY_ID, DIALECTS, Dialect
from autocoder_components.assessments.document import Document, Key, Kind, Node

__all__ = [
    "DIALECTS",
    "Container",
    "Dialect",
    "Member",
    "ServerView",
    "containers",
    "dialect_of",
    "server_at",
    "servers",
    "view",
]

GENERIC = BY_ID["generic"]
FALLBACK_CONTAINERS = (
    *("mcpServers", "servers", "mcp.servers", "context_servers", "mcp", "projects.*.mcpServers"),
    *(
        "amp.mcpServers",
        "mcp_servers",
        "mcp.mcpServers",
        "settings.mcp.servers",
        "experimental.modelContextProtocolServers",
    ),
)
URL_KEYS = ("url", "serverUrl", "httpUrl", "serverURL", "endpoint")
ENV_KEYS = ("env", "environment")
APPROVAL_KEYS = ("autoApprove", "alwaysAllow", "trust", "auto_approve", "autoApproveTools", "alwaysAllowTools")
TRANSPORT_KEYS = ("type", "transport", "transportType")

Member = tuple[Key, Node]


@dataclass(frozen=True, slots=True)
class Container:
    """A map (or list) of servers found in a document: its dotted path, and the dialects that write it so."""

    path: str
    node: Node
    key: Key | None


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server, the same whatever the client. Absent parts are None or empty; a part of a wrong type is absent here.

    `transport` is `stdio`, `http`, `sse`, `ws`, or `unknown` when the server says neither a program nor an address.
    `argv` is the command followed by its arguments, one node each (a command written as an array is spread).
    """

    name: str
    key: Key
    node: Node
    dialect: Dialect
    container: Container
    transport: str
    argv: tuple[Node, ...] = ()
    command: Node | None = None
    args: Node | None = None
    env: tuple[Member, ...] = ()
    headers: tuple[Member, ...] = ()
    url: Node | None = None
    url_key: str | None = None
    cwd: Node | None = None
    type: Node | None = None
    approvals: tuple[Member, ...] = ()
    disabled: bool = False
    timeout: Node | None = None


def dialect_of(path: str) -> tuple[Dialect, ...]:
    """The dialects whose clients would read a file of that path, of the most specific location only; never empty.

    Two clients may share a place (`.mcp.json` is Claude Code's and Visual Studio's); the key in the file decides.
    """
    parts = PurePath(path.replace("\\", "/")).parts
    ranked: list[tuple[int, int, Dialect]] = []
    for order, dialect in enumerate(DIALECTS):
        for location in dialect.locations:
            wanted = location.path.lstrip("/").split("/")
            tail = parts[-len(wanted) :]
            if len(tail) == len(wanted) and all(map(fnmatchcase, tail, wanted)):
                ranked.append((-len(wanted), order, dialect))
    found: dict[str, Dialect] = {}
    ranked.sort(key=lambda entry: entry[:2])
    for length, _, dialect in ranked:
        if length == ranked[0][0]:
            found.setdefault(dialect.id, dialect)
    return tuple(found.values()) or (GENERIC,)


def choose_dialect(path: str, document: Document) -> Dialect:
    """The dialect of a file: of those its place suggests, the one whose container it has; else the first."""
    suggested = dialect_of(path)
    for dialect in suggested:
        if any(_at_path(document.root, container) for container in dialect.containers):
            return dialect
    if suggested[0] is GENERIC:  # the name says nothing: the key in the file does
        paths = {container.path for container in containers(document, GENERIC)}
        for identity in ("zed", "vscode-settings", "opencode", "amp", "vscode"):
            if paths & set(BY_ID[identity].containers):
                return BY_ID[identity]
    return suggested[0]


def containers(document: Document, dialect: Dialect) -> tuple[Container, ...]:
    """Every map of servers in the document, whichever client's key it stands under, in the order of the text."""
    found: dict[int, Container] = {}
    for path in (*dialect.containers, *FALLBACK_CONTAINERS):
        for key, node in _at_path(document.root, path):
            if path == "mcp" and not any(_looks_like_server(value) for _, value in node.members):
                continue
            found.setdefault(node.start, Container(path, node, key))
    if not found and document.root is not None and any(_looks_like_server(v) for _, v in document.root.members):
        return (Container("", document.root, None),)
    return tuple(container for _, container in sorted(found.items()))


def servers(document: Document, dialect: Dialect) -> tuple[ServerView, ...]:
    """Every server of the document in the order of the text; duplicates of a name are each their own."""
    return tuple(
        view(key, node, dialect, container)
        for container in containers(document, dialect)
        for key, node in _entries(container)
    )


def server_at(document: Document, dialect: Dialect, line: int, column: int) -> ServerView | None:
    """The server whose name stands at that place; None when there is none.

    Names and pointers were rejected as keys: a target holds them as they are shown, and a name with a character that no
    terminal shows would find no server.
    """
    for container in containers(document, dialect):
        for key, node in _entries(container, near=(line, column)):
            if (key.line, key.column) >= (line, column):
                if (key.line, key.column) == (line, column):
                    return view(key, node, dialect, container)
                break
    return None


def _entries(container: Container, near: tuple[int, int] = (0, 0)) -> Iterator[Member]:
    """The servers of a container; with `near` none of an object that stand before that line and column.

    For one of thousands all of them would be walked, and that for each of them.
    """
    if container.node.kind is Kind.ARRAY:  # Continue writes a list of servers that carry their name
        for index, item in enumerate(container.node.items):
            name = item.get("name")
            text = name.text if name and name.text else str(index)
            transport = item.get("transport")  # in Continue's older form the server itself
            inner = transport if transport is not None and _looks_like_server(transport) else item
            yield Key(text, item.line, item.column, item.start, item.start), inner
        return
    members = container.node.members
    first = bisect_left(members, near, key=lambda member: (member[0].line, member[0].column))
    for at in range(first, len(members)):
        key, node = members[at]
        if container.path or _looks_like_server(node):
            yield key, node


def _at_path(root: Node | None, path: str) -> list[tuple[Key | None, Node]]:
    """The objects (or lists) at a dotted path, `*` for any member; a key that itself has dots is found as well."""
    if root is None or root.kind is not Kind.OBJECT:
        return []
    nodes: list[tuple[Key | None, Node]] = [(None, root)]
    for step in path.split("."):
        nodes = [(key, value) for _, node in nodes for key, value in node.members if step in {"*", key.text}]
    nodes += [(key, value) for key, value in root.members if "." in path and key.text == path]
    return [(key, node) for key, node in nodes if node.kind in {Kind.OBJECT, Kind.ARRAY}]


def _looks_like_server(node: Node) -> bool:
    return node.kind is Kind.OBJECT and any(node.get(key) is not None for key in ("command", *URL_KEYS))


def view(key: Key, node: Node, dialect: Dialect, container: Container) -> ServerView:
    """One server as a `ServerView`."""
    command, args, env = node.get("command"), _of(node.get("args"), Kind.ARRAY), _first(node, ENV_KEYS)[1]
    argv: tuple[Node, ...] = ()
    if command is not None and command.kind is Kind.OBJECT:  # Zed's older form: {"path", "args", "env"}
        inner = command
        command, args, env = inner.get("path"), _of(inner.get("args"), Kind.ARRAY), inner.get("env") or env
    if command is not None and command.kind is Kind.ARRAY:
        argv = command.items
    elif command is not None and command.text is not None:
        argv = (command,)
    url_key, url = _first(node, URL_KEYS)
    if args is not None:
        argv += args.items
    headers = node.get("headers")
    options = node.get("requestOptions")
    if headers is None and options is not None:
        headers = options.get("headers")
    kind = _first(node, TRANSPORT_KEYS)[1]
    return ServerView(
        name=key.text,
        key=key,
        node=node,
        dialect=dialect,
        container=container,
        transport=_transport(kind, command, url_key if url is not None else None, dialect),
        argv=tuple(word for word in argv if word.text is not None),
        command=command,
        args=args,
        env=_members(env),
        headers=_members(headers),
        url=url if url is not None and url.text is not None else None,
        url_key=url_key,
        cwd=node.get("cwd") or node.get("working_directory"),
        type=kind,
        approvals=tuple(member for member in node.members if member[0].text in APPROVAL_KEYS),
        disabled=_is(node.get("disabled"), value=True) or _is(node.get("enabled"), value=False),
        timeout=node.get("timeout"),
    )


def _transport(kind: Node | None, command: Node | None, url_key: str | None, dialect: Dialect) -> str:
    said = (kind.text or "").lower() if kind is not None else ""
    if url_key is None:
        return "stdio" if command is not None else "unknown"
    if "sse" in said or (dialect.id == "gemini" and url_key == "url" and not said):
        return "sse"
    return "ws" if said in {"ws", "websocket"} else "http"


def _first(node: Node, names: tuple[str, ...]) -> tuple[str | None, Node | None]:
    for name in names:
        value = node.get(name)
        if value is not None:
            return name, value
    return None, None


def _of(node: Node | None, kind: Kind) -> Node | None:
    return node if node is not None and node.kind is kind else None


def _members(node: Node | None) -> tuple[Member, ...]:
    return node.members if node is not None else ()


def _is(node: Node | None, *, value: bool) -> bool:
    return node is not None and node.scalar is value
