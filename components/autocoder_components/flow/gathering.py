"""Components that gather many payloads into few: batches and counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import Field
from typing_extensions import TypeVar

from autocoder import Expression, Keyed, Transformer, Value
from autocoder_components.flow.canonical import key_text, plain_data

T = TypeVar("T")


@dataclass(frozen=True)
class Gathered(Generic[T]):
    """A batch in the making. Frozen, so that state costs no copy for each message."""

    payloads: tuple[T, ...] = ()


class Batch(Transformer[T, list[T]]):
    """Gather payloads into lists of `size`; the last list of a run may be shorter.

    A list in the making is kept across a crash.

    ```yaml
    pipeline: by-the-dozen
    components:
      numbers: {use: flow.Generate, with: {count: 30}}
      dozens: {use: flow.Batch, from: numbers, with: {size: 12}}
      done: {use: flow.Discard, from: dozens}
    ```
    """

    size: int = Field(gt=0, le=100_000, description="how many payloads make a list")

    gathered: Value[Gathered[T]] = Value(Gathered[T], default=Gathered())

    def process(self, payload: T, /) -> list[T] | None:
        payloads = (*self.gathered.value.payloads, payload)
        if len(payloads) < self.size:
            self.gathered.value = Gathered(payloads)
            return None
        self.gathered.value = Gathered()
        return list(payloads)

    def finish(self) -> Iterable[list[T]]:
        payloads = self.gathered.value.payloads
        if payloads:
            self.gathered.value = Gathered()
            yield list(payloads)


@dataclass(frozen=True)
class Counted:
    """How many payloads had a key; `key` is null where everything is counted together."""

    key: Any
    count: int


class Count(Transformer[Any, Counted]):
    """Count payloads, all together or `by` a key, and emit the counts when the input has ended.

    Emits one `{key, count}` for each key, in the order of the keys. Counts are kept across restarts and go on where
    they were: a later run of the same pipeline emits totals.

    ```yaml
    pipeline: how-many
    components:
      numbers: {use: flow.Generate, with: {count: 100}}
      counts: {use: flow.Count, from: numbers, with: {by: payload % 3}}
      done: {use: flow.Discard, from: counts}
    ```
    """

    by: Expression | None = Field(default=None, description="CEL expression of the key; without it one count of all")

    counts: Keyed[Counted] = Keyed(Counted, default=Counted(None, 0))

    def key(self, payload: Any, /) -> str:
        return "" if self.by is None else key_text(self.by(payload))

    def process(self, payload: Any, /) -> Counted | None:
        before = self.counts.value
        if before.count == 0 and self.by is not None:
            before = Counted(plain_data(self.by(payload)), 0)
        self.counts.value = Counted(before.key, before.count + 1)
        return None

    def finish(self) -> Iterable[Counted]:
        for key in sorted(self.counts.keys()):
            self.counts.key = key
            yield self.counts.value
