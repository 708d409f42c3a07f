"""How the service is offered: plain data, judged before anything listens."""

from __future__ import annotations

import ipaddress
import string
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

SHORTEST_TOKEN: Final = 16
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
TOKEN_VARIABLE: Final = "AUTOCODER_ASSESSMENTS__API_TOKEN"  # noqa: S105  the name of a variable
_TOKEN_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What holds for one service. Times are in seconds, sizes in bytes.

    - `token`: what programs send and people log in with; None: everybody who reaches the port may do everything.
    - `hosts`: the names by which the service may be called (without port, lower case, IPv6 without brackets); None: by any.
    - `secure`: people come by HTTPS, so that cookies are for HTTPS only.
    - `most_bytes`, `most_batch_bytes`, `body_seconds`: how large a body may be, and how long it may take to come.
    - `head_seconds`: how long the head of a request may take to come.
    - `longest_wait`: of a long poll. `longest_stream`: of a stream of events, which the client then takes up again.
    - `look`: how often a stream looks for what is new. `keep_alive`: how long it may be silent.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] | None = LOOPBACK_NAMES
    secure: bool = False
    most_bytes: int = 2 * 1024 * 1024
    most_batch_bytes: int = 8 * 1024 * 1024
    body_seconds: float = 30.0
    head_seconds: float = 15.0
    longest_wait: float = 300.0
    longest_stream: float = 3600.0
    look: float = 1.0
    keep_alive: float = 15.0


def check_token(token: str) -> str:
    """The token without the line break that files end with. Raises ValueError, which never quotes it."""
    token = token.strip()
    if len(token) < SHORTEST_TOKEN or not _TOKEN_CHARACTERS.issuperset(token):
        raise ValueError(
            f"a token has at least {SHORTEST_TOKEN} letters, digits and signs of ASCII, without spaces; make one "
            f'with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return token


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address (an IP, which may have a zone)."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def host_of(header: str) -> str:
    """The name in a Host header or an authority: without port, in lower case, IPv6 without brackets; empty if malformed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return ""
    unexpected = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    return "" if unexpected else (parts.hostname or "").rstrip(".")


def outside_url(url: str) -> tuple[str, bool]:
    """The host of the address that people use, and whether it is HTTPS. Raises ValueError for what is no such address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path not in ("", "/")
        or parts.query
        or parts.username
    ):
        raise ValueError(f"{url!r} is no address to be called by; write it like https://assessments.example.org")
    return host.rstrip("."), parts.scheme == "https"
