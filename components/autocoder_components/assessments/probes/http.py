"""HTTP as a probe needs it: judged addresses, certificates looked at, redirects judged again, all of it bounded."""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from autocoder_components.assessments.probes.outcome import Limits, NotAskedError, ProbeError, Trace, UnavailableError
from autocoder_components.assessments.probes.reach import Reach
from autocoder_components.assessments.rules.base import quote
from autocoder_components.assessments.rules.status import (
    CERTIFICATE_CHAIN,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_HOST,
    CERTIFICATE_SOON,
    NO_MCP,
    NO_TLS,
    REDIRECT_REFUSED,
    UNREACHABLE,
)

if TYPE_CHECKING:
    import httpcore2

DAY: Final = 86400.0
_EXPIRED: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_HOST: Final = frozenset({62, 63, 64})  # X509_V_ERR_HOSTNAME_MISMATCH and its siblings
_KEPT: Final = frozenset({307, 308})
_REDIRECTS: Final = frozenset({301, 302, 303, *_KEPT})


def import_httpcore() -> Any:
    """The HTTP library; raises UnavailableError with the cure where it is not installed."""
    try:
        import httpcore2  # noqa: PLC0415  an optional library
    except ImportError:
        raise UnavailableError(
            "probes over HTTP need a library that is not installed; run: pip install 'autocoder[http]'"
        ) from None
    return httpcore2


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its parts; the path and query may be secret and are never shown."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    login: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, text: str) -> Url | None:
        """The URL that the text is; None where it is none of http or https."""
        try:
            parts: SplitResult = urlsplit(text)
            host, port = parts.hostname, parts.port
            if host is not None and not host.isascii():
                host = host.encode("idna").decode()
        except ValueError:
            return None
        if parts.scheme not in {"http", "https"} or not host:
            return None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not target.isascii() or not target.isprintable() or " " in target:
            return None
        login = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            login = f"Basic {b64encode(pair.encode()).decode()}"
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target, login)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What makes two URLs the same server."""
        return self.scheme, self.host, self.port

    def join(self, reference: str) -> Url | None:
        """The URL that a reference means when this one's answer gives it; None where it is none of http or https."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            return Url.of(urljoin(f"{self.scheme}://{host}:{self.port}{self.target}", reference))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Terms:
    """How an installation lets probes speak HTTP. `soon` is how many seconds before its end a certificate is remarked on."""

    reach: Reach
    tls: ssl.SSLContext
    limits: Limits
    soon: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and its body as it comes: at most as many bytes as the limits allow."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    url: Url

    @property
    def media_type(self) -> str:
        """The type of the content, lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self, limit: int) -> bytes:
        """The whole body; raises ProbeError where it is longer than `limit` bytes."""
        whole = bytearray()
        async for chunk in self.chunks:
            whole += chunk
            if len(whole) > limit:
                raise ProbeError(NO_MCP, f"An answer is longer than {limit:,} bytes")
        return bytes(whole)


class Client:
    """Requests to one server. `headers` may be credentials: they go to the origin of `url` and nowhere else."""

    def __init__(self, url: Url, headers: Iterable[tuple[str, str]], terms: Terms, trace: Trace) -> None:
        self.url = url
        self._headers = [*headers, *([("Authorization", url.login)] if url.login else [])]
        self._terms = terms
        self._httpcore = import_httpcore()
        self._left = terms.limits.total_bytes
        self._pool: httpcore2.AsyncConnectionPool = self._httpcore.AsyncConnectionPool(
            ssl_context=terms.tls, network_backend=_Backend(terms, trace), max_connections=4
        )

    @property
    def has_credentials(self) -> bool:
        """Whether the configuration gives any header."""
        return bool(self._headers)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    @asynccontextmanager
    async def send(
        self, method: str, url: Url, headers: Iterable[tuple[str, str]], content: bytes | None = None
    ) -> AsyncIterator[Answer]:
        """One request and its answer, redirects followed as far as they may be; the body is read in the block.

        Raises ProbeError for what the server does wrong, NotAskedError where the host may not be contacted.
        """
        for hop in range(self._terms.limits.redirects + 1):
            own = self._headers if url.origin == self.url.origin else []
            try:
                async with self._answer(method, url, [*own, *headers], content) as answer:
                    if answer.status not in _REDIRECTS or "location" not in answer.headers:
                        yield answer
                        return
                    following = _following(answer, method)
            except NotAskedError as refused:
                if hop == 0:
                    raise
                raise ProbeError(REDIRECT_REFUSED, f"The server redirects: {refused}") from None
            url = following
        raise ProbeError(REDIRECT_REFUSED, f"The server redirects more than {self._terms.limits.redirects} times")

    @asynccontextmanager
    async def _answer(
        self, method: str, url: Url, headers: list[tuple[str, str]], content: bytes | None
    ) -> AsyncIterator[Answer]:
        core = self._httpcore
        where = core.URL(scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode())
        try:
            sent = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
            async with self._pool.stream(method, where, headers=sent, content=content) as response:
                received = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                yield Answer(response.status, received, self._bounded(response), url)
        except (UnicodeError, core.LocalProtocolError):
            raise NotAskedError("a header of the configuration cannot be sent by HTTP") from None
        except core.RemoteProtocolError:
            raise ProbeError(NO_MCP, f"What answers at {quote(url.host)} breaks the rules of HTTP") from None
        except (core.NetworkError, anyio.BrokenResourceError, OSError):
            raise ProbeError(UNREACHABLE, f"The connection to {quote(url.host)} breaks off") from None

    async def _bounded(self, response: httpcore2.Response) -> AsyncIterator[bytes]:
        async for chunk in response.aiter_stream():
            self._left -= len(chunk)
            if self._left < 0:
                raise ProbeError(NO_MCP, f"The server answers more than {self._terms.limits.total_bytes:,} bytes")
            yield chunk


def _following(answer: Answer, method: str) -> Url:
    """Where a redirect leads, unless the redirect itself is refused; whether the host may be contacted is judged after."""
    if method != "GET" and answer.status not in _KEPT:
        raise ProbeError(
            REDIRECT_REFUSED, f"The server redirects with {answer.status}, which would make a GET of the request"
        )
    url = answer.url.join(answer.headers["location"])
    if url is None:
        raise ProbeError(REDIRECT_REFUSED, "The server redirects to what is no address of http or https")
    if answer.url.scheme == "https" and url.scheme != "https":
        raise ProbeError(REDIRECT_REFUSED, f"The server redirects to {quote(url.host)} without encryption")
    return url


class _Backend:
    """Connections for the HTTP library, to addresses that were judged: the name is resolved here, once, and nowhere else."""

    def __init__(self, terms: Terms, trace: Trace) -> None:
        self._terms = terms
        self._trace = trace

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> _Stream:
        self._trace.stage = f"connecting to {quote(host)}"
        addresses = await self._terms.reach.addresses(host, port)
        why = "no address answers"
        for address in addresses:
            try:
                stream = await anyio.connect_tcp(address, port)
            except OSError as error:
                cause = error.__cause__ or error
                why = (isinstance(cause, OSError) and cause.strerror) or why
            else:
                self._trace.stage = f"waiting for an answer of {quote(host)}"
                return _Stream(stream, self._terms, self._trace)
        raise ProbeError(UNREACHABLE, f"No connection to {quote(host)}, port {port}: {why}")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> _Stream:
        raise NotAskedError("a probe contacts no local sockets")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _Stream:
    """One connection. Time is bounded around the whole probe, so that the library's own timeouts are not used."""

    def __init__(self, stream: ByteStream, terms: Terms, trace: Trace) -> None:
        self._stream = stream
        self._terms = terms
        self._trace = trace

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  the library's name
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except ssl.SSLError:
            raise ProbeError(NO_TLS, "The encrypted connection breaks its rules") from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  the library's name
        if buffer:
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        # A peer that takes no goodbye must not hold up the end.
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  the library's name
    ) -> _Stream:
        host = quote(server_hostname or "")
        self._trace.stage = f"waiting for the TLS handshake with {host}"
        try:
            stream = await TLSStream.wrap(
                self._stream, hostname=server_hostname, ssl_context=self._terms.tls, standard_compatible=False
            )
        except BaseException as error:
            # Until the handshake is done nobody else knows the connection, to close it.
            await self.aclose()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise _certificate_fault(error, host) from None
            if isinstance(error, ssl.SSLError | ValueError | anyio.EndOfStream | anyio.BrokenResourceError):
                raise ProbeError(NO_TLS, f"{host} makes no encrypted connection") from None
            raise
        self._remark_on(stream, host)
        self._trace.stage = f"waiting for an answer of {host}"
        return _Stream(stream, self._terms, self._trace)

    def get_extra_info(self, info: str) -> Any:
        # The library asks for `is_readable` before it uses a connection again, and for the TLS object after a handshake.
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610  anyio's, not Django's
        return None

    def _remark_on(self, stream: TLSStream, host: str) -> None:
        certificate = stream.extra(TLSAttribute.peer_certificate, None) or {}  # noqa: S610  anyio's
        ends = certificate.get("notAfter")
        if not isinstance(ends, str):
            return
        left = ssl.cert_time_to_seconds(ends) - time.time()
        if left < self._terms.soon:
            self._trace.remark(
                CERTIFICATE_SOON, f"The certificate of {host} expires in {max(0, int(left // DAY))} days"
            )


def _certificate_fault(error: ssl.SSLCertVerificationError, host: str) -> ProbeError:
    if error.verify_code in _EXPIRED:
        when = "not valid yet" if error.verify_code == 9 else "expired"
        return ProbeError(CERTIFICATE_EXPIRED, f"The certificate of {host} is {when}")
    if error.verify_code in _OTHER_HOST:
        return ProbeError(CERTIFICATE_HOST, f"The certificate that {host} shows is for another name")
    return ProbeError(CERTIFICATE_CHAIN, f"The certificate of {host} is not trusted: {error.verify_message}")
