"""Takes over assessments that an older event system exported: JSON Lines, every status, in batches, again and again.

A line that was taken over is known by its id when the file is read again, so an import that was killed goes on where it
stopped. What cannot be taken over is refused by line, with the reason; it holds nothing else back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
from pydantic import AliasChoices, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder_components.assessments.lifecycle.errors import InvalidRequestError
from autocoder_components.assessments.lifecycle.requests import MOST_BYTES, judged
from autocoder_components.assessments.lifecycle.rows import claim_rank
from autocoder_components.assessments.lifecycle.states import TERMINAL, Action, Policy, State
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.lifecycle.writing import BATCH, Writer
from autocoder_components.assessments.requests import AssessmentId

OTHER_WORDS: Final = {
    "requested": "pending",
    "queued": "pending",
    "started": "processing",
    "running": "processing",
    "in_progress": "processing",
    "done": "completed",
    "success": "completed",
    "error": "failed",
    "canceled": "cancelled",
}
"""What other systems call the five states."""
UNKNOWN_ERROR: Final = "the older system kept no reason"


def _named(*names: str, **options: Any) -> Any:
    return Field(validation_alias=AliasChoices(*names), **options)


class LegacyAssessment(BaseModel):
    """A line of an export. Names are understood in both spellings; what is not known here is refused, not lost."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    assessment_id: AssessmentId = _named("assessment_id", "assessmentId", "id")
    status: Annotated[State, BeforeValidator(lambda v: OTHER_WORDS.get(v, v) if isinstance(v, str) else v)] = _named(
        "status", "state"
    )
    server_name: str | None = _named("server_name", "serverName", default=None, max_length=1000)
    assessment_type: Literal["security", "health", "compliance"] = _named(
        "assessment_type", "assessmentType", default="security"
    )
    options: dict[str, Any] = Field(default_factory=dict)
    source: Literal["installer", "compliance"] = "compliance"
    timestamp: str | None = None
    priority: int = Field(default=5, ge=1, le=10)
    progress: int = Field(default=0, ge=0, le=100)
    result: dict[str, Any] | None = _named("result", "result_data", "resultData", default=None)
    error: str | None = _named("error", "error_message", "errorMessage", default=None)
    created_at: AwareDatetime = _named("created_at", "createdAt")
    updated_at: AwareDatetime | None = _named("updated_at", "updatedAt", default=None)
    completed_at: AwareDatetime | None = _named("completed_at", "completedAt", default=None)


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not taken over. `line` counts from 1."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What became of every line: read = imported + known + refused."""

    read: int = 0
    imported: int = 0
    known: int = 0
    refused: list[Refused] = field(default_factory=list)


async def import_legacy(writer: Writer, lines: Iterable[str]) -> ImportReport:
    """Take over exported assessments; see `AssessmentStore.import_legacy`."""
    report, numbered = ImportReport(), enumerate(lines, 1)
    while batch := list(islice(numbered, BATCH)):
        rows: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, line in batch:
            if not line.strip():
                continue
            report.read += 1
            try:
                row = _row(line, writer)
                if row["assessment_id"] in rows:
                    raise ValueError(f"line {rows[row['assessment_id']][0]} has this id, too")
            except ValueError as error:
                report.refused.append(Refused(number, _said(error)))
                continue
            except InvalidRequestError as error:
                report.refused.append(Refused(number, str(error)))
                continue
            rows[row["assessment_id"]] = (number, row)
        if rows:
            await _take_over(writer, rows, report)
    return report


async def _take_over(writer: Writer, rows: dict[str, tuple[int, dict[str, Any]]], report: ImportReport) -> None:
    async def work(connection: AsyncConnection) -> tuple[set[str], dict[str, str]]:
        dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
        insert = (
            dialect.insert(assessment_states)
            .on_conflict_do_nothing(index_elements=["assessment_id"])
            .returning(assessment_states.c.assessment_id)
        )
        made = set((await connection.execute(insert, [row for _, row in rows.values()])).scalars())
        trail = [_entry(row, writer) for _, row in rows.values() if row["assessment_id"] in made]
        if trail:
            await connection.execute(sa.insert(assessment_state_audit), trail)
        await writer.send(connection, [each for each, (_, row) in rows.items() if each in made and _waits(row)])
        return made, await _requests_of(connection, [each for each in rows if each not in made])

    made, there = await writer.do(work)
    report.imported += len(made)
    for assessment_id, (number, row) in rows.items():
        if assessment_id in made:
            continue
        if there.get(assessment_id) == row["request_data"]:
            report.known += 1
        else:
            report.refused.append(Refused(number, f"the id {assessment_id!r} is taken by another assessment"))


async def _requests_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    table = assessment_states.c
    query = sa.select(table.assessment_id, table.request_data).where(table.assessment_id.in_(ids))
    return {each.assessment_id: each.request_data for each in await connection.execute(query)}


def _waits(row: dict[str, Any]) -> bool:
    return bool(row["state"] == State.PENDING)


def _row(line: str, writer: Writer) -> dict[str, Any]:
    if len(line) > 2 * MOST_BYTES:
        raise ValueError(f"the line has {len(line):,} characters, {2 * MOST_BYTES:,} are allowed")
    legacy = LegacyAssessment.model_validate(json.loads(line))
    # Nobody is at it any more: what was being worked on waits again.
    state = State.PENDING if legacy.status is State.PROCESSING else legacy.status
    ended = state in TERMINAL
    updated = legacy.updated_at or legacy.created_at
    return {
        "assessment_id": legacy.assessment_id,
        "state": state,
        "assessment_type": legacy.assessment_type,
        "source": legacy.source,
        "server_name": legacy.server_name,
        "request_data": _request(legacy, ended=ended, policy=writer.policy),
        "result_data": json.dumps(legacy.result or {}, sort_keys=True) if state is State.COMPLETED else None,
        "error_message": (legacy.error or UNKNOWN_ERROR) if state is State.FAILED else None,
        "progress": 100 if state is State.COMPLETED else min(legacy.progress, 99) if ended else 0,
        "priority": legacy.priority,
        "claim_rank": claim_rank(legacy.created_at, legacy.priority, writer.policy),
        "max_retries": writer.policy.max_retries,
        "timeout_seconds": writer.policy.timeout,
        "created_at": legacy.created_at,
        "updated_at": updated,
        "completed_at": (legacy.completed_at or updated) if ended else None,
    }


def _request(legacy: LegacyAssessment, *, ended: bool, policy: Policy) -> str:
    """The request as it is stored; what has ended keeps options that are not known here, what waits has to do without."""
    asked: dict[str, Any] = {
        "assessmentType": legacy.assessment_type,
        "source": legacy.source,
        "priority": legacy.priority,
    }
    if legacy.server_name is not None:
        asked["serverName"] = legacy.server_name
    if ended:
        return json.dumps({**asked, "options": legacy.options}, sort_keys=True, separators=(",", ":"))
    return judged({**asked, "id": legacy.assessment_id, "options": legacy.options}, policy).data


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


def _said(error: ValueError) -> str:
    """What is wrong with a line, without quoting it."""
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} at column {error.colno}"
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'line'}: {each['msg']}" for each in found)
    return str(error)
