"""`autocoder assessments serve`: says where the service listens and who may ask, and judges both before it starts."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import anyio
import click

from autocoder import UsageError, common_options, give_json, json_option, open_session, say
from autocoder_components.assessments.lifecycle.store import open_store
from autocoder_components.assessments.settings import service_settings
from autocoder_components.assessments.web.options import (
    LOOPBACK_NAMES,
    TOKEN_VARIABLE,
    WebOptions,
    check_token,
    host_of,
    is_loopback,
    outside_url,
)

MOST_WAITING: Final = 512
_CURE: Final = "the HTTP API needs libraries that are not installed; run: pip install 'autocoder[web]'"
EPILOG: Final = f"""\b
Examples:
  autocoder assessments serve
  {TOKEN_VARIABLE}=... autocoder assessments serve --host 0.0.0.0 --url https://assessments.example.org

\b
Pages for people are at /, the API below /api/v1, what it can do in /openapi.json, its
state in /health and, for Prometheus, in /metrics.
Exit codes: 0 stopped as asked; 2 usage; 69 the database cannot be reached;
78 invalid configuration; 130 or 143 stopped by force.
"""


@click.command("serve", epilog=EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, metavar="N", help="0: any that is free."
)
@click.option("--url", metavar="URL", help="The address that people use, where a proxy with HTTPS stands in front.")
@click.option("--token-file", metavar="FILE", help="Where the token stands, instead of in the settings.")
@click.option(
    "--env",
    "environment",
    metavar="NAME",
    help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
)
@click.option("--database", metavar="URL", help="Instead of the settings' database.")
@json_option
@common_options
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Offer the service over HTTP: an API for programs, and pages on which people read.

    Programs send the token as `Authorization: Bearer`; people log in with it. It is `api_token` in the section `assessments`
    of the settings, or the variable AUTOCODER_ASSESSMENTS__API_TOKEN. Without a token everybody on this machine may do
    everything, and nobody else reaches the service: it then listens on a loopback address only.

    It answers until SIGTERM or SIGINT, and lets what it is at come to its end. Assessments are worked on by `autocoder run
    assessments`. With --json the address is printed to stdout as JSON once requests are answered.
    """
    session = open_session(options["environment"], database=options["database"])
    service = service_settings(session.settings)
    token = None if service.api_token is None else service.api_token.get_secret_value()
    if options["token_file"] is not None:
        token = _token_of(options["token_file"])
        ctx.obj.secrets.add(token)
    try:
        from autocoder_components.assessments.web import serving  # noqa: PLC0415  it needs an extra
    except ImportError as error:
        raise UsageError(_CURE) from error
    with closing(_listener(options["host"], options["port"], protected=token is not None)) as listener:
        address, port = listener.getsockname()[:2]
        offered = _offered(token, address, options)
        url = options["url"] or f"http://{f'[{address}]' if ':' in address else address}:{port}"

        def ready() -> None:
            if ctx.obj.json:
                give_json({"url": url})
            else:
                say(
                    f"listening on {url}"
                    + ("" if token is not None else "; without a token, for everybody on this machine")
                )

        async def serving_() -> None:
            async with open_store(session.settings.database.options(), service=service) as store:
                await serving.serve(store, offered, listener, ready=ready)

        anyio.run(serving_)


def _token_of(file: str) -> str:
    """The token that stands in a file. Raises UsageError, which never quotes it."""
    try:
        return check_token(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: the token cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: a token is text") from None
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from None


def _listener(host: str, port: int, *, protected: bool) -> socket.socket:
    """A socket that listens. Raises UsageError where others would reach a service without a token, or it cannot listen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: no such address: {error.strerror}") from None
    if not protected and not is_loopback(str(address[0])):
        raise UsageError(
            f"--host {host}: other machines reach that, so a token is needed; put one into {TOKEN_VARIABLE}, or listen on "
            f"127.0.0.1"
        )
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(MOST_WAITING)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port or --host"
        ) from None
    return made


def _offered(token: str | None, address: str, options: dict[str, Any]) -> WebOptions:
    """Who may ask by which names: on loopback those of this machine, elsewhere any, and that of `--url` always."""
    hosts = (LOOPBACK_NAMES | {address, host_of(options["host"])}) - {""} if is_loopback(address) else None
    if options["url"] is None:
        return WebOptions(token, hosts)
    try:
        outside, secure = outside_url(options["url"])
    except ValueError as error:
        raise UsageError(f"--url: {error}") from None
    if token is None and outside not in LOOPBACK_NAMES:
        raise UsageError(f"--url: a proxy that lets others in needs a token behind it; put one into {TOKEN_VARIABLE}")
    return WebOptions(token, None if hosts is None else hosts | {outside}, secure)
