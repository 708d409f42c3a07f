"""One HTTP request, carried through: timeouts, retries, redirects, and a bound on what is read.

Knows httpx2 and nothing of components. Errors name the server and the path, never a query, a header or a body.
"""

from __future__ import annotations

import datetime
import email.utils
import logging
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from autocoder import UnreachableError

if TYPE_CHECKING:
    import httpx2

TRANSIENT: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
METHOD_KEPT: Final = frozenset((307, 308))
NOT_MODIFIED: Final = 304
MOST_REDIRECTS: Final = 5
_AWAY: Final = "check the url, and whether the server runs and can be reached from here"
_SLOW: Final = "allow more with timeout, or more attempts with retry"
_BUSY: Final = "allow more attempts with retry, or run it again later"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"([!-~]([ \t!-~]*[!-~])?)?")


class Timeouts(BaseModel):
    """Seconds after which a request is given up."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    connect: float = Field(default=5.0, gt=0, description="seconds for the connection to be made")
    read: float = Field(default=30.0, gt=0, description="seconds without a byte in either direction")
    total: float = Field(default=60.0, gt=0, description="seconds for one attempt as a whole, redirects included")


class Retries(BaseModel):
    """How often a request is tried where the server is busy or cannot be reached.

    The delay before attempt n + 1 is uniform in [0, min(cap, backoff * 2**(n - 1))] (full jitter), and no less than what
    the server's Retry-After asks for, up to the cap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    attempts: int = Field(default=5, ge=1, description="attempts in all, the first one included")
    backoff: float = Field(default=0.5, ge=0, description="seconds, the first bound of the delay; it doubles each time")
    cap: float = Field(default=30.0, ge=0, description="seconds, the longest delay")

    def delay(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after the `attempt`th attempt, the server having asked for `asked` seconds."""
        bound = min(self.cap, self.backoff * 2 ** min(attempt - 1, 60))
        jitter = random.uniform(0, bound)  # noqa: S311  jitter is no secret
        return jitter if asked is None else max(jitter, min(asked, self.cap))


class ExchangeError(ConnectionError):
    """The server answers otherwise than agreed (redirects, errors of its own, too much): no message's fault."""


class RefusedError(Exception):
    """A server answered that the request itself is wrong (4xx). `status` is its code."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text, status)
        self.text = text
        self.status = status

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is no error: its code, its headers (names in lower case) and its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms requests are made. `hosts` are those that a redirect may lead to, beside the one of the URL."""

    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    hosts: Sequence[str] = ()
    max_body: int = 64 * 1024 * 1024


def import_httpx() -> Any:
    """The HTTP library; raises ImportError with the cure where it is not installed."""
    try:
        import httpx2  # noqa: PLC0415  an optional library
    except ImportError as error:
        raise ImportError("the pack http needs its HTTP library; run: pip install 'autocoder[http]'") from error
    logging.getLogger("httpx2").addFilter(_short_urls)  # a filter that is there already is not added again
    return httpx2


def _short_urls(record: logging.LogRecord) -> bool:
    """The library logs each URL in full; what may be secret in it stays out."""
    if isinstance(record.args, tuple):
        record.args = tuple(shown(each) if hasattr(each, "userinfo") else each for each in record.args)
    return True


def checked_url(url: str) -> str:
    """The URL, if it is one of http(s); raises ValueError, which does not repeat it: it may hold a secret."""
    try:
        httpx = import_httpx()
    except ImportError as error:
        raise ValueError(str(error)) from error
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("the url cannot be read; write http://host/path or https://host/path") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("the url must begin with http:// or https:// and name a host")
    return url


Url = Annotated[str, AfterValidator(checked_url)]
"""A field that holds the URL of a server: judged with the other fields, so that all that is wrong is told at once."""


def shown(url: Any) -> str:
    """A URL for a message: without user, password, query and fragment, any of which may be secret."""
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{url.host}{port}{url.path}"


class Exchange:
    """A client for the requests of one component; use it as an async context manager, or `close` it."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._httpx = import_httpx()
        timeouts = terms.timeouts
        self._client: httpx2.AsyncClient = self._httpx.AsyncClient(
            timeout=self._httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None),
            follow_redirects=False,
            limits=self._httpx.Limits(max_connections=100, max_keepalive_connections=20),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """Send a request until it is answered; raises UnreachableError, ExchangeError or RefusedError.

        408, 425, 429, 500, 502, 503, 504 and failed connections are tried again. The body is the same each time, so
        whatever is not idempotent needs a key among the headers.
        """
        target = self._httpx.URL(url)
        attempts = self._terms.retries.attempts
        for attempt in range(1, attempts + 1):
            asked = None
            try:
                with anyio.fail_after(self._terms.timeouts.total):
                    answer = await self._followed(method, target, headers or {}, content)
            except TimeoutError:
                reason, cure = f"no answer within {self._terms.timeouts.total:g} s", _SLOW
            except self._httpx.RequestError as error:
                reason, cure = self._reason(error)
            else:
                if answer.status not in TRANSIENT:
                    return self._judged(answer, method, target)
                reason, cure = f"the server answered {answer.status}", _BUSY
                asked = retry_after(answer.headers.get("retry-after"), datetime.datetime.now(datetime.UTC))
            if attempt < attempts:
                await anyio.sleep(self._terms.retries.delay(attempt, asked))
        times = f"after {attempts} attempts" if attempts > 1 else "at the first attempt"
        raise UnreachableError(f"{method} {shown(target)} failed {times}: {reason}; {cure}")

    def _judged(self, answer: Answer, method: str, target: Any) -> Answer:
        if answer.status < 300 or answer.status == NOT_MODIFIED:
            return answer
        if 400 <= answer.status < 500:
            raise RefusedError(f"{method} {shown(target)}: the server refused it with {answer.status}", answer.status)
        raise ExchangeError(f"{method} {shown(target)}: the server answered {answer.status}")

    def _reason(self, error: Exception) -> tuple[str, str]:
        """What went wrong on the way, and the cure.

        The text of a protocol error may quote what was sent, so only its kind is told.
        """
        if isinstance(error, self._httpx.ConnectTimeout):
            return f"no connection within {self._terms.timeouts.connect:g} s", _AWAY
        if isinstance(error, self._httpx.TimeoutException):
            return f"nothing came for {self._terms.timeouts.read:g} s", _SLOW
        if isinstance(error, self._httpx.ConnectError):
            return f"no connection: {error}", _AWAY
        return f"the connection broke ({type(error).__name__})", "see what the server says of it"

    async def _followed(self, method: str, url: Any, headers: Mapping[str, str], content: bytes | None) -> Answer:
        """One attempt, with its redirects."""
        origin = url
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._sent(method, url, self._headers(headers, origin, url), content)
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                return answer
            try:
                target = url.join(location)
            except (self._httpx.InvalidURL, ValueError):
                raise ExchangeError(f"{method} {shown(origin)}: the server redirects to what is no URL") from None
            self._check_redirect(origin, url, target, answer.status, method)
            url = target
        raise ExchangeError(f"{method} {shown(origin)}: more than {MOST_REDIRECTS} redirects; give the final url")

    def _check_redirect(self, origin: Any, url: Any, target: Any, status: int, method: str) -> None:
        what = f"{method} {shown(origin)}: the server redirects to {shown(target)}"
        if method != "GET" and status not in METHOD_KEPT:
            raise ExchangeError(f"{what} with {status}, which would make a GET of it; give the final url")
        if target.host != origin.host and target.host not in self._terms.hosts:
            raise ExchangeError(f"{what}, another host; give the final url, or allow it with redirect_hosts")
        if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme != "https"):
            raise ExchangeError(f"{what}, which is not encrypted; give the final url")

    def _headers(self, headers: Mapping[str, str], origin: Any, url: Any) -> dict[str, str]:
        """The configured headers may be credentials: they go to the origin of the URL and nowhere else."""
        same = (origin.scheme, origin.host, origin.port) == (url.scheme, url.host, url.port)
        secret = {name: value.get_secret_value() for name, value in self._terms.headers.items()} if same else {}
        return {**headers, **secret}

    async def _sent(self, method: str, url: Any, headers: Mapping[str, str], content: bytes | None) -> Answer:
        async with self._client.stream(method, url, headers=dict(headers), content=content) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():  # decompressed: a small answer may be large
                body += chunk
                if len(body) > self._terms.max_body:
                    raise ExchangeError(
                        f"{method} {shown(url)}: the answer is larger than {self._terms.max_body} bytes; raise max_body"
                    )
            return Answer(response.status_code, dict(response.headers.items()), bytes(body))


def retry_after(value: str | None, now: datetime.datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: a number of them, or a date); None for neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:12]), 10**9))
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - now).total_seconds())


def check_headers(headers: Mapping[str, SecretStr], reserved: Iterable[str]) -> None:
    """Refuse headers that the component sets itself, and what HTTP cannot carry; raises ValueError without values.

    The library would refuse the latter only when it sends, and log the value.
    """
    taken = {name.lower() for name in reserved}
    for name, value in headers.items():
        if name.lower() in taken:
            raise ValueError(f"headers: {name} is set by the component; leave it out")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} is no name of a header; use letters, digits and -")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError(
                f"headers: the value of {name} holds a line break or another character that HTTP cannot carry"
            )
