"""The components of the crash topologies. What each does to a message depends on the message alone, so a fold can say it."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import sqlalchemy as sa

from autocoder import Batch, Emission, In, Keyed, Merger, Out, Sink, Source, Splitter, Transformer, Value
from autocoder.codec import adapter_of
from autocoder.statement import Statement

ATTEMPTS = 12
metadata = sa.MetaData()
crash_rows = sa.Table(
    "crash_rows",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("pipeline", sa.Text, nullable=False, index=True),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.CheckConstraint("number >= 0", name="refuses"),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Item:
    """A message: its number, its key and a value, all from the seed."""

    n: int
    k: str
    v: int


def item(seed: int, n: int) -> Item:
    """The `n`th message of a seed."""
    digest = hashlib.blake2b(f"{seed}:{n}".encode(), digest_size=4).digest()
    return Item(n, f"k{digest[0] % 7}", int.from_bytes(digest[1:3], "big"))


class PoisonError(ValueError):
    """Worth no second attempt."""


class FlakyError(RuntimeError):
    """Worth another attempt."""


def poison(one: Item) -> bool:
    """Whether no attempt will ever succeed, and none is worth while."""
    return one.v % 23 == 5 or one.n == 0


def hopeless(one: Item) -> bool:
    """Whether every attempt fails as if the next might succeed."""
    return one.v % 41 == 7 and not poison(one)


def flaky(one: Item) -> bool:
    """Whether the first attempt of each process fails."""
    return one.v % 11 == 3 and not poison(one) and not hopeless(one)


def stubborn(one: Item) -> bool:
    """Whether it fails at a component that takes its time between attempts."""
    return one.v % 4 == 1


class Fate:
    """Raises what a message's fate is; a flaky one fails once in each process."""

    def __init__(self) -> None:
        self._failed: set[int] = set()

    def meet(self, one: Item) -> None:
        """Raise, or not."""
        if poison(one):
            raise PoisonError(f"message {one.n}")
        if hopeless(one):
            raise FlakyError(f"message {one.n} again")
        if flaky(one) and one.n not in self._failed:
            self._failed.add(one.n)
            raise FlakyError(f"message {one.n}")


class Items(Source[Item]):
    """Items from 0 to `upto`, `size` at a time, a moment apart, and at most `ahead` of what is committed.

    So a run has several commits on the slowest machine, and there is something between two kills.
    """

    seed: int
    upto: int
    size: int = 7
    ahead: int = 21

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[Item]]:
        self._safe = resume or 0
        for at in range(resume or 0, self.upto, self.size):
            end = min(at + self.size, self.upto)
            yield Batch([item(self.seed, n) for n in range(at, end)], resume=end)
            await anyio.sleep(0.001)
            while end > self._safe + self.ahead:
                await anyio.sleep(0.001)

    async def committed(self, position: Any, /) -> None:
        self._safe = position


class Acknowledged(Source[Item]):
    """The same from a broker that forgets what was acknowledged: `file` says up to where."""

    seed: int
    upto: int
    file: Path
    size: int = 7

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[Item]]:
        known = int(self.file.read_text()) if self.file.exists() else 0
        for at in range(max(resume or 0, known), self.upto, self.size):
            end = min(at + self.size, self.upto)
            yield Batch([item(self.seed, n) for n in range(at, end)], resume=end)
            await anyio.sleep(0.001)

    async def committed(self, position: Any, /) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(str(position))
        written.replace(self.file)


class SmallNumbers(Source[int]):
    """Numbers below five, so that equal payloads are one object."""

    seed: int
    upto: int
    size: int = 7

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.size):
            end = min(at + self.size, self.upto)
            yield Batch([item(self.seed, n).v % 5 for n in range(at, end)], resume=end)
            await anyio.sleep(0.001)


class Pass(Transformer[Item, Item]):
    """What it gets."""

    def process(self, one: Item, /) -> Item:
        return one


class Fated(Transformer[Item, Item]):
    """Passes on what does not fail; `shift` moves the value on which the fate depends."""

    shift: int = 0

    def check(self) -> None:
        self._fate = Fate()

    def process(self, one: Item, /) -> Item:
        self._fate.meet(Item(one.n, one.k, one.v + self.shift))
        return one


class Stubborn(Transformer[Item, Item]):
    """Fails every fourth message at all its attempts, as if the next might succeed."""

    def process(self, one: Item, /) -> Item:
        if stubborn(one):
            raise FlakyError(f"message {one.n} again")
        return one


class Twice(Transformer[Item, Item]):
    """Each item, and for every third its double."""

    def process(self, one: Item, /) -> Iterator[Item]:
        yield one
        if one.v % 3 == 0:
            yield Item(one.n, one.k, 2 * one.v)


class Slow(Transformer[Item, Item], concurrency=8, ordered=False):
    """An asynchronous call of random length for each item, many at once."""

    longest: float = 0.006

    def check(self) -> None:
        self._fate = Fate()

    async def process(self, one: Item, /) -> Item:
        await anyio.sleep(random.random() ** 3 * self.longest)
        self._fate.meet(one)
        return one


class SlowNumber(Transformer[int, int], concurrency=8, ordered=False):
    """The same for numbers; some calls fail by chance, never the last attempt that is allowed."""

    async def process(self, number: int, /) -> int:
        await anyio.sleep(random.random() ** 3 * 0.006)
        if random.random() < 0.1:
            raise FlakyError("by chance")
        return number


class Total(Transformer[Item, Item]):
    """The running total of each key; poison raises after it was added, which must leave no trace."""

    total = Keyed(int, default=0)
    seen = Keyed(list[int], default_factory=list)
    key_of_last = Keyed(str, default="")

    def key(self, one: Item, /) -> str:
        return one.k

    def process(self, one: Item, /) -> Item:
        self.total.value += one.v
        self.seen.value.append(one.n)
        self.key_of_last.value = f"{one.k}:{one.n}"
        if poison(one):
            raise PoisonError(f"message {one.n}")
        if len(self.seen.value) > 5:
            self.seen.clear()
        return Item(one.n, one.k, self.total.value)


class SlowTotal(Transformer[Item, Item]):
    """The running total of each key, asynchronously."""

    total = Keyed(int, default=0)

    def key(self, one: Item, /) -> str:
        return one.k

    async def process(self, one: Item, /) -> Item:
        self.total.value += one.v
        await anyio.sleep(0.0002)
        if poison(one):
            raise PoisonError(f"message {one.n}")
        return Item(one.n, one.k, self.total.value)


class Halves(Splitter[Item]):
    """By the parity of the value; every fifth goes nowhere."""

    even = Out(Item)
    odd = Out(Item)

    def process(self, one: Item, /) -> Iterable[Emission]:
        if one.v % 5 == 0:
            return []
        return [(self.even if one.v % 2 == 0 else self.odd)(one)]


class Sides(Merger[Item]):
    """Counts both sides by key; gives each item with the count of its own side."""

    lefts = Keyed(int, default=0)
    rights = Keyed(int, default=0)

    left = In(Item)
    right = In(Item)

    def key(self, one: Item, /) -> str:
        return one.k

    def on_left(self, one: Item, /) -> Item:
        self.lefts.value += 1
        return Item(one.n, "left", self.lefts.value)

    def on_right(self, one: Item, /) -> Item:
        self.rights.value += 1
        return Item(one.n, "right", self.rights.value)


class InTurn(Merger[Item]):
    """All of the left, then all of the right."""

    left = In(Item)
    right = In(Item)

    def check(self) -> None:
        self._over = False

    def holds(self, port: str, /) -> bool:
        return port == "right" and not self._over

    def on_left(self, one: Item, /) -> Item:
        return Item(one.n, "left", one.v)

    def on_right(self, one: Item, /) -> Item:
        return Item(one.n, "right", one.v)

    def ended(self, port: str, /) -> Iterable[Item]:
        if port == "left":
            self._over = True
        return ()


class Fives(Transformer[Item, Item]):
    """Sums of five, the rest when the input ends."""

    held = Value(list[int], default_factory=list)
    groups = Value(int, default=0)

    def process(self, one: Item, /) -> Iterator[Item]:
        self.held.value.append(one.v)
        if len(self.held.value) == 5:
            yield self._group()

    def finish(self) -> Iterable[Item]:
        if self.held.value:
            yield self._group()

    def _group(self) -> Item:
        held, self.held.value = self.held.value, []
        self.groups.value += 1
        return Item(self.groups.value, "five", sum(held))


class AtTheEnd(Transformer[Item, Item]):
    """The sum of everything, when the input ends; it does not forget it."""

    total = Value(int, default=0)

    def process(self, one: Item, /) -> Item | None:
        self.total.value += one.v
        return None

    def finish(self) -> Iterable[Item]:
        yield Item(1, "total", self.total.value)


class Table(Sink[Any]):
    """One row for each message; `refuse` makes the database refuse those whose value it divides."""

    pipeline: str
    sink: str
    refuse: int = 0

    def statements(self, batch: Sequence[Any], /) -> Iterable[Statement]:
        rows = [self._row(each) for each in batch]
        yield Statement(sa.insert(crash_rows), rows)

    def _row(self, one: Any) -> dict[str, Any]:
        number = one.n if isinstance(one, Item) else one
        refused = self.refuse and isinstance(one, Item) and one.v % self.refuse == 3
        return {"pipeline": self.pipeline, "sink": self.sink, "number": -1 if refused else number, "data": encoded(one)}


class Outside(Sink[Item]):
    """A receiver that keeps what it gets, with its key, in a file: delivered at least once, and told apart by the key."""

    file: Path

    async def write(self, batch: Sequence[Item], keys: Sequence[str], /) -> None:
        with self.file.open("a") as lines:
            lines.writelines(f"{key} {encoded(each)}\n" for key, each in zip(keys, batch, strict=True))
        await anyio.sleep(0.0002)


def side_file(pipeline: str) -> Path:
    """Where the world outside of the database stands for a pipeline."""
    return Path(tempfile.gettempdir()) / f"{pipeline}.outside"


def encoded(one: Any) -> str:
    """A message as the oracle compares it."""
    return adapter_of(type(one)).dump_json(one).decode()
