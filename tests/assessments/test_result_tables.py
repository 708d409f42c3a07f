"""The stored results, on a real SQLite file and a real PostgreSQL: the same rows whatever happens, and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from autocoder_components.assessments.model import Assessment, Candidate, Request, Severity
from autocoder_components.assessments.reports.json_report import json_document
from autocoder_components.assessments.tables import (
    UtcMicroseconds,
    assessment_findings,
    assessment_results,
    counts_of,
    findings_of_last_run,
    last_run_fingerprints,
    metadata,
    runs_newest_first,
    save_statements,
    scope_of,
)
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tests.assessments.examples import assessment, assessments, example, finding, outcome, target

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def tables(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def schema(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine that sees only a schema of its own, so that tests can share a server."""
    name = f"test_{uuid4().hex}"
    admin = create_async_engine(url)
    async with admin.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA {name}"))
    try:
        yield create_async_engine(url, connect_args={"server_settings": {"search_path": name}})
    finally:
        async with admin.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
        await admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    if request.param == "sqlite":
        async with tables(create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'results.db'}")) as ready:
            yield ready
    else:
        async with schema(request.getfixturevalue("postgres_url")) as empty, tables(empty) as ready:
            yield ready


async def save(engine: AsyncEngine, *all_of_them: Assessment) -> None:
    for one in all_of_them:
        async with engine.begin() as connection:
            for statement, rows in save_statements(one):
                await connection.execute(statement, rows)


async def everything(connection: AsyncConnection) -> tuple[list[Any], list[Any]]:
    results = await connection.execute(select(assessment_results).order_by(assessment_results.c.assessment_id))
    key = (assessment_findings.c.assessment_id, assessment_findings.c.ordinal)
    findings = await connection.execute(select(assessment_findings).order_by(*key))
    return list(results), list(findings)


def run(number: int, one: Assessment | None = None, *, finished: str | None = None) -> Assessment:
    one = one or example()
    identified = replace(one, request=replace(one.request, assessment_id=f"run-{number}"))
    return replace(identified, finished_at=finished or f"2026-11-21T09:00:{number:02}.000000Z")


async def test_a_result_and_its_findings_are_stored(engine: AsyncEngine) -> None:
    await save(engine, example())
    async with engine.connect() as connection:
        (result,), findings = await everything(connection)
    assert (result.assessment_id, result.assessment_type, result.score) == ("2026-0001", "security", 30)
    assert (result.judged, result.planned, result.files, result.servers) == (4, 7, 3, 4)
    assert result.started_at == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert result.finished_at == datetime(2026, 11, 21, 8, 0, 1, 250_000, tzinfo=UTC)
    assert counts_of(result._mapping) == dict.fromkeys(Severity, 1)
    assert result.report == json_document(example())
    assert [found.severity for found in findings] == list(Severity)
    worst = findings[0]
    assert (worst.rule, worst.file, worst.line, worst.column) == ("AC-SEC-001", "desktop/config.json", 7, 9)
    assert (worst.server, worst.pointer) == ("notes", "/mcpServers/notes/args/7")


async def test_stored_twice_are_the_same_rows(engine: AsyncEngine) -> None:
    await save(engine, example())
    async with engine.connect() as connection:
        once = await everything(connection)
    await save(engine, example())
    async with engine.connect() as connection:
        assert await everything(connection) == once


async def test_a_repeated_run_replaces_the_whole_of_the_first_and_nothing_of_others(engine: AsyncEngine) -> None:
    where = target("a.json", "s")
    await save(engine, run(1), run(2), run(1, assessment(outcome(where, finding("AC-SEC-003", where)))))
    async with engine.connect() as connection:
        results, findings = await everything(connection)
    assert [result.score for result in results] == [80, 30]
    assert [found.assessment_id for found in findings] == ["run-1"] + ["run-2"] * 5


async def test_awkward_text_is_stored_on_both_databases(engine: AsyncEngine) -> None:
    where = target("a\x00.json", "\ud800\x1b")
    await save(engine, assessment(outcome(where, finding("AC-SEC-001", where, message="nul \x00, half \udc00"))))
    async with engine.connect() as connection:
        _, (found,) = await everything(connection)
    assert (found.file, found.server, found.message) == (r"a\x00.json", r"\ud800\x1b", r"nul \x00, half \udc00")


async def test_an_assessment_of_nothing_has_no_score_and_no_findings(engine: AsyncEngine) -> None:
    await save(engine, assessment())
    async with engine.connect() as connection:
        (result,), findings = await everything(connection)
    assert (result.score, result.coverage, findings) == (None, 0.0, [])


async def test_without_the_report_the_numbers_and_findings_stay(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement, rows in save_statements(example(), with_report=False):
            await connection.execute(statement, rows)
        (result,), findings = await everything(connection)
        null = await connection.execute(text("SELECT count(*) FROM assessment_results WHERE report IS NULL"))
        assert null.scalar_one() == 1
    assert (result.report, result.score, len(findings)) == (None, 30, 5)


async def test_the_last_run_of_the_same_scope_is_found_and_never_itself(engine: AsyncEngine) -> None:
    where = target("a.json", "s")
    other = finding("AC-SEC-003", where)
    later = run(2, assessment(outcome(where, other)))
    elsewhere = run(3)
    elsewhere = replace(elsewhere, request=replace(elsewhere.request, paths=("elsewhere",)))
    async with engine.connect() as connection:
        assert await last_run_fingerprints(connection, run(1).request) is None
    await save(engine, run(1), later, elsewhere)
    async with engine.begin() as connection:  # the order is the query's, not that of an index it happens to walk
        await connection.execute(text("DROP INDEX ix_assessment_results_last_of_scope"))
    async with engine.connect() as connection:
        assert await last_run_fingerprints(connection, run(9).request) == {other.fingerprint}
        assert await last_run_fingerprints(connection, later.request) == {f.fingerprint for f in run(1).findings}
        assert await last_run_fingerprints(connection, elsewhere.request) is None


async def test_a_last_run_without_findings_is_not_the_same_as_none(engine: AsyncEngine) -> None:
    await save(engine, run(1), run(2, assessment(outcome(target("a.json", "s")))))
    async with engine.connect() as connection:
        assert await last_run_fingerprints(connection, run(3).request) == frozenset()


async def test_findings_of_the_last_run_in_a_file_come_worst_first(engine: AsyncEngine) -> None:
    await save(engine, run(1), run(2))
    async with engine.connect() as connection:
        found = list(await connection.execute(findings_of_last_run(run(3).request, "desktop/config.json")))
        assert list(await connection.execute(findings_of_last_run(run(3).request, "other.json"))) == []
    assert [(row.assessment_id, row.severity) for row in found] == [("run-2", severity) for severity in Severity]


async def test_runs_come_newest_first_in_pages_that_neither_skip_nor_repeat(engine: AsyncEngine) -> None:
    same_instant = "2026-11-21T09:30:00.000001Z"
    await save(engine, run(1), run(3, finished=same_instant), run(2, finished=same_instant), run(4))
    seen: list[str] = []
    before: tuple[datetime, str] | None = None
    async with engine.connect() as connection:
        while page := list(await connection.execute(runs_newest_first(2, before=before))):
            seen += [row.assessment_id for row in page]
            before = (page[-1].finished_at, page[-1].assessment_id)
    assert seen == ["run-3", "run-2", "run-4", "run-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"score": 101},
        {"score": -1},
        {"coverage": 1.5},
        {"judged": 8},
        {"high_count": -1},
        {"assessment_type": ""},
        {"rule_pack": None},
        {"finished_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_the_database_refuses_results_that_cannot_be(engine: AsyncEngine, change: dict[str, Any]) -> None:
    await save(engine, example())
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(update(assessment_results).values(change))


@pytest.mark.parametrize(
    "change", [{"severity": "bad"}, {"line": 0}, {"column": 0}, {"fingerprint": ""}, {"file": None}]
)
async def test_the_database_refuses_findings_that_cannot_be(engine: AsyncEngine, change: dict[str, Any]) -> None:
    await save(engine, example())
    with pytest.raises(IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(update(assessment_findings).values(change))


async def test_constraints_and_indexes_have_names(engine: AsyncEngine) -> None:
    def names(connection: Any) -> set[str | None]:
        seen = inspect(connection)
        found: set[str | None] = set()
        for table in metadata.tables:
            found |= {check["name"] for check in seen.get_check_constraints(table)}
            found |= {index["name"] for index in seen.get_indexes(table)}
            found |= {key["name"] for key in seen.get_foreign_keys(table)} | {seen.get_pk_constraint(table)["name"]}
        return found

    async with engine.connect() as connection:
        found = await connection.run_sync(names)
    assert None not in found
    expected = {constraint.name for table in metadata.tables.values() for constraint in table.constraints}
    expected |= {index.name for table in metadata.tables.values() for index in table.indexes}
    if engine.dialect.name != "sqlite":
        expected -= {"ck_assessment_results_utc_text"}
    assert found >= expected


async def test_the_queries_use_their_indexes(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'plan.db'}"
    async with tables(create_async_engine(url)) as engine, engine.connect() as connection:
        for query, index in (
            (runs_newest_first(10), "ix_assessment_results_newest"),
            (findings_of_last_run(run(1).request, "a.json"), "ix_assessment_findings_file"),
            (findings_of_last_run(run(1).request, "a.json"), "ix_assessment_results_last_of_scope"),
        ):
            sql = query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
            plan = "\n".join(row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
            assert index in plan
            assert "SCAN assessment_findings" not in plan


async def test_an_instant_without_an_offset_is_refused_and_any_offset_becomes_utc() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    kept = UtcMicroseconds().process_bind_param(
        datetime(2026, 1, 1, 1, 0, 0, 5, timezone(timedelta(hours=2))), engine.dialect
    )
    assert kept == "2025-12-31T23:00:00.000005Z"
    with pytest.raises(ValueError, match="has no offset from UTC"):
        UtcMicroseconds().process_bind_param(datetime(2026, 1, 1), engine.dialect)
    await engine.dispose()


@given(assessments())
def test_no_statement_comes_without_rows_and_none_holds_what_cannot_be_stored(one: Assessment) -> None:
    for _, rows in save_statements(one):
        assert rows
        assert "\x00" not in repr(rows)
        str(rows).encode("utf-8")


def test_an_inline_text_is_not_stored() -> None:
    inline = replace(example(), request=replace(example().request, candidates=(Candidate("hush"),)))
    assert "hush" not in repr(save_statements(inline)[2][1])


@given(st.permutations(["a", "b", "c"]))
def test_the_scope_is_what_was_asked_in_any_order(paths: list[str]) -> None:
    asked = Request("1", paths=("a", "b", "c"))
    assert scope_of(replace(asked, assessment_id="2", paths=tuple(paths))) == scope_of(asked)


@pytest.mark.parametrize(
    "other",
    [
        Request("1", paths=("b",)),
        Request("1", paths=("a",), assessment_type="health"),
        Request("1", paths=("a",), server_filter=("x*",)),
        Request("1", paths=("a",), check_security=False),
        Request("1", paths=("a",), candidates=(Candidate("{}"),)),
    ],
)
def test_what_was_asked_otherwise_is_another_scope(other: Request) -> None:
    assert scope_of(other) != scope_of(Request("1", paths=("a",)))
