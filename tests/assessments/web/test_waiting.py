"""Waiting over HTTP: long polls that are bounded, and events that come back exactly where they were left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle import currency
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.settings import ServiceSettings
from pydantic import SecretStr

from autocoder import open_database
from tests.assessments.conftest import UNPINNED, servers, write
from tests.assessments.lifecycle.shipped import serve as run_pipeline
from tests.assessments.web.conftest import PREFIX, Served, problem, serving
from tests.store.fresh import BOTH, fresh_sqlite

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("url", BOTH, indirect=True)


@dataclass
class Event:
    """One server-sent event, or a comment (`name` empty)."""

    name: str
    data: Any = None
    id: str | None = None


async def events_of(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Events as a client reads them, by the rules of the HTML standard."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(":")
        if not line:
            if "data" in fields:
                yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}
        elif name == "":
            yield Event("", value.strip())
        else:
            fields[name] = value.removeprefix(" ")


@asynccontextmanager
async def following(
    served: Served, assessment_id: str, last: str | None = None
) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[Event]]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with served.client.stream("GET", f"{PREFIX}/{assessment_id}/events", headers=headers) as answer:
        yield answer, events_of(answer.aiter_lines())


async def until(events: AsyncIterator[Event], name: str) -> list[Event]:
    """Events up to the first of a name; fails where the stream ends before."""
    found = []
    async for each in events:
        found.append(each)
        if each.name == name:
            return found
    raise AssertionError(f"no {name} in {found}")


@both
async def test_a_long_poll_answers_when_it_ends(url: str, store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    answers: list[httpx2.Response] = []

    async def ask() -> None:
        answers.append(await served.client.get(f"{PREFIX}/one/wait?timeout=30"))

    async with open_store(url) as elsewhere, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        while served.service.meter.in_progress < 3:
            await anyio.sleep(0.01)
        await elsewhere.start_processing("one")
        await elsewhere.complete("one", {"score": {"value": 7}})
    for each in answers:
        told = each.json()
        assert told["settled"] is True
        assert (told["assessment"]["state"], told["assessment"]["result"]) == ("completed", {"score": {"value": 7}})


@both
async def test_a_long_poll_whose_time_is_over_says_how_it_is_and_changes_nothing(
    store: AssessmentStore, served: Served
) -> None:
    await store.create({"id": "one"})
    for timeout in ("0", "0.1"):
        told = (await served.client.get(f"{PREFIX}/one/wait?timeout={timeout}")).json()
        assert (told["settled"], told["assessment"]["state"], told["assessment"]["version"]) == (False, "pending", 1)
    await store.start_processing("one")
    await store.fail("one", "the network is gone")
    told = (await served.client.get(f"{PREFIX}/one/wait?timeout=0")).json()
    assert (told["settled"], told["assessment"]["state"]) == (False, "failed"), "a retry is ahead"


async def test_how_long_a_poll_takes_is_bounded(store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    async with serving(store, longest_wait=0.05) as served:
        with anyio.fail_after(20):
            told = (await served.client.get(f"{PREFIX}/one/wait?timeout=86400")).json()
        assert told["settled"] is False
        for wrong in ("-1", "nan", "inf", "x", ""):
            problem(await served.client.get(f"{PREFIX}/one/wait?timeout={wrong}"), 400, "bad_query", "timeout")


async def test_the_head_of_a_stream_is_all_of_its_answer(store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    answer = await served.client.head(f"{PREFIX}/one/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_nobody_waits_for_a_client_that_is_gone(store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    for path in (f"{PREFIX}/one/wait?timeout=300", f"{PREFIX}/one/events"):
        stream = await anyio.connect_tcp("127.0.0.1", served.port)
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while not served.service.meter.in_progress:
            await anyio.sleep(0.01)
        await stream.aclose()
        with anyio.fail_after(20):
            while served.service.meter.in_progress:
                await anyio.sleep(0.01)


@both
async def test_events_tell_the_whole_life_in_order(url: str, store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    await store.create({"id": "other"})
    async with open_store(url) as elsewhere, following(served, "one") as (answer, events):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        begun = await until(events, "state")
        assert [each.name for each in begun] == ["audit", "state"]
        assert (begun[1].data["state"], begun[1].id) == ("pending", None)
        await elsewhere.start_processing("one")
        await elsewhere.update_progress("one", 10, "looking\nat <files>")
        seen = await until(events, "state")
        while seen[-1].data["progress"] != 10:
            seen += await until(events, "state")
        assert seen[-1].data["message"] == "looking\nat <files>"
        await elsewhere.complete("one", {"score": {"value": 7}})
        seen += await until(events, "settled")
        assert [each async for each in events] == [], "the stream ends with the assessment"
    trail = await store.audit(AuditFilters(assessment_id="one"))
    told = [*begun, *seen]
    assert [each.id for each in told if each.name == "audit"] == [str(each.id) for each in trail]
    assert [each.data["change_action"] for each in told if each.name == "audit"] == ["create", "start", "complete"]
    end = told[-1]
    assert (end.id, end.data["result"]) == (f"{trail[-1].id}.settled", {"score": {"value": 7}})


@both
async def test_whoever_comes_back_gets_what_was_missed_and_nothing_twice(
    store: AssessmentStore, served: Served
) -> None:
    await store.create({"id": "one"})
    await store.start_processing("one")
    await store.fail("one", "no", retryable=False)
    trail = await store.audit(AuditFilters(assessment_id="one"))
    for at, entry in enumerate(trail):
        async with following(served, "one", str(entry.id)) as (_, events):
            told = [each async for each in events]
        assert [each.id for each in told if each.name == "audit"] == [str(each.id) for each in trail[at + 1 :]]
        assert told[-1].name == "settled"
    last = f"{trail[-1].id}.settled"
    async with following(served, "one", last) as (answer, _):
        assert answer.status_code == 204, "an EventSource stops asking"
    await store.retry("one")
    async with following(served, "one", last) as (answer, events):
        again = await until(events, "audit")
        assert (answer.status_code, again[-1].data["change_action"]) == (200, "retry")


async def _beat_in_both(*stores: AssessmentStore) -> None:
    """What makes one a copy of the other that is not behind."""
    moment = datetime.now(UTC)
    for each in stores:
        async with each.database.transaction() as connection:
            await currency.beat(connection, moment)


async def test_who_follows_is_told_by_the_database_itself_however_far_a_copy_is_behind(
    url: str, tmp_path: Path
) -> None:
    copied = fresh_sqlite(tmp_path, "copy.db")
    service = ServiceSettings(replica=SecretStr(copied), replica_lag="1h")

    async def ending(store: AssessmentStore) -> None:
        await store.start_processing("one")
        await store.complete("one", {"score": {"value": 7}})

    # What is done in both at one moment is one history, as that of a database and its copy.
    moment = datetime.now(UTC)
    same: dict[str, Any] = {"clock": lambda: moment}
    async with (
        open_store(copied, **same) as copy,
        open_store(url, **same) as another,  # what a store wrote itself, it reads in the database
        open_store(url, service=service, **same) as store,
    ):
        for each in (another, copy):
            await each.create({"id": "one"})
        await _beat_in_both(another, copy)
        async with serving(store, look=0.05) as served:
            async with following(served, "one") as (_, events):
                told = await until(events, "state")
                await ending(another)
                told += await until(events, "settled")
            assert [each.id for each in told if each.id] == ["1", "2", "3", "3.settled"]
            async with following(served, "one", "1.settled") as (answer, events):
                assert answer.status_code == 200, "there is more, which the copy does not know of"
                assert [each.id for each in await until(events, "settled")][-1] == "3.settled"
            assert (await served.client.get(f"{PREFIX}?state=pending")).json()["assessments"], (
                "lists are told by the copy"
            )


async def test_one_assessment_is_read_in_the_copy_unless_it_has_to_be_the_newest(url: str, tmp_path: Path) -> None:
    copied = fresh_sqlite(tmp_path, "copy.db")
    service = ServiceSettings(replica=SecretStr(copied), replica_lag="1h")
    moment = datetime.now(UTC)
    same: dict[str, Any] = {"clock": lambda: moment}
    async with (
        open_store(copied, **same) as copy,
        open_store(url, **same) as another,
        open_store(url, service=service, **same) as store,
        serving(store) as served,
    ):
        for each in (another, copy):
            await each.create({"id": "one"})
        await _beat_in_both(another, copy)
        await another.cancel("one")

        async def state(query: str) -> str:
            answer = await served.client.get(f"{PREFIX}/one{query}")
            return str(answer.json()["state"])

        assert await state("") == "pending", "the copy is behind"
        assert await state("?fresh=true") == "cancelled"
        assert await state("") == "cancelled", "and what is known to be newer is not forgotten"
        problem(await served.client.get(f"{PREFIX}/one?fresh=7"), 400, "bad_query", "fresh")


async def test_who_waits_gets_the_whole_result_even_where_it_is_not_kept(
    machine: Path, url: str, store: AssessmentStore, served: Served
) -> None:
    write(machine / ".mcp.json", servers(a=UNPINNED))
    await store.create({"id": "one", "paths": ["."], "saveResults": False})
    await run_pipeline(url)
    async with following(served, "one") as (_, events):
        told = await until(events, "settled")
    waited = (await served.client.get(f"{PREFIX}/one/wait")).json()["assessment"]
    assert told[-1].data["result"]["findings"] == waited["result"]["findings"] != []
    assert "findings" not in (await served.client.get(f"{PREFIX}/one")).json()["result"]
    page = await served.client.get("/assessments/one")
    assert "Not kept" in page.text and "of 100" in page.text


@pytest.mark.parametrize("wrong", ["x", "-1", "1.ended", "1" * 19, "²"])
async def test_an_event_id_of_nobody_is_refused(store: AssessmentStore, served: Served, wrong: str) -> None:
    await store.create({"id": "one"})
    headers = [(b"Last-Event-ID", wrong.encode("latin-1"))]
    problem(await served.client.get(f"{PREFIX}/one/events", headers=headers), 400, "bad_event_id", "Last-Event-ID")


async def test_a_silent_stream_is_kept_alive_and_ends_with_its_time(store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    options = {"look": 0.01, "keep_alive": 0.05, "longest_stream": 0.5}
    async with serving(store, **options) as served, following(served, "one") as (_, events):
        told = [each async for each in events]
    assert [each.name for each in told[:2]] == ["audit", "state"]
    assert {each.data for each in told[2:]} == {"still here"}


async def test_a_damaged_trail_is_not_looked_at_without_a_pause(
    store: AssessmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create({"id": "one"})
    await store.start_processing("one")
    async with store.database.transaction() as connection:
        await connection.execute(sa.text("DELETE FROM assessment_state_audit WHERE change_action = 'start'"))
    looks, get_state = 0, store.get_state

    async def counted(assessment_id: str, *, fresh: bool = False) -> AssessmentState:
        nonlocal looks
        looks += 1
        return await get_state(assessment_id, fresh=fresh)

    monkeypatch.setattr(store, "get_state", counted)
    async with serving(store, look=0.2, longest_stream=0.3) as served, following(served, "one") as (_, events):
        assert [each.name async for each in events] == ["audit", "state"]
    assert 1 < looks < 10


@both
async def test_what_goes_wrong_in_a_stream_is_told_as_an_event(url: str, store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    async with serving(store, look=0.05) as served, following(served, "one") as (_, events):
        await until(events, "state")
        async with open_database(url) as database, database.transaction() as connection:
            await connection.execute(sa.text("ALTER TABLE assessment_states RENAME TO gone"))
        told = await until(events, "problem")
        assert [each async for each in events] == []
    assert (told[-1].data["status"], told[-1].data["code"]) == (503, "unavailable")


async def test_a_server_that_stops_ends_whoever_waits(store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    polls: list[httpx2.Response] = []
    told: list[Event] = []

    async def poll(served: Served) -> None:
        polls.append(await served.client.get(f"{PREFIX}/one/wait?timeout=300"))

    async def follow(served: Served) -> None:
        async with following(served, "one") as (_, events):
            told.extend([each async for each in events])

    with anyio.fail_after(30):
        async with serving(store, look=300, keep_alive=300) as served, anyio.create_task_group() as tasks:
            tasks.start_soon(poll, served)
            tasks.start_soon(follow, served)
            while served.service.meter.in_progress < 2:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            served.stop()
    assert polls[0].json()["settled"] is False
    assert [each.name for each in told] == ["audit", "state"]


@both
async def test_many_wait_at_once(url: str, store: AssessmentStore, served: Served) -> None:
    ids = [f"n{at}" for at in range(60)]
    await store.batch_create([{"id": each} for each in ids])
    told: list[bool] = []

    async def ask(assessment_id: str) -> None:
        told.append((await served.client.get(f"{PREFIX}/{assessment_id}/wait?timeout=60")).json()["settled"])

    async with anyio.create_task_group() as tasks:
        for each in ids:
            tasks.start_soon(ask, each)
        while served.service.meter.in_progress < len(ids):
            await anyio.sleep(0.01)
        for each in ids:
            await store.cancel(each)
    assert told == [True] * len(ids)
