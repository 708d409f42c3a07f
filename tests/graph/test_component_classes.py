"""A class whose ports and handler disagree is refused where it is created, with the cure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from pydantic import Field, ValidationError
from typing_extensions import TypeVar

from autocoder import (
    Batch,
    ComponentDefinitionError,
    Emission,
    In,
    Keyed,
    Merger,
    Out,
    Sink,
    Source,
    Splitter,
    Transformer,
)
from autocoder.contract import Contract
from autocoder.handler import Shape

T = TypeVar("T")


def refused(match: str) -> Any:
    return pytest.raises(ComponentDefinitionError, match=match)


def test_the_shape_of_a_handler_is_read_from_its_annotation() -> None:
    class One(Transformer[int, str]):
        def process(self, number: int, /) -> str:
            return str(number)

    class Optional(Transformer[int, str]):
        async def process(self, number: int, /) -> str | None:
            return None

    class Many(Transformer[int, str]):
        def process(self, number: int, /) -> Iterator[str]:
            yield str(number)

    class AsyncMany(Transformer[int, str]):
        async def process(self, number: int, /) -> AsyncIterator[str]:
            yield str(number)

    def shape(contract: Contract) -> tuple[Shape, bool]:
        return contract.handlers["in"].shape, contract.handlers["in"].is_async

    assert [shape(each.contract()) for each in (One, Optional, Many, AsyncMany)] == [
        (Shape.ONE, False),
        (Shape.OPTIONAL, True),
        (Shape.MANY, False),
        (Shape.MANY, True),
    ]


def test_a_payload_that_is_a_list_is_one_payload() -> None:
    class Listed(Transformer[int, list[int]]):
        def process(self, number: int, /) -> list[int]:
            return [number]

    assert Listed.contract().handlers["in"].shape is Shape.ONE


def test_wrong_types_are_refused() -> None:
    with refused(r"process takes str, but its port carries int; make them the same"):

        class Takes(Transformer[int, int]):
            def process(self, number: str, /) -> int:
                return 1

    with refused(
        r"process returns str, but its output is int; return int, `int \| None` to drop some, or Iterator\[int\]"
    ):

        class Gives(Transformer[int, int]):
            def process(self, number: int, /) -> str:
                return ""

    with refused(r"returns list\[int\], but its output is int"):

        class Lists(Transformer[int, int]):
            def process(self, number: int, /) -> list[int]:
                return []

    with refused(r"has no return annotation; write `-> int`"):

        class Silent(Transformer[int, int]):
            def process(self, number: int, /):  # type: ignore[no-untyped-def]
                return number

    with refused(r"must take exactly one payload; found 2 parameters"):

        class Two(Transformer[int, int]):
            def process(self, number: int, other: int, /) -> int:
                return number

    with refused(r"returns None, so nothing would ever leave it"):

        class Nothing(Transformer[int, int]):
            def process(self, number: int, /) -> None:
                return None


def test_missing_handlers_and_ports_are_refused() -> None:
    with refused("has no method process"):

        class Empty(Transformer[int, int]):
            pass

    with refused(r"does not say what it carries; write `class Untyped\(Transformer\[\.\.\., \.\.\.\]\)`"):

        class Untyped(Transformer):  # type: ignore[type-arg]
            def process(self, number: int, /) -> int:
                return number

    with refused("has no handler; write `async def read"):

        class Unread(Source[int]):
            pass

    with refused("needs exactly one handler"):

        class Unwritten(Sink[int]):
            pass

    with refused("declares no output"):

        class Blind(Splitter[int]):
            def process(self, number: int, /) -> Emission:
                raise AssertionError

    with refused("has no method on_right"):

        class Half(Merger[int]):
            left = In(int)
            right = In(int)

            def on_left(self, number: int, /) -> int:
                return number

    with refused("does not say how a payload gives its key"):

        class Keyless(Transformer[int, int]):
            total = Keyed(int, default=0)

            def process(self, number: int, /) -> int:
                return number

    with refused("returns instead of yielding"):

        class Returns(Source[int]):
            async def read(self, resume: Any, /) -> Any:
                return Batch([1])


def test_hooks_are_async() -> None:
    with refused("open is awaited; write `async def open"):

        class Eager(Transformer[int, int]):
            def open(self) -> None:  # type: ignore[override]
                return None

            def process(self, number: int, /) -> int:
                return number


def test_a_vectorised_handler_takes_and_returns_sequences() -> None:
    with refused(r"must take and return a sequence of payloads; write `def process_batch"):

        class Wrong(Transformer[int, int]):
            def process_batch(self, batch: int, /) -> int:
                return batch

    class Right(Transformer[int, int]):
        def process_batch(self, batch: Sequence[int], /) -> list[int]:
            return list(batch)

    assert Right.contract().batch is not None


def test_fields_are_validated_and_unknown_ones_refused() -> None:
    class Sized(Transformer[int, int]):
        size: int = Field(default=3, gt=0)
        names: list[str] = Field(default_factory=list)

        def process(self, number: int, /) -> int:
            return number

    assert (Sized().size, Sized(size=5).size, Sized(names=["a"]).names) == (3, 5, ["a"])
    with pytest.raises(ValidationError, match="greater than 0"):
        Sized(size=0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Sized(sise=1)  # type: ignore[call-arg]
    assert Sized().names is not Sized().names


def test_a_subclass_inherits_fields_ports_and_types() -> None:
    class Base(Transformer[T, T]):
        factor: int = 2

        def process(self, payload: T, /) -> T:
            return payload

    class Narrow(Base[int]):
        offset: int = 1

    narrow = Narrow(factor=4)
    assert (narrow.factor, narrow.offset) == (4, 1)
    assert Narrow.contract().ins["in"].type is int


def test_a_forward_reference_is_resolved_at_first_use() -> None:
    class Later(Transformer["Ticket", "Ticket"]):
        def process(self, ticket: Ticket, /) -> Ticket:
            return ticket

    assert Later.contract().handlers["in"].shape is Shape.ONE


class Ticket:
    """Defined after it was mentioned."""


def test_outputs_emit_and_know_their_name() -> None:
    class Sort(Splitter[int]):
        low = Out(int)
        high = Out(int)

        def process(self, number: int, /) -> Emission:
            return self.low(number)

    assert Sort().process(3) == Emission("low", 3)
