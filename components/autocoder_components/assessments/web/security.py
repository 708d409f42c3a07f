"""Who may ask: tokens, sessions, the Host and Origin headers. Knows nothing of what is asked for."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from autocoder_components.assessments.web.options import WebOptions, host_of

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
SESSION_SECONDS: Final = 12 * 3600
_PURPOSE: Final = b"autocoder session, good until "


class Guard:
    """Judges requests by the options of a service. `clock` gives the time in seconds since 1970."""

    def __init__(self, options: WebOptions, *, clock: Callable[[], float] = time.time) -> None:
        self._hosts, self._clock = options.hosts, clock
        # Of equal length whatever is compared, so that the comparison tells nothing about the token.
        self._key = None if options.token is None else _digest(options.token)
        self.secure = options.secure
        # The prefix lets a browser take the cookie from this very host alone, and by HTTPS.
        self.cookie = "__Host-autocoder" if options.secure else "autocoder"

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return self._key is None

    def is_token(self, given: str) -> bool:
        """Whether this is the token, compared in constant time; never where there is none."""
        return self._key is not None and hmac.compare_digest(_digest(given), self._key)

    def admits(self, request: Request) -> bool:
        """Whether the request may be answered: it brings the token, or reads within a session of a person."""
        if self._key is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme:
            return scheme.lower() == "bearer" and self.is_token(given.strip())
        return request.method in SAFE_METHODS and self._is_session(request.cookies.get(self.cookie, ""))

    def session(self) -> str:
        """The cookie of a person who has just shown the token."""
        until = str(int(self._clock()) + SESSION_SECONDS)
        return f"{until}.{self._seal(until)}"

    def _is_session(self, cookie: str) -> bool:
        until, _, seal = cookie.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        return hmac.compare_digest(seal.encode(), self._seal(until).encode()) and int(until) > self._clock()

    def _seal(self, until: str) -> str:
        return hmac.new(self._key or b"", _PURPOSE + until.encode(), hashlib.sha256).hexdigest()

    def knows_host(self, request: Request) -> bool:
        """Whether the service is called by a name of its own."""
        name = host_of(request.headers.get("host", ""))
        return self._hosts is None or (bool(name) and name in self._hosts)


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site sends a request that changes something."""
    if request.method in SAFE_METHODS:
        return False
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    except ValueError:
        return True


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
