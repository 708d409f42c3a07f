"""Lengths of time as people write them."""

# ruff: noqa: E501  a row of a table is one line

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from autocoder.durations import Duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("1s", 1), ("2m", 120), ("1h", 3600), ("1d", 86400), ("1.5s", 1.5), (" 2 s ", 2), ("3", 3), (3, 3), (0.5, 0.5), (0, 0)],
)  # fmt: skip
def test_read(text: Any, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "1x", "-1s", "1s2", "1h30m", "1 000ms", "1e3s", True, None, [1], -1, float("inf"), float("nan")]
)
def test_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a"):
        parse_duration(text)


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_units_are_multiples_of_a_second(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * parse_duration(f"1{unit}"))


def test_a_field_takes_both() -> None:
    field = TypeAdapter(Duration)
    assert (field.validate_python("250ms"), field.validate_python(2)) == (0.25, 2.0)
    with pytest.raises(ValidationError):
        field.validate_python("soon")
