"""Requests that cannot be stored: a typed error names the field, never the value, and nothing of the call is stored."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    ConflictingRequestError,
    InvalidRequestError,
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import Actor, Policy
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states

from autocoder import Database
from autocoder.store.tables import port_messages

pytestmark = pytest.mark.anyio
A_YEAR = 365 * 86_400
WRONG: list[tuple[str, Any, str]] = [
    ("an unknown type", {"type": "nonsense"}, "type"),
    ("an unknown option", {"wat": 1}, "wat"),
    ("an unknown option among the options", {"options": {"wat": 1}}, "wat"),
    ("options that are none", {"options": 3}, "options"),
    ("10 MB of options", {"options": {"serverFilter": ["x" * 100] * 100_000}}, "server_filter"),
    ("10 MB of paths", {"paths": ["x" * 1000] * 10_000}, "paths"),
    ("10 MB in one configuration", {"candidates": [{"text": "x" * 10_000_000}]}, "candidates"),
    ("priority 0", {"priority": 0}, "priority"),
    ("priority 11", {"priority": 11}, "priority"),
    ("priority true", {"priority": True}, "priority"),
    ("half a priority", {"priority": 1.5}, "priority"),
    ("timeout 0", {"timeout": 0}, "timeout"),
    ("a timeout of a year", {"timeout": A_YEAR}, "timeout"),
    ("a timeout that is no number", {"timeout": float("nan")}, "timeout"),
    ("a timeout for ever", {"timeout": float("inf")}, "timeout"),
    ("timeout true", {"options": {"timeout": True}}, "timeout"),
    ("an id of 300 characters", {"id": "x" * 300}, "id"),
    ("no id", {"id": ""}, "id"),
    ("an id with a bell", {"id": "a\x07b"}, "id"),
    ("an id with a NUL", {"id": "a\x00b"}, "id"),
    ("an id of two lines", {"id": "a\nb"}, "id"),
    ("an id that is no text", {"id": "a\ud800"}, "id"),
    ("an unknown source", {"source": "nobody"}, "source"),
    ("fewer than no retries", {"max_retries": -1}, "max_retries"),
    ("retries true", {"max_retries": True}, "max_retries"),
    ("a server's name with a NUL", {"server_filter": ["a\x00b"]}, "server_filter"),
    (
        "a server's name as long as a book",
        {"server_filter": ["".join(map(chr, range(0x4E00, 0x6E00)))]},
        "server_filter",
    ),
    ("no object", "nonsense", "request"),
]


async def counts(database: Database) -> list[int]:
    async with database.reading() as connection:
        return [
            (await connection.execute(sa.select(sa.func.count()).select_from(each))).scalar_one()
            for each in (assessment_states, assessment_state_audit, port_messages)
        ]


@pytest.mark.parametrize(("wrong", "field"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
async def test_a_bad_request_is_refused_by_field_and_nothing_stored(
    store: AssessmentStore, database: Database, wrong: Any, field: str
) -> None:
    for tried in ([wrong], [{"id": "good"}, wrong]):
        with pytest.raises(InvalidRequestError) as caught:
            await store.batch_create(tried)
        assert caught.value.fields == (field,)
        assert field in str(caught.value)
        assert len(str(caught.value)) < 400  # it quotes nothing of 10 MB
    assert await counts(database) == [0, 0, 0]


@pytest.mark.parametrize("together", [False, True])
async def test_an_id_that_another_request_has_is_refused_and_nothing_stored(
    store: AssessmentStore, database: Database, together: bool
) -> None:
    first, other = {"id": "taken", "priority": 3}, {"id": "taken", "priority": 4}
    await store.create(first)
    with pytest.raises(ConflictingRequestError) as caught:
        await store.batch_create([{"id": "new"}, other] if together else [other])
    assert caught.value.fields == ("id",)
    assert await counts(database) == [1, 1, 1]
    assert (await store.get_state("taken")).priority == 3
    assert await store.create(first) == "taken"
    assert await counts(database) == [1, 1, 1]


async def test_the_longest_that_is_allowed_is_stored(store: AssessmentStore) -> None:
    names = {"id": "\u4e00" * 255, "server_filter": "".join(map(chr, range(0x4E00, 0x4E00 + 500)))}
    made = await store.create({**names, "priority": 10, "timeout": 86_400, "max_retries": 100})
    state = await store.get_state(made, fresh=True)
    assert (state.assessment_id, state.server_name) == (names["id"], names["server_filter"])
    assert (state.priority, state.max_retries) == (10, 100)


ODD = "a\0b\ud800\n"
NOBODY = ("a\0b", "a\ud800", "a\nb", "x" * 10_000, "")


async def test_an_id_that_none_can_have_is_not_found(store: AssessmentStore) -> None:
    for each in NOBODY:
        for call in (store.get_state, store.start_processing, store.cancel, store.retry, store.wait_for_completion):
            with pytest.raises(AssessmentNotFoundError) as caught:
                await call(each)
            assert len(str(caught.value)) < 2000
        assert await store.audit(AuditFilters(assessment_id=each)) == []


async def test_text_that_no_database_takes_is_kept_with_escapes(database: Database) -> None:
    store = AssessmentStore(database, policy=Policy(keep_addresses=True))
    failed, cancelled = await store.batch_create([{}, {}], actor=Actor("me", {"odd": ODD}, user_agent=ODD))
    await store.start_processing(failed)
    assert (await store.update_progress(failed, 30, ODD)).message == "a\\x00b\\ud800\n"
    assert (await store.fail(failed, ODD, retryable=False)).error_message == "a\\x00b\\ud800\n"
    await store.cancel(cancelled, ODD)
    trail = {each.change_action: each for each in await store.audit()}
    assert (trail["create"].context, trail["create"].user_agent) == ({"odd": ODD}, r"a\x00b\ud800\x0a")
    assert trail["fail"].change_reason == trail["cancel"].change_reason == "a\\x00b\\ud800\n"
    assert (await store.list_assessments(Filters(server_name=ODD))).assessments == []
    assert await store.audit(AuditFilters(changed_by=ODD)) == []
    for context in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(ValueError, match="has to be JSON"):
            Actor("me", context)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, 1e300])
async def test_a_number_that_makes_no_sense_is_refused_by_name(store: AssessmentStore, number: float) -> None:
    with pytest.raises(ValueError, match="window: "):
        await store.stats(window=number)
    for days in ({"retention_days": number}, {"retention_days": 1, "audit_days": number}):
        with pytest.raises(ValueError, match="retention: "):
            await store.cleanup(**days)


async def test_numbers_beyond_what_a_column_holds_are_only_large(store: AssessmentStore) -> None:
    made = await store.create({})
    await store.start_processing(made)
    await store.fail(made, "no answer", retryable=False)
    assert await store.audit(after=10**30) == []
    for limit in (0, -1):
        with pytest.raises(ValueError, match="limit: at least 1"):
            await store.list_assessments(limit=limit)
        with pytest.raises(ValueError, match="limit: at least 1"):
            await store.audit(limit=limit)
    with pytest.raises(ValueError, match="timeout: "):
        await store.wait_for_completion(made, float("nan"))
    assert await store.batch_retry_failed(10**30) == [made]
