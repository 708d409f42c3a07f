"""Where messages come in that are sent to the pipeline from outside."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field
from typing_extensions import TypeVar

from autocoder import Transformer

T = TypeVar("T")


class Inbox(Transformer[T, T]):
    """Take the messages that are sent to the pipeline: by `autocoder send`, or by `autocoder.send` in Python.

    A message is a row of the pipeline's database before `send` returns, so it is neither lost nor half made, whether the
    pipeline runs at that time or not. The run goes on until it is told to stop, or with `until_empty` until no message
    waits.

    ```yaml
    pipeline: jobs
    components:
      requests: {use: flow.Inbox, with: {until_empty: true}}
      done: {use: flow.Discard, from: requests}
    ```
    """

    payload: type[T] = Field(default=cast("type[T]", dict), description="what each message is validated into")
    until_empty: bool = Field(default=False, description="end when no message waits, instead of waiting for more")

    def inbox_until(self) -> Literal["drain", "empty"] | None:
        return "empty" if self.until_empty else "drain"

    def process(self, payload: T, /) -> T:
        return payload
