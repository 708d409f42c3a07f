"""The tables that remember results of assessments, on SQLite and PostgreSQL alike, and the statements that fill them.

A result is written by deleting what is stored under its id and inserting it anew, in the caller's transaction: plain
SQL of every database, and the same rows however often it is repeated. (Insert-or-ignore was rejected: a repeated run
that found something else would leave a mixture.) Nothing here holds a secret's value or the text of a configuration.

Results live in two places, and that stays so. These tables are those of assessments that are run once: whoever has just the
pipeline has them, by finding, so that runs can be compared. An assessment of the lifecycle has its result in its own row
(`assessment_states.result_data`), as one document: it is written by the statement that completes the assessment, is read with
the state by who waits, goes when retention deletes the row, and may come from elsewhere (an importer, another worker) and be no
result of ours at all. One home for both would be a row of the lifecycle for each `autocoder assess`, with states and an audit
trail that nobody reads, or a verdict in two tables that a crash, a cleanup or an import could tear apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Executable,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator, TypeEngine

from autocoder_components.assessments.model import Assessment, Finding, Request, Severity
from autocoder_components.assessments.reports.json_report import json_document
from autocoder_components.assessments.reports.order import facts_of, worst_first
from autocoder_components.assessments.reports.text import moment, stamp, visible

Rows = list[dict[str, Any]]
SUMMARY_SCOPE = "summary"
"""The scope of what keeps its numbers alone; no hash is like it."""


class UtcMicroseconds(TypeDecorator[datetime]):
    """An aware instant: `timestamptz` on PostgreSQL, elsewhere text `2026-11-21T03:54:34.123456Z` that sorts as time.

    Comes back in UTC. A naive datetime is refused with ValueError, for it names no instant.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        native = dialect.name == "postgresql"
        return dialect.type_descriptor(DateTime(timezone=True) if native else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no offset from UTC")
        return value.astimezone(UTC) if dialect.name == "postgresql" else stamp(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if isinstance(value, datetime) else moment(value)


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


metadata = MetaData()

assessment_results = Table(
    "assessment_results",
    metadata,
    Column("assessment_id", Text, nullable=False),
    Column("assessment_type", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("started_at", UtcMicroseconds, nullable=False),
    Column("finished_at", UtcMicroseconds, nullable=False),
    Column("score", Integer, nullable=True),
    Column("coverage", Float, nullable=False),
    Column("judged", Integer, nullable=False),
    Column("planned", Integer, nullable=False),
    Column("files", Integer, nullable=False),
    Column("servers", Integer, nullable=False),
    *(Column(f"{severity}_count", Integer, nullable=False) for severity in Severity),
    Column("rule_pack", Text, nullable=False),
    Column("baseline", Text, nullable=True),
    Column("report", JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"), nullable=True),
    PrimaryKeyConstraint("assessment_id", name="pk_assessment_results"),
    CheckConstraint("length(assessment_id) > 0", name="ck_assessment_results_id"),
    CheckConstraint("length(assessment_type) > 0", name="ck_assessment_results_type"),
    CheckConstraint("finished_at >= started_at", name="ck_assessment_results_times"),
    CheckConstraint(
        "length(started_at) = 27 AND length(finished_at) = 27", name="ck_assessment_results_utc_text"
    ).ddl_if(dialect="sqlite"),
    CheckConstraint("score BETWEEN 0 AND 100", name="ck_assessment_results_score"),
    CheckConstraint("coverage BETWEEN 0 AND 1", name="ck_assessment_results_coverage"),
    CheckConstraint("judged BETWEEN 0 AND planned", name="ck_assessment_results_judged"),
    CheckConstraint("files >= 0 AND servers >= 0", name="ck_assessment_results_targets"),
    CheckConstraint(
        " AND ".join(f"{severity}_count >= 0" for severity in Severity), name="ck_assessment_results_counts"
    ),
    comment="One row per finished assessment",
)
Index(
    "ix_assessment_results_newest",
    assessment_results.c.finished_at.desc(),
    assessment_results.c.assessment_id.desc(),
)
Index(
    "ix_assessment_results_last_of_scope",
    assessment_results.c.scope,
    assessment_results.c.finished_at.desc(),
    assessment_results.c.assessment_id.desc(),
)

assessment_findings = Table(
    "assessment_findings",
    metadata,
    Column("assessment_id", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("column", Integer, nullable=False),
    Column("pointer", Text, nullable=False),
    Column("server", Text, nullable=True),
    Column("message", Text, nullable=False),
    PrimaryKeyConstraint("assessment_id", "ordinal", name="pk_assessment_findings"),
    ForeignKeyConstraint(
        ["assessment_id"],
        ["assessment_results.assessment_id"],
        name="fk_assessment_findings_assessment_id",
        ondelete="CASCADE",
    ),
    CheckConstraint("ordinal >= 0", name="ck_assessment_findings_ordinal"),
    CheckConstraint("length(fingerprint) > 0", name="ck_assessment_findings_fingerprint"),
    CheckConstraint(
        _one_of("severity", [severity.value for severity in Severity]), name="ck_assessment_findings_severity"
    ),
    CheckConstraint('line >= 1 AND "column" >= 1', name="ck_assessment_findings_place"),
    comment="The findings of each assessment, worst first (ordinal 0 is the worst)",
)
Index(
    "ix_assessment_findings_file",
    assessment_findings.c.file,
    assessment_findings.c.assessment_id,
    assessment_findings.c.ordinal,
)
Index("ix_assessment_findings_fingerprint", assessment_findings.c.fingerprint, assessment_findings.c.assessment_id)


def scope_of(request: Request) -> str:
    """What makes two assessments comparable: a hash of type, paths, names of inline candidates, filters and checks.

    Paths count as they are written, in any order: hand over absolute ones if the working folder may change.
    """
    asked = {
        "type": request.assessment_type,
        "paths": sorted(request.paths),
        "candidates": sorted(candidate.name for candidate in request.candidates),
        "servers": sorted(request.server_filter),
        "config": request.validate_config,
        "security": request.check_security,
        # Said only where it is asked for, so that what was stored before there were probes stays comparable.
        **({"status": True} if request.check_server_status else {}),
        **({"deep": True} if request.deep_scan else {}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def save_statements(assessment: Assessment, *, with_report: bool = True) -> list[tuple[Executable, Rows]]:
    """The statements, each with its rows, that store `assessment` when executed in this order in one transaction.

    Executed twice they leave the same rows; for an id that is stored already the new result replaces the old one
    whole. Without `with_report` the row keeps the numbers and findings and no report; of a request that says not to save its
    results there are the numbers alone. Raises ValueError when a time of the assessment is not ISO 8601 with an offset. No
    statement comes with an empty list of rows.
    """
    saved = assessment.request.save_results
    assessment_id = visible(assessment.request.assessment_id)
    key: Rows = [{"stored_id": assessment_id}]
    kept = worst_first(assessment.findings) if saved else []
    findings = [_finding_row(assessment_id, ordinal, finding) for ordinal, finding in enumerate(kept)]
    statements: list[tuple[Executable, Rows]] = [
        (delete(table).where(table.c.assessment_id == bindparam("stored_id")), key)
        for table in (assessment_findings, assessment_results)
    ]
    statements.append((insert(assessment_results), [_result_row(assessment, assessment_id, with_report and saved)]))
    if findings:
        statements.append((insert(assessment_findings), findings))
    return statements


def _result_row(assessment: Assessment, assessment_id: str, with_report: bool) -> dict[str, Any]:
    score, facts = assessment.score, facts_of(assessment)
    return {
        "assessment_id": assessment_id,
        "assessment_type": visible(assessment.request.assessment_type),
        # Without its findings a run is nothing to compare another one with.
        "scope": scope_of(assessment.request) if assessment.request.save_results else SUMMARY_SCOPE,
        "started_at": moment(assessment.started_at),
        "finished_at": moment(assessment.finished_at),
        "score": score.value,
        "coverage": score.coverage,
        "judged": facts.judged,
        "planned": facts.planned,
        "files": facts.files,
        "servers": facts.servers,
        **{f"{severity}_count": score.counts.get(severity, 0) for severity in Severity},
        "rule_pack": visible(score.rule_pack),
        "baseline": None if assessment.baseline is None else visible(assessment.baseline),
        "report": json_document(assessment) if with_report else None,
    }


def _finding_row(assessment_id: str, ordinal: int, finding: Finding) -> dict[str, Any]:
    place = finding.place
    return {
        "assessment_id": assessment_id,
        "ordinal": ordinal,
        "fingerprint": finding.fingerprint,
        "rule": visible(finding.rule),
        "severity": finding.severity.value,
        "file": visible(place.file),
        "line": place.line,
        "column": place.column,
        "pointer": visible(place.pointer),
        "server": None if finding.server is None else visible(finding.server),
        "message": visible(finding.message),
    }


def last_run(request: Request) -> Select[tuple[str]]:
    """The id of the last finished assessment of the same scope as `request`, itself excepted; no row when none was."""
    results = assessment_results.c
    return (
        select(results.assessment_id)
        .where(results.scope == scope_of(request), results.assessment_id != visible(request.assessment_id))
        .order_by(results.finished_at.desc(), results.assessment_id.desc())
        .limit(1)
    )


async def last_run_fingerprints(connection: AsyncConnection, request: Request) -> frozenset[str] | None:
    """The fingerprints that the last assessment of the same scope found, or None when there was no such assessment."""
    assessment_id = (await connection.execute(last_run(request))).scalar_one_or_none()
    if assessment_id is None:
        return None
    of_run = select(assessment_findings.c.fingerprint).where(assessment_findings.c.assessment_id == assessment_id)
    return frozenset((await connection.execute(of_run)).scalars())


def runs_newest_first(limit: int, *, before: tuple[datetime, str] | None = None) -> Select[Any]:
    """At most `limit` results without their reports, newest first; `before` is the last row's (finished_at, id)."""
    results = assessment_results.c
    page = select(*(column for column in results if column.name != "report"))
    if before is not None:
        finished_at, assessment_id = before
        page = page.where(
            (results.finished_at < finished_at)
            | ((results.finished_at == finished_at) & (results.assessment_id < assessment_id))
        )
    return page.order_by(results.finished_at.desc(), results.assessment_id.desc()).limit(limit)


def findings_of_last_run(request: Request, file: str) -> Select[Any]:
    """The findings that the last assessment of the same scope made in `file`, worst first."""
    findings = assessment_findings.c
    return (
        select(assessment_findings)
        .where(findings.assessment_id == last_run(request).scalar_subquery(), findings.file == visible(file))
        .order_by(findings.ordinal)
    )


def counts_of(row: Mapping[str, Any]) -> dict[Severity, int]:
    """The counts by severity that a row of `assessment_results` holds, worst first."""
    return {severity: row[f"{severity}_count"] for severity in Severity}
