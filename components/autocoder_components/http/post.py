"""Post: payloads sent to a URL as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import anyio
from pydantic import Field, SecretStr
from pydantic_core import PydanticSerializationError, to_json

from autocoder import Sink
from autocoder_components.http.exchange import (
    Exchange,
    RefusedError,
    Retries,
    Terms,
    Timeouts,
    Url,
    check_headers,
)


class Post(Sink[Any]):
    """Send each payload as JSON to a URL, or with `batch` an array of many in one request.

    NaN and infinity, which JSON does not know, become null.

    Each request carries an `Idempotency-Key` that belongs to its message and is the same in every attempt and after a
    restart: a server that heeds it does each of them once. With `batch` the key belongs to the messages of the array
    together, and after a crash the arrays may be cut elsewhere; there a server has to know the payloads themselves.

    429, 5xx and failed connections are tried again, as long as the server asks (Retry-After) and within the cap; after the
    last attempt the pipeline stops (exit code 69), unless an `on_error` is declared. Any other 4xx is the fault of its
    message, which is refused (`on_error` decides, by default it becomes a dead letter), and the others go on. Payloads of one
    batch are sent at the same time, `requests` at once, so they may arrive in another order; with `requests: 1` they keep it.

    ```yaml
    pipeline: page-somebody
    components:
      tickets: {use: flow.Generate, with: {count: 3, value: "{'ticket': i}"}}
      page:
        use: http.Post
        from: tickets
        with:
          url: "${PAGER_URL:-http://127.0.0.1:8080/pages}"
          headers: {Authorization: "Bearer ${PAGER_TOKEN:-none}"}
          retry: {attempts: 5, backoff: 0.5, cap: 30}
    ```
    """

    url: Url = Field(description="where to send: http://... or https://...")
    method: Literal["POST", "PUT", "PATCH"] = Field(default="POST", description="the method of the request")
    batch: bool = Field(default=False, description="send the payloads of a batch as one JSON array")
    requests: int = Field(default=8, ge=1, le=100, description="how many requests may be under way at once")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="headers to send, such as Authorization")
    timeout: Timeouts = Field(default=Timeouts(), description="seconds to connect, between bytes, and in all")
    retry: Retries = Field(default=Retries(), description="attempts where the server is busy or cannot be reached")
    redirect_hosts: list[str] = Field(default_factory=list, description="other hosts that a redirect may lead to")
    max_body: int = Field(default=1024 * 1024, gt=0, description="bytes, the longest answer that is read")

    def check(self) -> None:
        check_headers(self.headers, ("Idempotency-Key", "Content-Type", "Content-Length"))
        self._exchange: Exchange | None = None
        self._accepted: set[str] = set()
        self._refused: dict[str, RefusedError] = {}

    def absorbs_repeats(self) -> bool:
        """Whether the server can tell a request that comes again: not where a crash may cut the arrays elsewhere."""
        return not self.batch

    async def open(self) -> None:
        self._accepted = set()
        self._refused = {}
        self._exchange = Exchange(Terms(self.headers, self.timeout, self.retry, self.redirect_hosts, self.max_body))

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()

    async def write(self, batch: Sequence[Any], keys: Sequence[str], /) -> None:
        """Send; returns when the server has accepted all of it. What it accepted is not sent again in this epoch.

        After a refusal the runtime gives the messages of the batch singly, to find the one at fault. The server has said
        which it is, so that message is refused again without asking: one attempt is one request. A later attempt asks.
        """
        if self.batch:
            await self._send(to_body(list(batch)), joint_key(keys))
            return
        known = self._refused.pop(keys[0], None) if len(keys) == 1 else None
        if known is not None:
            raise known
        todo = [(to_body(payload), key) for payload, key in zip(batch, keys, strict=True) if key not in self._accepted]
        refused: dict[str, RefusedError] = {}

        async def work() -> None:
            while todo:
                body, key = todo.pop()
                try:
                    await self._send(body, key)
                    self._accepted.add(key)
                except RefusedError as error:
                    refused[key] = error  # the others are sent all the same

        todo.reverse()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(self.requests, len(todo))):
                    tasks.start_soon(work)
        except ExceptionGroup as group:  # the server is away, for all of them
            raise group.exceptions[0] from None
        finally:
            if len(keys) > 1:
                self._refused = refused
        if refused:
            raise next(iter(refused.values()))

    async def flush(self) -> None:
        """Everything was accepted by its server, or refused; the epoch ends."""
        self._accepted.clear()
        self._refused = {}

    async def _send(self, body: bytes, key: str) -> None:
        if self._exchange is None:
            raise RuntimeError("write before open")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        await self._exchange.request(self.method, self.url, headers=headers, content=body)


def to_body(payload: Any) -> bytes:
    """A payload as JSON; raises ValueError that names its type."""
    try:
        return to_json(payload, bytes_mode="base64", inf_nan_mode="null")
    except PydanticSerializationError:
        raise ValueError(f"a payload of type {type(payload).__name__} holds something that is no JSON") from None


def joint_key(keys: Sequence[str]) -> str:
    """One key for several messages, of the same length as theirs."""
    return keys[0] if len(keys) == 1 else hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
