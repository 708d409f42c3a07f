"""A real HTTP server on the loopback interface, and the two components of the pack used by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from autocoder_components.http import Get, Post

from autocoder import Batch

SECRET = {"Authorization": "Bearer hunter2"}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers with `reply(request)`, or drops the connection where that gives None; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.reply: Callable[[Request], Reply | None] = lambda _: Reply()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                with outer._lock:
                    outer.requests.append(request)
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                try:
                    reply = outer.reply(request)
                finally:
                    with outer._lock:
                        outer._at_once -= 1
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815  names of the standard library

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is part of the test."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.other_host = f"http://localhost:{self._server.server_address[1]}"

    def replies(self, *replies: Reply | None) -> None:
        """Answer with these in turn, and with the last one from then on."""
        left = list(replies)
        self.reply = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def as_json(value: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(200, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


async def read(get: Get[Any], resume: Any = None, most: int | None = None) -> list[Batch[Any]]:
    await get.open()
    batches: list[Batch[Any]] = []
    try:
        async with aclosing(get.read(resume)) as reading:  # type: ignore[type-var]  # a generator
            async for batch in reading:
                batches.append(batch)
                if len(batches) == most:
                    break
    finally:
        await get.close()
    return batches


async def post(sink: Post, payloads: Sequence[Any], keys: Sequence[str] | None = None) -> None:
    await sink.open()
    try:
        await sink.write(payloads, keys or [f"key {number}" for number in range(len(payloads))])
        await sink.flush()
    finally:
        await sink.close()
