"""Arguments of the store's operations, judged before a database is asked: what it cannot take is told by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from autocoder import storable
from autocoder_components.assessments.lifecycle.errors import AssessmentNotFoundError, InvalidArgumentError
from autocoder_components.assessments.lifecycle.tables import LONGEST_ID
from autocoder_components.assessments.reports.text import cut

MOST_ROWS: Final = 2**31 - 2
"""More are no page; the databases' limit takes one more."""
MOST_ID: Final = 2**63 - 1
"""The largest number that a database gives a row."""
MOST_DAYS: Final = 36_525
"""A hundred years: no row is older, and what lies further back may be no date."""
MOST_SECONDS: Final = MOST_DAYS * 86_400


def within(name: str, value: float, least: float, most: float) -> None:
    """Raise InvalidArgumentError unless `least` <= `value` <= `most`; not a number is neither."""
    if not least <= value <= most:
        raise InvalidArgumentError(f"{name}: a number from {least:,} to {most:,}; found {value:.10g}")


def is_text(text: str) -> bool:
    """Whether databases take it: no half of a surrogate pair, no null character."""
    return storable(text) == text


def refuse_no_id(assessment_id: str) -> None:
    """Raise AssessmentNotFoundError for what no assessment can be called, since no database can be asked for it."""
    if not assessment_id.isprintable() or len(assessment_id) > LONGEST_ID:
        raise AssessmentNotFoundError(cut(assessment_id, LONGEST_ID))


def result_text(result: Mapping[str, Any]) -> str:
    """A result as it is stored. Raises InvalidArgumentError for one that is no JSON."""
    try:
        return json.dumps(result, sort_keys=True, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"result: no JSON: {error}") from None
