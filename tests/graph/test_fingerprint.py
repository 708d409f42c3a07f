"""The shape of a type is that of this very type, whatever other types were asked for before."""

from __future__ import annotations

from dataclasses import make_dataclass
from itertools import permutations
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from autocoder.codec import Codec
from autocoder.fingerprint import described


@pytest.mark.parametrize("wrapped", [lambda hint: hint, lambda hint: list[hint]])
def test_types_that_are_equal_and_read_otherwise_have_shapes_of_their_own(wrapped: Any) -> None:
    first, second = wrapped(int | bytes), wrapped(bytes | int)
    assert first == second
    assert TypeAdapter(first).json_schema() != TypeAdapter(second).json_schema()
    assert described(first)["shape"] != described(second)["shape"]


def test_classes_of_one_name_have_shapes_of_their_own_and_payloads_of_their_own() -> None:
    kinds = [make_dataclass("Ticket", [("number", kind)]) for kind in (int, str, int)]
    for some in permutations(kinds):
        shapes = [described(each)["shape"] for each in some]
        assert [shapes[some.index(each)] == shapes[some.index(kinds[0])] for each in kinds] == [True, False, True]
    for each in kinds:
        assert type(Codec(each).decode('{"number": "7"}')) is each


def test_what_cannot_be_hashed_has_a_shape() -> None:
    few = Annotated[list[int], {"unit": "m"}]
    with pytest.raises(TypeError):
        hash(few)
    assert described(few)["shape"]
    assert Codec(few).decode("[1]") == [1]
