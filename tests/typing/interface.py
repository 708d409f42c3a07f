"""The public types as a user meets them. Never run: mypy and pyright read it.

A line that ends in `# wrong` must be reported, every other line must not: test_typing.py compares.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field
from typing_extensions import TypeVar, assert_type

from autocoder import (
    Batch,
    Emission,
    In,
    Keyed,
    Merger,
    Out,
    Outlet,
    Pipeline,
    RunSummary,
    Sink,
    Source,
    Splitter,
    Transformer,
    Value,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    text: str


@dataclass(frozen=True)
class Passage:
    text: str


class Documents(Source[Document]):
    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[Document]]:
        yield Batch([Document("a")], resume=1)
        yield Batch([Passage("a")], resume=2)  # wrong


class Chunk(Transformer[Document, Passage]):
    size: int = Field(default=512, gt=0)
    name: str = "chunk"

    def process(self, document: Document, /) -> Iterator[Passage]:
        yield Passage(document.text[: self.size])
        yield Passage(document.txet)  # wrong
        yield document  # wrong


class Same(Transformer[T, T]):
    def process(self, payload: T, /) -> T:
        return payload


class Total(Transformer[Passage, int]):
    seen = Value(int, default=0)
    total = Keyed(float, default=0.0)
    latest = Value(list[str], default_factory=list)

    def key(self, passage: Passage, /) -> str:
        return passage.text

    def process(self, passage: Passage, /) -> int:
        self.seen.value += 1
        self.latest.value.append(passage.text)
        self.total.value += len(passage.text)
        return self.seen.value

    def reset(self) -> None:
        self.seen.value = "one"  # wrong


class Triage(Splitter[Passage]):
    long = Out(Passage)
    short = Out(Passage)

    def process(self, passage: Passage, /) -> Emission:
        if not passage.text:
            return self.short(Document(""))  # wrong
        return self.long(passage)


class Both(Merger[Passage]):
    left = In(Passage)
    right = In(Passage)

    def on_left(self, passage: Passage, /) -> Passage:
        return passage

    def on_right(self, passage: Passage, /) -> Passage:
        return passage


class Store(Sink[Passage]):
    async def write(self, batch: Sequence[Passage], /) -> None: ...


def configure() -> None:
    Chunk()
    Chunk(size=3, name="x")
    Chunk(size="three")  # wrong
    Chunk(sise=3)  # wrong
    Chunk(3)  # wrong


def build() -> RunSummary:
    pipeline = Pipeline("typed")
    documents = pipeline.add("documents", Documents())
    assert_type(documents, Outlet[Document])
    passages = pipeline.add("chunk", Chunk(), after=documents)
    assert_type(passages, Outlet[Passage])
    triaged = pipeline.add("triage", Triage(), after=passages)
    assert_type(triaged.port(Triage.long), Outlet[Passage])
    both = pipeline.add("both", Both(), after={"left": triaged.port(Triage.long), "right": triaged.port(Triage.short)})
    pipeline.add("total", Total(), after=documents)  # wrong
    pipeline.add("store", Store(), after=[both, passages])
    pipeline.add("again", Store(), after=documents)  # wrong
    return pipeline.run()
