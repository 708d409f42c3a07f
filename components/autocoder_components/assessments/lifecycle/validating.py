"""Whether an export is in the store, line by line, with what it had: the last look before an older system is switched off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from autocoder_components.assessments.lifecycle.errors import InvalidRequestError
from autocoder_components.assessments.lifecycle.importing import Refused, batches, deleted_of, row_of, was_deleted
from autocoder_components.assessments.lifecycle.legacy import UnreadableError, read_line
from autocoder_components.assessments.lifecycle.requests import is_same_request
from autocoder_components.assessments.lifecycle.states import TERMINAL
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.lifecycle.writing import Writer

_AS_IT_WAS: Final = ("request_data", "created_at", "priority", "assessment_type", "source")
_AS_IT_ENDED: Final = ("state", "result_data", "error_message", "completed_at")


@dataclass(slots=True)
class CheckReport:
    """What became of every line: read = there + missing + differing + refused."""

    read: int = 0
    there: int = 0
    missing: list[Refused] = field(default_factory=list)
    differing: list[Refused] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether everything is there, as it was."""
        return self.read == self.there


async def check_import(writer: Writer, lines: Iterable[str]) -> CheckReport:
    """Look for exported assessments; see `AssessmentStore.check_import`."""
    report = CheckReport()
    for batch in batches(lines):
        expected: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, line in batch:
            if not line.strip():
                continue
            report.read += 1
            try:
                row = row_of(read_line(line), writer)
                if row["assessment_id"] in expected:
                    raise UnreadableError(f"line {expected[row['assessment_id']][0]} has this id, too")
                expected[row["assessment_id"]] = (number, row)
            except (UnreadableError, InvalidRequestError) as error:
                report.refused.append(Refused(number, str(error)))
        if expected:
            stored, deleted = await _stored(writer, list(expected))
            for assessment_id, (number, row) in expected.items():
                if assessment_id in stored:
                    _judge(report, number, row, stored[assessment_id])
                else:
                    gone = was_deleted(assessment_id) if assessment_id in deleted else None
                    said = gone or f"assessment {assessment_id!r} is not in the store"
                    report.missing.append(Refused(number, said))
    return report


async def _stored(writer: Writer, ids: list[str]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """The rows of those that are there, and the ids of those that were."""
    query = sa.select(assessment_states).where(assessment_states.c.assessment_id.in_(ids))
    async with writer.database.reading() as connection:
        there = {each.assessment_id: each._asdict() for each in await connection.execute(query)}
        return there, await deleted_of(connection, [each for each in ids if each not in there])


def _judge(report: CheckReport, number: int, row: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    # What went on in the store since it was taken over has another end, and rightly so.
    ended_there = row["state"] in TERMINAL and stored["version"] == 1
    names = (*_AS_IT_WAS, *(_AS_IT_ENDED if ended_there else ()))
    wrong = [name for name in names if not _same(name, row[name], stored[name])]
    if wrong:
        said = f"assessment {row['assessment_id']!r} is another in the store: {', '.join(wrong)}"
        report.differing.append(Refused(number, said))
    else:
        report.there += 1


def _same(name: str, expected: Any, stored: Any) -> bool:
    if name == "request_data":
        return is_same_request(expected, stored)
    if isinstance(expected, str) and isinstance(stored, str) and expected[:1] == "{" == stored[:1]:
        return bool(json.loads(expected) == json.loads(stored))
    return bool(expected == stored)
