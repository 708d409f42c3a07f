"""A server made with the public `mcp` package, as a program: `stdio`, or `http`, `http-old`, `sse` with a listening socket.

`http-old` refuses what only the new revision of the protocol has, as a server does that was written before it.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("sums")


@server.tool()
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@server.tool()
def double(a: int) -> int:
    """Twice the number."""
    return 2 * a


def older(app: Any) -> Any:
    """The app as it was before the headers of the new revision."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and any(name == b"mcp-method" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Bad Request: no session"})
            return
        await app(scope, receive, send)

    return served


if __name__ == "__main__":
    mode = sys.argv[1]
    if mode == "stdio":
        server.run()
    else:
        app: Any = server.sse_app() if mode == "sse" else server.streamable_http_app()
        listener = socket.socket(fileno=int(sys.argv[2]))
        config = uvicorn.Config(older(app) if mode == "http-old" else app, log_level="error")
        uvicorn.Server(config).run(sockets=[listener])
