"""Get: what a URL answers, once or again and again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import anyio
from pydantic import Field, SecretStr, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from autocoder import Batch, Rejected, Source, parse_json
from autocoder_components.http.exchange import (
    Answer,
    Exchange,
    Retries,
    Terms,
    Timeouts,
    Url,
    check_headers,
    import_httpx,
    shown,
)

T = TypeVar("T")

_LINE_TYPES: Final = ("application/x-ndjson", "application/jsonl", "application/json-lines", "application/ndjson")


class Get(Source[T]):
    """Read JSON from a URL, once or `every` so many seconds: each element of an array, an object, or each line.

    The server is asked for what is new: with the ETag and Last-Modified of its last answer, and, where `cursor_field` and
    `cursor_param` are given, with the cursor of the last payload as a query parameter. These are the position that a
    restart goes on from. A server that knows none of this answers the same each time, and all of it is read again.

    429, 5xx and failed connections are tried again, as long as the server asks (Retry-After) and within the cap; after the
    last attempt, and on any other error, the pipeline stops (exit code 69 where the server is away or stays busy).
    Redirects to another host are refused unless allowed, and never get the headers. An element that does not fit the
    `payload` type is rejected as a message, and so is a line that is no JSON, as with NaN, Infinity or a number too large
    for a float (1e999); a document that is none stops the pipeline.

    ```yaml
    pipeline: watch-releases
    components:
      releases:
        use: http.Get
        with:
          url: "${RELEASES_URL:-http://127.0.0.1:8080/releases}"
          headers: {Authorization: "Bearer ${RELEASES_TOKEN:-none}"}
      done: {use: flow.Discard, from: releases}
    ```
    """

    url: Url = Field(description="where to read: http://... or https://...")
    every: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="seconds between two requests; without it, one request"
    )
    format: Literal["auto", "json", "lines"] = Field(
        default="auto",
        description="json: an array or one payload; lines: one payload a line; auto: by the content type",
    )
    payload: type[T] = Field(default=dict, description="type to make of each element; without it what JSON gives")  # type: ignore[assignment]  # dict is T then
    cursor_field: str | None = Field(default=None, description="field of a payload whose last value is the cursor")
    cursor_param: str | None = Field(default=None, description="query parameter in which the server takes the cursor")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="headers to send, such as Authorization")
    timeout: Timeouts = Field(default=Timeouts(), description="seconds to connect, between bytes, and in all")
    retry: Retries = Field(default=Retries(), description="attempts where the server is busy or cannot be reached")
    redirect_hosts: list[str] = Field(default_factory=list, description="other hosts that a redirect may lead to")
    max_body: int = Field(default=64 * 1024 * 1024, gt=0, description="bytes, the longest answer that is read")

    def check(self) -> None:
        check_headers(self.headers, ("If-None-Match", "If-Modified-Since", "Accept"))
        if (self.cursor_field is None) != (self.cursor_param is None):
            raise ValueError("cursor_field and cursor_param go together; give both or neither")
        self._shown = shown(import_httpx().URL(self.url))
        self._exchange: Exchange | None = None
        self._adapter: TypeAdapter[Any] | None = None if self.payload is dict else TypeAdapter(self.payload)

    def repeats_batches(self) -> bool:
        """No: the server may answer otherwise when it is asked again."""
        return False

    async def open(self) -> None:
        self._exchange = Exchange(Terms(self.headers, self.timeout, self.retry, self.redirect_hosts, self.max_body))

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()

    async def read(self, resume: dict[str, Any] | None, /) -> AsyncIterator[Batch[T]]:
        position = dict(resume or {})
        while True:
            answer = await self._ask(position)
            if answer.status not in (204, 304):
                batch = self._batch(answer, position)
                position = batch.resume
                yield batch
            if self.every is None:
                return
            await anyio.sleep(self.every)

    async def _ask(self, position: dict[str, Any]) -> Answer:
        if self._exchange is None:
            raise RuntimeError("read before open")
        conditions = {"etag": "If-None-Match", "modified": "If-Modified-Since"}
        headers = {header: position[name] for name, header in conditions.items() if name in position}
        headers["Accept"] = "application/json, application/x-ndjson;q=0.9, */*;q=0.1"
        url = self.url
        if self.cursor_param is not None and "cursor" in position:
            url = str(import_httpx().URL(url).copy_set_param(self.cursor_param, _text(position["cursor"])))
        return await self._exchange.request("GET", url, headers=headers)

    def _batch(self, answer: Answer, position: dict[str, Any]) -> Batch[Any]:
        payloads: list[Any] = []
        rejected: list[Rejected] = []
        cursor = position.get("cursor")
        for place, element in self._elements(answer, rejected):
            if self.cursor_field is not None and isinstance(element, dict):
                cursor = element.get(self.cursor_field, cursor)
            try:
                payloads.append(self._made(element))
            except ValueError as error:
                rejected.append(Rejected(element, error, f"{self._shown}, {place}"))
        known = {"etag": answer.headers.get("etag"), "modified": answer.headers.get("last-modified"), "cursor": cursor}
        # The number tells answers apart that the server does not, so that no payload has the identity of an earlier one.
        after = {"answers": position.get("answers", 0) + 1, **known}
        return Batch(payloads, {name: value for name, value in after.items() if value is not None}, rejected)

    def _made(self, element: Any) -> Any:
        if self._adapter is None:
            if not isinstance(element, dict):
                raise ValueError(f"expected an object, found {_json_type(element)}; give its type with payload:")
            return element
        try:
            return self._adapter.validate_python(element)
        except ValidationError as error:
            raise ValueError("; ".join(_problems(error))) from None

    def _elements(self, answer: Answer, rejected: list[Rejected]) -> list[tuple[str, Any]]:
        """The elements of an answer with their places; lines that are no JSON go to `rejected`."""
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.format == "lines" or (self.format == "auto" and content_type in _LINE_TYPES):
            found: list[tuple[str, Any]] = []
            for number, line in enumerate(answer.body.split(b"\n"), start=1):
                if line.strip():
                    try:
                        found.append((f"line {number}", parse_json(line)))
                    except (ValueError, RecursionError) as error:
                        place = f"{self._shown}, line {number}"
                        rejected.append(Rejected(line.decode(errors="replace"), error, place))
            return found
        try:
            document = parse_json(answer.body)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            where = (
                f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "its text"
            )
            raise ValueError(
                f"the answer of {self._shown} is no JSON ({where}); is it one document a line? then say format: lines"
            ) from None
        except ValueError as error:
            raise ValueError(f"the answer of {self._shown} is no JSON: {error}") from None
        if isinstance(document, list):
            return [(f"element {number}", element) for number, element in enumerate(document)]
        return [("the document", document)]


def _text(cursor: Any) -> str:
    return cursor if isinstance(cursor, str) else json.dumps(cursor)


def _json_type(element: Any) -> str:
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "an array"}
    return names.get(type(element), "null")


def _problems(error: ValidationError) -> list[str]:
    """What is wrong with an element, field by field, without the values."""
    return [
        f"{'.'.join(map(str, each['loc'])) or 'the element'}: {each['msg']}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
