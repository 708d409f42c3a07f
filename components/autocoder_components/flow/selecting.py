"""Components that let some payloads through and drop the others."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypeVar

from autocoder import Condition, Expression, Keyed, Transformer, Value
from autocoder_components.flow.canonical import canonical_text, hash_of, key_text

T = TypeVar("T")


class Filter(Transformer[T, T]):
    """Let through the payloads for which `where` is true.

    A payload that `where` cannot be evaluated over (a missing field, another type) fails, and the component's error
    policy decides about it; it is not silently dropped.

    ```yaml
    pipeline: large-payments
    components:
      payments: {use: flow.Generate, with: {count: 100, value: "{'amount': i * 10, 'currency': 'EUR'}"}}
      large: {use: flow.Filter, from: payments, with: {where: "amount > 500 && currency == 'EUR'"}}
      done: {use: flow.Discard, from: large}
    ```
    """

    where: Condition = Field(description="CEL condition over the payload's fields (`payload` is all of it)")

    def process(self, payload: T, /) -> T | None:
        return payload if self.where.test(payload) else None


class Deduplicate(Transformer[T, T]):
    """Let through the first payload of each key and drop those that come again.

    What was seen is kept across restarts. Without `bound` every key is remembered for ever. With it, memory is that
    many slots, and a key forgets the one that had its slot before: a payload is never dropped wrongly, but a late
    duplicate may pass.

    ```yaml
    pipeline: once-each
    components:
      numbers: {use: flow.Generate, with: {count: 100, value: "{'id': i % 10}"}}
      once: {use: flow.Deduplicate, from: numbers, with: {by: id, bound: 100000}}
      done: {use: flow.Discard, from: once}
    ```
    """

    by: Expression | None = Field(
        default=None, description="CEL expression whose value is the key; without it the whole payload is the key"
    )
    bound: int | None = Field(default=None, gt=0, description="how many keys to remember at most; without it, all")

    seen: Keyed[str] = Keyed(str, default="")

    def key(self, payload: T, /) -> str:
        """The key itself, or with `bound` the slot that it falls on."""
        text = self._text(payload)
        if self.bound is None:
            return text
        return str(int.from_bytes(hash_of(text, 8)) % self.bound)

    def process(self, payload: T, /) -> T | None:
        if self.bound is None:
            if self.seen.value:
                return None
            self.seen.value = "seen"
            return payload
        text = self._text(payload)
        if self.seen.value == text:
            return None
        self.seen.value = text
        return payload

    def _text(self, payload: T) -> str:
        return key_text(payload if self.by is None else self.by(payload))


class Sample(Transformer[T, T]):
    """Let through a part of the payloads: one of every `every`, or a `fraction` of them.

    Nothing is left to chance: `every` counts (across restarts too) and starts with the first; `fraction` hashes the
    payload, or the value of `by`, so that the same payload is always decided alike, here and in another pipeline.

    ```yaml
    pipeline: one-customer-in-ten
    components:
      orders: {use: flow.Generate, with: {count: 1000, value: "{'customer': i % 50, 'order': i}"}}
      some: {use: flow.Sample, from: orders, with: {fraction: 0.1, by: customer}}
      done: {use: flow.Discard, from: some}
    ```
    """

    every: int | None = Field(default=None, gt=0, description="let through the 1st, the (n+1)th, the (2n+1)th, ...")
    fraction: float | None = Field(default=None, ge=0, le=1, description="the part to let through, 0 to 1")
    by: Expression | None = Field(
        default=None, description="with fraction: the CEL expression whose value decides; without it the whole payload"
    )

    count: Value[int] = Value(int, default=0)

    def check(self) -> None:
        if (self.every is None) == (self.fraction is None):
            raise ValueError("give either every (one of so many) or fraction (0 to 1)")
        if self.by is not None and self.fraction is None:
            raise ValueError("by goes with fraction; leave it out, or give fraction instead of every")

    def process(self, payload: T, /) -> T | None:
        if self.every is not None:
            number = self.count.value
            self.count.value = (number + 1) % self.every
            return payload if number == 0 else None
        text = canonical_text(payload if self.by is None else self.by(payload))
        # 53 bits: what a float holds exactly, so that fraction 1 lets everything through and 0 nothing.
        place = (int.from_bytes(hash_of(text, 8)) >> 11) / (1 << 53)
        return payload if place < (self.fraction or 0.0) else None
