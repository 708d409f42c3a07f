"""Takes over assessments that an older event system exported: JSON Lines, every status, in batches, again and again.

A line that was taken over is known by its id when the file is read again, so an import that was killed goes on where it
stopped. What cannot be taken over is refused by line, with the reason; it holds nothing else back.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TextIO

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder_components.assessments.lifecycle.errors import InvalidRequestError
from autocoder_components.assessments.lifecycle.legacy import (
    BYTE_ORDER_MARK,
    LONGEST_LINE,
    LegacyAssessment,
    UnreadableError,
    read_legacy,
    read_line,
)
from autocoder_components.assessments.lifecycle.requests import LONGEST_NAME, NewAssessment, is_same_request, judged
from autocoder_components.assessments.lifecycle.rows import claim_rank, insert_unless_there, with_trail
from autocoder_components.assessments.lifecycle.states import TERMINAL, Action, State
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.lifecycle.writing import BATCH, Writer
from autocoder_components.assessments.requests import SHORTEST_TIMEOUT

Release = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""Lets the older system give an assessment up, for ever; returns how it stands then, None where it is not known there."""
UNKNOWN_ERROR: Final = "the older system kept no reason"
MOST_CHARACTERS: Final = 8 * 1024 * 1024
"""So much of a file is held at once, beside one line."""
AHEAD: Final = timedelta(days=1)
"""So far may the clock of the older system be ahead."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not taken over. `line` counts from 1."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What became of every line: read = imported + known + refused.

    `promised` are those of the imported whose retries were used up, and which get the one that the older system promised.
    """

    read: int = 0
    imported: int = 0
    known: int = 0
    promised: int = 0
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        """Note a line that is not taken over."""
        self.refused.append(Refused(line, reason))


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    legacy: LegacyAssessment
    row: dict[str, Any]


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a file; of one that is longer than any assessment, no more is held than shows that it is."""
    while line := file.readline(LONGEST_LINE + 2):
        rest = line
        while len(rest) > LONGEST_LINE // 2 and not rest.endswith("\n"):
            rest = file.readline(LONGEST_LINE)
        yield line


async def import_legacy(writer: Writer, lines: Iterable[str], release: Release | None = None) -> ImportReport:
    """Take over exported assessments; see `AssessmentStore.import_legacy`."""
    report = ImportReport()
    for batch in batches(lines):
        found: dict[str, _Line] = {}
        for number, line in batch:
            if not line.strip():
                continue
            report.read += 1
            try:
                legacy = read_line(line)
                if legacy.assessment_id in found:
                    raise UnreadableError(f"line {found[legacy.assessment_id].number} has this id, too")
                found[legacy.assessment_id] = _Line(number, legacy, row_of(legacy, writer))
            except (UnreadableError, InvalidRequestError) as error:
                report.refuse(number, str(error))
        if found and release is not None:
            found = await _released(writer, found, report, release)
        if found:
            await _take_over(writer, found, report)
    return report


def batches(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """The lines with their numbers from 1, a bounded part at a time."""
    batch, size = list[tuple[int, str]](), 0
    for number, line in enumerate(lines, 1):
        if batch and (len(batch) == BATCH or size + len(line) > MOST_CHARACTERS):
            yield batch
            batch, size = [], 0
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)  # noqa: PLW2901
        batch.append((number, line))
        size += len(line)
    if batch:
        yield batch


async def _released(
    writer: Writer, found: dict[str, _Line], report: ImportReport, release: Release
) -> dict[str, _Line]:
    """The lines as they stand once the older system has given up those that have not ended.

    What is in the store already was given up before. A kill between the two leaves an assessment that nobody works on and
    that is still in the export: it is given up again, and taken over.
    """
    async with writer.database.reading() as connection:
        there = await _requests_of(connection, list(found))
        deleted = await deleted_of(connection, [each for each in found if each not in there])
    kept = dict(found)
    for assessment_id, line in found.items():
        if assessment_id in deleted:
            del kept[assessment_id]  # it will not be taken over, so the older system must not give it up
            report.refuse(line.number, was_deleted(assessment_id))
            continue
        if assessment_id in there or (line.legacy.has_ended and line.legacy.next_retry_at is None):
            continue
        standing = await release(assessment_id)
        if standing is None:
            continue
        try:
            legacy = read_legacy(standing)
            if legacy.assessment_id != assessment_id:
                raise UnreadableError("the older system answered with another assessment")
            kept[assessment_id] = _Line(line.number, legacy, row_of(legacy, writer))
        except (UnreadableError, InvalidRequestError) as error:
            del kept[assessment_id]
            report.refuse(line.number, f"as it stands now: {error}")
    return kept


async def _take_over(writer: Writer, found: dict[str, _Line], report: ImportReport) -> None:
    async def work(connection: AsyncConnection) -> tuple[set[str], dict[str, str]]:
        made = await insert_unless_there(connection, [each.row for each in found.values()], list(found))
        trail = [_entry(each.row, writer) for each in found.values() if each.row["assessment_id"] in made]
        if trail:
            await connection.execute(sa.insert(assessment_state_audit), trail)
        waiting = [name for name, each in found.items() if name in made and each.row["state"] == State.PENDING]
        await writer.send(connection, waiting)
        return made, await _requests_of(connection, [each for each in found if each not in made])

    made, there = await writer.do(work)
    await writer.cache.changed_otherwise(*made)
    report.imported += len(made)
    for assessment_id, line in found.items():
        if assessment_id in made:
            report.promised += line.legacy.is_promised_more
        elif assessment_id not in there:
            report.refuse(line.number, was_deleted(assessment_id))
        elif is_same_request(there[assessment_id], line.row["request_data"]):
            report.known += 1
        else:
            report.refuse(line.number, f"the id {assessment_id!r} is taken by another assessment")


async def deleted_of(connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Those of these ids whose assessments were here and are deleted."""
    known = await with_trail(connection, ids)
    return known - (await _requests_of(connection, sorted(known))).keys()


def was_deleted(assessment_id: str) -> str:
    """Why a line is not taken over whose assessment is deleted, and what is to be done."""
    return f"the assessment {assessment_id!r} was here and is deleted; leave the line out, or give it another id"


async def _requests_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    table = assessment_states.c
    query = sa.select(table.assessment_id, table.request_data).where(table.assessment_id.in_(ids))
    return {each.assessment_id: each.request_data for each in await connection.execute(query)}


def row_of(legacy: LegacyAssessment, writer: Writer) -> dict[str, Any]:
    """The columns that an assessment of an older system gets. Raises UnreadableError and InvalidRequestError."""
    if legacy.created_at > writer.clock() + AHEAD:
        raise UnreadableError("created_at: lies in the future")
    if len(legacy.server_name or "") > LONGEST_NAME:  # what an index does not take would cost the whole batch
        raise UnreadableError(f"server_name: has more than {LONGEST_NAME} characters; shorten it in the export")
    # Nobody is at it any more: what was being worked on waits again.
    state = State.PENDING if legacy.status is State.PROCESSING else legacy.status
    ended = state in TERMINAL
    updated = legacy.updated_at or legacy.created_at
    request, data = _request(legacy, writer)
    most = writer.policy.max_retries if legacy.max_retries is None else legacy.max_retries
    # A retry that the older system has promised is one of them, whatever its own count says; the report tells of it.
    least = legacy.retry_count + (legacy.next_retry_at is not None)
    return {
        "assessment_id": legacy.assessment_id,
        "state": state,
        "assessment_type": legacy.assessment_type,
        "source": legacy.source,
        "server_name": (legacy.server_name or None) if request is None else request.server_name,
        "request_data": data,
        "result_data": _json(legacy.result or {}) if state is State.COMPLETED else None,
        "error_message": (legacy.error or UNKNOWN_ERROR) if state is State.FAILED else None,
        "message": None if state is State.PENDING else legacy.message,
        "progress": 100 if state is State.COMPLETED else min(legacy.progress, 99) if ended else 0,
        "priority": legacy.priority,
        "claim_rank": claim_rank(legacy.created_at, legacy.priority, writer.policy),
        "retry_count": legacy.retry_count,
        "max_retries": max(most, least),
        "next_retry_at": legacy.next_retry_at,
        "timeout_seconds": min(max(legacy.timeout or writer.policy.timeout, SHORTEST_TIMEOUT), writer.policy.timeout),
        "created_at": legacy.created_at,
        "updated_at": updated,
        "completed_at": (legacy.completed_at or max(updated, legacy.created_at)) if ended else None,
    }


def _request(legacy: LegacyAssessment, writer: Writer) -> tuple[NewAssessment | None, str]:
    """The request as it is stored; what has ended keeps options that are not known here, what waits has to do without."""
    asked: dict[str, Any] = {
        "assessmentType": legacy.assessment_type,
        "source": legacy.source,
        "priority": legacy.priority,
    }
    said = {"serverName": legacy.server_name, "timestamp": legacy.timestamp}
    asked |= {name: value for name, value in said.items() if value}  # some write "" for none, and "" names no server
    goes_on = not legacy.has_ended or legacy.next_retry_at is not None
    try:
        new = judged({**asked, "id": legacy.assessment_id, "options": legacy.options}, writer.policy)
    except InvalidRequestError:
        if goes_on:
            raise
        return None, _json({**asked, "options": legacy.options})
    return new, new.data


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _entry(row: dict[str, Any], writer: Writer) -> dict[str, Any]:
    return {
        "assessment_id": row["assessment_id"],
        "old_state": None,
        "new_state": row["state"],
        "version_from": None,
        "version_to": 1,
        "changed_by": writer.actor.name,
        "change_reason": "taken over from an export",
        "change_action": Action.IMPORT,
        "created_at": writer.clock(),
    }
