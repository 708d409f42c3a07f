"""What a server's configuration means for a probe: a program to start or an address to contact, its references replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from autocoder_components.assessments.clients import BRACE, DOLLAR, ENV, SHELL
from autocoder_components.assessments.dialects import Member, ServerView
from autocoder_components.assessments.probes.http import Url
from autocoder_components.assessments.probes.outcome import NotAskedError
from autocoder_components.assessments.probes.remote import Remote
from autocoder_components.assessments.probes.stdio import Program
from autocoder_components.assessments.rules.base import quote

PASSED_ON: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
"""The variables of this process that a program has besides its own, unless said otherwise: without them hardly one starts."""

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
# What stands in place of a variable is bounded, for a text of open references would be searched to its end from each of them.
_FORMS: Final = {
    SHELL: rf"\$\{{(?P<shell>{_NAME})(?::-(?P<otherwise>[^}}]{{0,1000}}))?\}}",
    DOLLAR: rf"\$(?P<dollar>{_NAME})",
    ENV: rf"\$\{{env:(?P<env>{_NAME})\}}",
    BRACE: rf"\{{env:(?P<brace>{_NAME})\}}",
}
_WEB_SOCKET: Final = re.compile(r"wss?://", re.IGNORECASE)
_FOREIGN: Final = re.compile(r"\$\{\{?[^}]*\}\}?")


class Values:
    """Texts of one server with the client's references replaced, as far as this environment allows it."""

    def __init__(self, server: ServerView, variables: Mapping[str, str]) -> None:
        expands = server.dialect.expands
        # Of a client whose ways are not documented the common form is taken; `$NAME` alone is too often meant as it stands.
        forms = {SHELL, ENV} if expands is None else set(expands) & set(_FORMS)
        self._pattern = re.compile("|".join(_FORMS[each] for each in _FORMS if each in forms)) if forms else None
        self._literal = expands is not None and not expands
        self._variables = variables

    def of(self, text: str) -> str:
        """The text as the client would use it; raises NotAskedError for a reference to what is not given here."""
        if self._literal:
            return text
        rest = text if self._pattern is None else self._pattern.sub("", text)
        foreign = _FOREIGN.search(rest, 0, rest.rfind("}") + 1)  # behind the last one each start would look to the end
        if foreign:
            raise NotAskedError(f"the configuration needs {quote(foreign[0])}, which only its client can give")
        return text if self._pattern is None else self._pattern.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        name = next(value for key, value in groups.items() if key != "otherwise" and value is not None)
        if name in self._variables:
            return self._variables[name]
        if groups.get("otherwise") is not None:
            return groups["otherwise"]
        raise NotAskedError(
            f"the configuration refers to the variable {quote(name)}, which is not set or not given to probes",
            "name it in the field variables",
        )


def subject_of(
    server: ServerView,
    own: Mapping[str, str],
    allowed: frozenset[str],
    *,
    programs: bool,
    passed_on: Sequence[str] = PASSED_ON,
) -> Program | Remote:
    """What to probe. `own` is the environment of this process, `allowed` the names that references may be replaced from,
    `programs` whether programs may be started, `passed_on` the names that a program gets besides its own.

    Raises NotAskedError for what no probe may or can ask: a program where none may be started, a server that is switched off,
    says nothing, or needs what is not given.
    """
    if server.disabled:
        raise NotAskedError("the server is switched off in its configuration")
    values = Values(server, {name: own[name] for name in (*passed_on, *allowed) if name in own})
    address = "" if server.url is None else server.url.text or ""
    if server.transport == "ws" or _WEB_SOCKET.match(address):
        raise NotAskedError(
            "the server is reached by WebSocket, which no probe speaks, for no revision of the protocol has it; ask for one "
            "that speaks Streamable HTTP"
        )
    if server.url is not None:
        url = Url.of(values.of(address))
        if url is None:
            raise NotAskedError("the address of the server is no URL of http or https")
        return Remote(url, tuple(_texts(server.headers, values)), old=server.transport == "sse")
    if not server.argv:
        raise NotAskedError("the configuration gives neither a program nor an address")
    if not programs:
        raise NotAskedError("starting programs is not allowed here", "allow it with the field allow_exec")
    base = {name: own[name] for name in passed_on if name in own}
    folder = None if server.cwd is None or server.cwd.text is None else Path(values.of(server.cwd.text))
    words = tuple(values.of(word.text or "") for word in server.argv)
    return Program(words, {**base, **dict(_texts(server.env, values))}, folder)


def _texts(members: tuple[Member, ...], values: Values) -> list[tuple[str, str]]:
    """Names and values; numbers and truth values as clients write them."""
    found: list[tuple[str, str]] = []
    for key, node in members:
        scalar = node.scalar
        if isinstance(scalar, bool):
            found.append((key.text, str(scalar).lower()))
        elif isinstance(scalar, str):
            found.append((key.text, values.of(scalar)))
        elif isinstance(scalar, int | float):
            found.append((key.text, str(scalar)))
    return found
