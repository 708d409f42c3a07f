"""Mergers that line up their inputs: one after the other, or side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from typing_extensions import TypeVar

from autocoder import In, Merger, Value
from autocoder_components.flow.canonical import plain_data
from autocoder_components.flow.routing import check_port_names

T = TypeVar("T")


def _check_inputs(names: list[str]) -> None:
    check_port_names(names, "the input")
    if len(set(names)) != len(names):
        raise ValueError("inputs: a name occurs twice; give each input a name of its own")


class Concat(Merger[T]):
    """Emit the whole first input, then the whole second one, and so on.

    An input whose turn has not come waits in its channel. Inputs that come from the same source through in-memory
    channels can fill up waiting for one another; read such a source twice, or make the later inputs durable.

    ```yaml
    pipeline: header-first
    components:
      header: {use: flow.Generate, with: {count: 1, value: "'name,amount'"}}
      lines: {use: flow.Generate, with: {count: 3, value: "'line ' + string(i)"}}
      all: {use: flow.Concat, from: {header: header, lines: lines}, with: {inputs: [header, lines]}}
      done: {use: flow.Discard, from: all}
    ```
    """

    order: list[str] = Field(alias="inputs", min_length=1, description="the names of the inputs, in the order to emit")

    def check(self) -> None:
        _check_inputs(self.order)
        self._waiting = list(self.order)  # the inputs that have not ended; the first one has its turn

    def inputs(self) -> Mapping[str, In[Any]]:
        return {name: In(T, name=name) for name in self.order}  # type: ignore[misc]  # resolved when compiled

    async def open(self) -> None:
        self._waiting = list(self.order)

    def holds(self, port: str, /) -> bool:
        return bool(self._waiting) and port != self._waiting[0]

    def on_message(self, port: str, payload: T, /) -> T:
        return payload

    def ended(self, port: str, /) -> Iterable[T]:
        self._waiting.remove(port)
        return ()


@dataclass(frozen=True)
class Queues:
    """What waits for its partners, by input. Frozen, so that state costs no copy for each message."""

    waiting: tuple[tuple[Any, ...], ...] = ()


class Zip(Merger[list[Any]]):
    """Emit the first payload of every input as one list, then the second ones, and so on.

    An input that is `ahead` payloads ahead of the slowest one waits. The pairing ends with the shortest input, and what
    is over is dropped; with `longest` it ends with the longest, and null stands where an input has no more. Payloads
    are emitted as plain data (dicts, lists, strings, numbers): what waits is kept across a restart.

    ```yaml
    pipeline: side-by-side
    components:
      names: {use: flow.Generate, with: {count: 3, value: "'name ' + string(i)"}}
      numbers: {use: flow.Generate, with: {count: 3}}
      pairs: {use: flow.Zip, from: {left: names, right: numbers}, with: {inputs: [left, right]}}
      done: {use: flow.Discard, from: pairs}
    ```
    """

    order: list[str] = Field(alias="inputs", min_length=2, description="the names of the inputs, in the list's order")
    longest: bool = Field(default=False, description="go on to the end of the longest input, with null for the others")
    ahead: int = Field(default=1000, gt=0, description="how many payloads an input may be ahead of the slowest one")

    queues: Value[Queues] = Value(Queues, default=Queues())

    def check(self) -> None:
        _check_inputs(self.order)
        self._ended: set[str] = set()

    def inputs(self) -> Mapping[str, In[Any]]:
        return {name: In(Any, name=name) for name in self.order}

    async def open(self) -> None:
        self._ended = set()

    def holds(self, port: str, /) -> bool:
        # Once an input has ended, what waits for it is emitted or dropped (`_row`), so it cannot hold the others back.
        lengths = dict(zip(self.order, map(len, self._queues()), strict=True))
        return lengths[port] - min(lengths.values()) >= self.ahead

    def on_message(self, port: str, payload: Any, /) -> list[Any] | None:
        queues = self._queues()
        at = self.order.index(port)
        queues[at] = (*queues[at], plain_data(payload))
        row = self._row(queues)
        self.queues.value = Queues(tuple(queues))
        return row

    def ended(self, port: str, /) -> Iterable[list[Any]]:
        self._ended.add(port)
        queues = self._queues()
        while (row := self._row(queues)) is not None:
            yield row
        self.queues.value = Queues(tuple(queues))

    def finish(self) -> Iterable[list[Any]]:
        self.queues.value = Queues()
        return ()

    def _queues(self) -> list[tuple[Any, ...]]:
        return list(self.queues.value.waiting) or [()] * len(self.order)

    def _row(self, queues: list[tuple[Any, ...]]) -> list[Any] | None:
        """Take one row from the front of `queues`, or None while a partner is still to come."""
        missing = [name for name, queue in zip(self.order, queues, strict=True) if not queue]
        if len(missing) == len(self.order):
            return None
        if missing and not (self.longest and self._ended.issuperset(missing)):
            if self._ended.intersection(missing) and not self.longest:
                queues[:] = [()] * len(queues)  # the partner will never come
            return None
        row = [queue[0] if queue else None for queue in queues]
        queues[:] = [queue[1:] for queue in queues]
        return row
