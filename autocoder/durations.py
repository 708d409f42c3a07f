"""Lengths of time as people write them: `100ms`, `1s`, `2m`, `1h`, `1d`; a bare number means seconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

DURATION_PATTERN: Final = r"^\d+(\.\d+)?(ms|s|m|h|d)?$"
_PARTS: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
# The very first and last ones of `datetime` are infinite to PostgreSQL's driver, which gives them back without a zone.
FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)


def parse_duration(value: Any) -> float:
    """Seconds, from a number of them or a text with a unit; raises ValueError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = _PARTS.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError("must be a duration such as 100ms, 1s, 2m or 1h")
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("must be a finite duration of zero or more")
    return seconds


def later(moment: datetime, seconds: float) -> datetime:
    """The moment so many seconds after another one (before it, if negative), or the last or first that databases keep."""
    try:
        return min(max(moment + timedelta(seconds=seconds), FIRST), LAST)
    except OverflowError:
        return LAST if seconds > 0 else FIRST


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}],
            "description": "seconds, or a duration such as 100ms, 1s, 2m, 1h",
        }
    ),
]
"""A field of seconds that a pipeline may write as `30s`: `timeout: Duration = 30.0`."""
