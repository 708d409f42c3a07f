"""A copy of the database: it answers while it keeps up, and whoever needs the newest never asks it.

A second database stands in for the copy: what it lacks, it has not replayed yet; `keep_up` is the replication.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle import currency
from autocoder_components.assessments.lifecycle import replica as replicas
from autocoder_components.assessments.lifecycle.errors import AssessmentNotFoundError
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.replica import MOST_WRITES, Replica
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.tables import (
    assessment_metrics,
    assessment_state_audit,
    assessment_states,
)
from autocoder_components.assessments.settings import ServiceSettings
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, UsageError, open_database, prepare
from tests.store.fresh import fresh_postgres, fresh_sqlite

pytestmark = pytest.mark.anyio
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
LAG = 300.0
_storage = currency._storage


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """A slow machine is no failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "PATIENCE_SECONDS", 60.0)
        yield


@pytest.fixture
async def copy_url(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where the copy is: a database of the same kind."""
    if url.startswith("sqlite"):
        yield fresh_sqlite(tmp_path, "copy.db")
        return
    async with fresh_postgres(request.getfixturevalue("postgres_url")) as made:
        yield made


@pytest.fixture
async def copy(copy_url: str) -> AsyncIterator[Database]:
    async with open_database(copy_url) as opened:
        await prepare(opened)
        yield opened


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def of_database(self, _: AsyncConnection) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which the copy is measured, and left alone, and that of the database."""
    made = Clock()
    monkeypatch.setattr(currency, "now_of", made.of_database)
    return made


@pytest.fixture
async def replica(database: Database, copy_url: str, watch: Clock) -> AsyncIterator[Replica]:
    made = Replica(copy_url, database, LAG, watch)
    yield made
    await made.close()


@pytest.fixture
async def reader(database: Database, replica: Replica) -> AsyncIterator[AssessmentStore]:
    """The store that may read the copy; others write."""
    made = AssessmentStore(database, replica=replica)
    yield made
    await made.close()


@pytest.fixture
async def writer(database: Database) -> AssessmentStore:
    """Another process."""
    return AssessmentStore(database, inbox=None)


async def keep_up(database: Database, copy: Database) -> None:
    """Let the copy have all that the database has, its heartbeat first."""
    async with database.transaction() as connection:
        await currency.beat(connection, await currency.now_of(connection))
        beats = [dict(each._mapping) for each in await connection.execute(sa.select(_storage))]
    async with copy.transaction() as target:
        await target.execute(sa.delete(_storage))
        await target.execute(sa.insert(_storage), beats)
    async with copy.transaction() as target:
        for table in (assessment_metrics, assessment_state_audit, assessment_states):
            await target.execute(sa.delete(table))
        for table in (assessment_states, assessment_state_audit, assessment_metrics):
            async with database.reading() as source:
                rows = [dict(each._mapping) for each in await source.execute(sa.select(table))]
            if rows:
                await target.execute(sa.insert(table), rows)


async def listed(store: AssessmentStore) -> set[str]:
    return {each.assessment_id for each in (await store.list_assessments()).assessments}


async def test_a_copy_that_keeps_up_answers_what_need_not_be_the_newest(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database
) -> None:
    await writer.batch_create([{"id": "a"}, {"id": "b"}])
    await keep_up(database, copy)
    await writer.cancel("b")
    assert await listed(reader) == {"a", "b"}
    assert (await reader.stats()).by_state[State.CANCELLED] == 0, "the copy has not heard of it"
    assert (await reader.get_state("b")).state is State.PENDING
    assert len(await reader.audit()) == 2
    assert replica.answers == 4
    assert (await reader.get_state("b", fresh=True)).state is State.CANCELLED
    assert len(await reader.audit(AuditFilters("b"), fresh=True)) == 2
    assert (await reader.wait_for_completion("b", 60)).state is State.CANCELLED
    reader._writer.cache._kept["b"].until = 0.0  # its time is over
    assert (await reader.get_state("b")).state is State.CANCELLED, "nothing older behind something newer"
    assert (await reader.health()).pending == 1
    assert replica.answers == 5, "which it was asked for, and the answer was not taken"


async def test_who_did_something_sees_it_whatever_the_copy_lacks(
    reader: AssessmentStore, replica: Replica, database: Database, copy: Database, watch: Clock
) -> None:
    await keep_up(database, copy)
    made = await reader.create({"id": "mine"})
    assert await listed(reader) == {"mine"}, "though the copy is not far behind"
    assert (await reader.get_state(made)).version == 1
    begun = await reader.start_processing(made)
    for change in ("progress", "complete"):
        if change == "progress":
            await reader.update_progress(made, 40)
        else:
            await reader.complete(made, {"score": 1}, attempt=begun.retry_count)
        reader._writer.cache.forget(made)
        seen = await reader.get_state(made)
        assert len(await reader.audit(AuditFilters(made))) == (3 if change == "progress" else 4)
        assert (seen.progress, seen.state) == (
            (40, State.PROCESSING) if change == "progress" else (100, State.COMPLETED)
        )
    late = await reader.create({"id": "late"})
    assert (await reader.get_state(late)).state is State.PENDING
    await reader.start_processing(late)
    await reader.fail(late, "no")
    assert await reader.batch_retry_failed() == [late]
    assert (await reader.get_state(late)).state is State.PENDING
    await reader.import_legacy(['{"id": "taken", "status": "done", "created_at": "2025-06-01T10:00:00Z"}'])
    assert (await reader.get_state("taken")).state is State.COMPLETED
    assert await listed(reader) == {"mine", "late", "taken"}
    assert (await reader.stats()).total_assessments == 3
    assert replica.answers == 0
    watch.now += 1
    reader._writer.cache.forget(made)
    assert (await reader.get_state(made)).version == 3 and replica.answers == 0, "it has not been copied yet"
    await keep_up(database, copy)
    watch.now += 1
    reader._writer.cache.forget(made)
    assert (await reader.get_state(made)).version == 3
    assert await listed(reader) == {"mine", "late", "taken"}
    assert replica.answers == 2


async def test_what_the_copy_lacks_is_the_database_s_word(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database
) -> None:
    await writer.create({"id": "a"})
    await keep_up(database, copy)
    await writer.create({"id": "b"})
    assert (await reader.get_state("b")).state is State.PENDING
    with pytest.raises(AssessmentNotFoundError):
        await reader.get_state("nobody")
    assert replica.answers == 2


async def test_a_copy_that_stands_still_is_not_asked_though_nothing_of_the_trail_is_new(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database, watch: Clock
) -> None:
    await writer.create({"id": "a"})
    await writer.cancel("a")
    await keep_up(database, copy)
    assert await writer.cleanup(0) == 1
    assert await listed(reader) == {"a"}, "it may be so far behind"
    watch.now += LAG + 0.1
    for _ in range(3):
        assert await listed(reader) == set()
        watch.now += 1
    assert replica.answers == 1
    await keep_up(database, copy)
    watch.now += 1
    assert await listed(reader) == set()
    assert replica.answers == 2


async def test_a_copy_in_use_keeps_up_with_nothing_but_the_heartbeat(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database, watch: Clock
) -> None:
    await writer.create({"id": "a"})
    await keep_up(database, copy)
    for _ in range(4):
        watch.now += LAG / 2
        assert await listed(reader) == {"a"}
        async with database.reading() as connection:
            beats = [dict(each._mapping) for each in await connection.execute(sa.select(_storage))]
        assert len(beats) == 1
        async with copy.transaction() as target:
            await target.execute(sa.delete(_storage))
            await target.execute(sa.insert(_storage), beats)
    assert replica.answers == 4


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_standby_is_as_new_as_its_last_commit_or_all_that_was_logged(database: Database) -> None:
    """Where nothing is written it has nothing to commit, and is not behind."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    before = now - timedelta(seconds=77)
    async with database.reading() as connection:
        ahead = sa.text("SELECT (pg_current_wal_insert_lsn() + 10000000)::text")
        position = (await connection.execute(ahead)).scalar_one()
        assert await currency.known_until(connection, currency.Mark(position, before), now) == now
        assert await currency.known_until(connection, currency.Mark("0/0", before), now) == before
        assert await currency.known_until(connection, currency.Mark("0/0", None), now) is None
        assert not (await currency.mark_of(connection)).is_standby
        assert abs(await currency.now_of(connection) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_copy_without_the_heartbeat_is_told_once(
    reader: AssessmentStore, replica: Replica, copy: Database, watch: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert await listed(reader) == set()
        watch.now += LAG + 1
    assert replica.answers == 0
    assert caplog.text.count("is the table sink_storage copied, too?") == 1


async def test_a_copy_that_is_too_far_behind_is_not_asked_until_it_has_caught_up(
    reader: AssessmentStore,
    writer: AssessmentStore,
    replica: Replica,
    database: Database,
    copy: Database,
    watch: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await writer.create({"id": "a"})
    await keep_up(database, copy)
    assert await listed(reader) == {"a"}
    assert replica.answers == 1
    await writer.create({"id": "b"})
    watch.now += LAG + 60
    for _ in range(3):
        assert await listed(reader) == {"a", "b"}
        assert len(await reader.audit(AuditFilters(assessment_id="b"))) == 1
    assert replica.answers == 1
    assert caplog.text.count("is too far behind; the database answers instead") == 1
    await keep_up(database, copy)
    assert await listed(reader) == {"a", "b"}
    assert replica.answers == 1, "it is measured once a second"
    watch.now += 1
    assert await listed(reader) == {"a", "b"}
    assert replica.answers == 2


async def test_a_copy_that_is_away_costs_one_line_and_is_used_when_it_is_there(
    reader: AssessmentStore,
    writer: AssessmentStore,
    replica: Replica,
    database: Database,
    copy_url: str,
    watch: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await writer.create({"id": "a"})
    for _ in range(3):
        assert await listed(reader) == {"a"}
        assert (await reader.get_state("a")).state is State.PENDING
        watch.now += 61
    assert caplog.text.count("cannot be used: ") == 1, "no file, or no tables in it yet"
    async with open_database(copy_url) as copy:
        await prepare(copy)
        await keep_up(database, copy)
    watch.now += 61
    assert await listed(reader) == {"a"}
    assert replica.answers == 1
    if not database.is_sqlite:
        assert caplog.text.count("is back") == 1


@SQLITE
async def test_a_copy_that_is_not_there_is_not_made(reader: AssessmentStore, copy_url: str) -> None:
    await listed(reader)
    assert not Path(copy_url.removeprefix("sqlite:///")).exists()


@SQLITE
@pytest.mark.parametrize("wrong", ["postgresql://reader:hunter22@h:port/none", "sqlite:///"])
async def test_a_url_that_is_none_is_told_as_that_of_the_copy(database: Database, wrong: str) -> None:
    store = AssessmentStore(database, replica=Replica(wrong, database))
    with pytest.raises(
        UsageError, match=r"the copy (postgresql://reader:\*\*\*@h:port/none|sqlite:///) of the database: "
    ):
        await store.stats()


async def test_a_copy_whose_connections_break_is_passed_over_at_once(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database, watch: Clock
) -> None:
    await writer.create({"id": "a"})
    await keep_up(database, copy)
    assert await listed(reader) == {"a"}
    async with copy.transaction() as connection:
        await connection.execute(sa.text("DROP VIEW active_assessments"))
        await connection.execute(sa.text("DROP VIEW completed_assessments_summary"))
        await connection.execute(sa.text("DROP VIEW assessment_stats_by_hour"))
        await connection.execute(sa.text("DROP TABLE assessment_metrics"))
        await connection.execute(sa.text("DROP TABLE assessment_states"))
    await writer.create({"id": "b"})
    assert await listed(reader) == {"a", "b"}
    assert (await reader.stats()).total_assessments == 2
    assert replica.answers == 1


async def test_a_question_with_a_fault_of_its_own_is_no_fault_of_the_copy(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, database: Database, copy: Database
) -> None:
    await writer.create({"id": "a"})
    await keep_up(database, copy)
    with pytest.raises(ValueError, match="no page ended with"):
        await reader.list_assessments(after="x")
    assert await listed(reader) == {"a"}
    assert replica.answers == 1


async def test_another_database_is_no_copy(
    reader: AssessmentStore, writer: AssessmentStore, replica: Replica, copy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await AssessmentStore(copy, inbox=None).batch_create([{"id": "theirs"}, {"id": "theirs, too"}])
    assert await listed(reader) == set()
    await writer.batch_create([{"id": "a"}, {"id": "b"}])
    for _ in range(3):
        assert await listed(reader) == {"a", "b"}
    assert replica.answers == 0
    assert caplog.text.count("has another history than the database") == 1


async def test_more_was_written_than_is_remembered_and_still_seen(replica: Replica, watch: Clock) -> None:
    replica._known_until = watch.now
    replica.wrote(f"a{number}" for number in range(MOST_WRITES + 1))
    assert replica._may_lack("a0") and replica._may_lack("somebody's") and replica._may_lack(None)
    assert len(replica._written) == MOST_WRITES
    replica._known_until += 0.1
    assert not any(replica._may_lack(each) for each in ("a0", "a5", None))
    assert not replica._written


async def test_the_settings_open_it_and_mask_its_password(
    url: str, copy_url: str, copy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ServiceSettings.model_validate({"replica": copy_url})
    async with open_store(url, service=settings) as store:
        await store.create({"id": "a"})
        assert await listed(store) == {"a"}, "the copy has nothing, and that is not all there is"
    away = ServiceSettings.model_validate({"replica": "postgresql://reader:hunter22@127.0.0.1:1/none"})
    async with open_store(url, service=away) as store:
        assert await listed(store) == {"a"}
    assert "postgresql://reader:***@127.0.0.1:1/none cannot be used" in caplog.text
    assert "hunter22" not in caplog.text
