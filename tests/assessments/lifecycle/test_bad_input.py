"""Requests that cannot be stored: a typed error names the field, never the value, and nothing of the call is stored."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    ConflictingRequestError,
    InvalidArgumentError,
    InvalidRequestError,
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.requests import judged
from autocoder_components.assessments.lifecycle.states import Actor, Policy, State
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
    ("10 MB of options", {"options": {"serverFilter": ["x" * 100] * 100_000}}, "serverFilter"),
    ("10 MB of paths", {"paths": ["x" * 10_000] * 1000}, "paths"),
    ("10 MB in one configuration", {"candidates": [{"text": "x" * 10_000_000}]}, "candidates"),
    ("priority 0", {"priority": 0}, "priority"),
    ("priority 11", {"priority": 11}, "priority"),
    ("priority true", {"priority": True}, "priority"),
    ("half a priority", {"priority": 1.5}, "priority"),
    ("timeout 0", {"timeout": 0}, "timeout"),
    ("a timeout that is next to none", {"timeout": 1e-320}, "timeout"),
    ("a timeout of less than anything takes", {"options": {"timeout": 0.009}}, "timeout"),
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
    ("more globs than anybody reads", {"server_filter": ["x"] * 1001}, "server_filter"),
    ("more paths than anybody reads", {"paths": ["x"] * 1001}, "paths"),
    ("more configurations than anybody reads", {"candidates": [{"text": "{}"}] * 1001}, "candidates"),
    ("a path with a NUL", {"paths": [".", "a\x00b"]}, "paths.1"),
    ("a path with half a character", {"paths": [".", "a\ud800b"]}, "paths"),
    ("a path that is no UTF-8", {"paths": ["a\udcff"]}, "paths"),
    ("a glob with half a character", {"server_filter": ["*\udfff"]}, "server_filter"),
    ("a configuration with half a character", {"candidates": [{"text": "\ud800"}]}, "candidates"),
    ("a name with half a character", {"candidates": [{"text": "{}", "name": "\ud800"}]}, "candidates.0.name"),
    ("a client with half a character", {"candidates": [{"text": "{}", "client": "\ud800"}]}, "candidates"),
    ("no object", "nonsense", "request"),
]


async def counts(database: Database) -> list[int]:
    async with database.reading() as connection:
        return [
            (await connection.execute(sa.select(sa.func.count()).select_from(each))).scalar_one()
            for each in (assessment_states, assessment_state_audit, port_messages)
        ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"prioritty": 1}, "prioritty: there is no such field; did you mean 'priority'?"),
        ({"options": {"checkSecurty": 1}}, "checkSecurty: there is no such field; did you mean 'checkSecurity'?"),
        ({"zzz": 1}, "zzz: there is no such field"),
        ({"candidates": [{"nam": "x"}]}, "candidates.0.text: is missing; candidates.0.nam: there is no such field"),
        ({"priority": True}, "priority: must be a number, not true or false"),
        ([], "request: has to be a JSON object"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_with_its_cure(written: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        judged(written, Policy())
    assert str(caught.value) == f"the request cannot be stored: {said}"


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


NO_TEXT = ("a\x00b", "a\ud800b")


@pytest.mark.parametrize("text", NO_TEXT, ids=["a null", "half a character"])
async def test_text_that_no_database_takes_is_kept_as_an_escape(store: AssessmentStore, text: str) -> None:
    kept = text.encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")
    for made in [await store.create({"max_retries": 0}) for _ in range(2)]:
        await store.start_processing(made)
        assert (await store.update_progress(made, 10, text)).message == kept
        if (await store.list_assessments(Filters([State.FAILED]))).assessments:
            assert (await store.cancel(made, text)).state is State.CANCELLED
        else:
            assert (await store.fail(made, text)).error_message == kept
        assert (await store.audit(AuditFilters(made)))[-1].change_reason == kept


@pytest.mark.parametrize("text", NO_TEXT, ids=["a null", "half a character"])
async def test_what_no_assessment_can_be_called_is_not_there(store: AssessmentStore, text: str) -> None:
    await store.create({"id": "a"})
    for asked in (store.get_state(text), store.wait_for_completion(text, 60), store.cancel(text), store.retry(text)):
        with pytest.raises(AssessmentNotFoundError):
            await asked
    assert (await store.list_assessments(Filters(server_name=text))).assessments == []
    for filters in (AuditFilters(text), AuditFilters(changed_by=text), AuditFilters(action=text)):
        assert await store.audit(filters) == []


async def test_an_id_that_none_can_have_is_not_found(store: AssessmentStore) -> None:
    for each in ("a\nb", "x" * 10_000, ""):
        for call in (store.get_state, store.start_processing, store.cancel, store.retry, store.wait_for_completion):
            with pytest.raises(AssessmentNotFoundError) as caught:
                await call(each)
            assert len(str(caught.value)) < 2000
        assert await store.audit(AuditFilters(assessment_id=each)) == []


async def test_what_an_actor_says_of_itself_is_kept_with_escapes(database: Database) -> None:
    store, odd = AssessmentStore(database, policy=Policy(keep_addresses=True)), "a\0b\ud800\n"
    await store.create({}, actor=Actor("me", {"odd": odd}, user_agent=odd))
    (made,) = await store.audit()
    assert (made.context, made.user_agent) == ({"odd": odd}, r"a\x00b\ud800\x0a")
    for context in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(ValueError, match="has to be JSON"):
            Actor("me", context)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, -1, 2**70])
async def test_numbers_that_cannot_be_are_refused_by_name(store: AssessmentStore, number: Any) -> None:
    made = await store.create({})
    await store.start_processing(made)
    calls: dict[str, list[Any]] = {
        "retention_days": [store.cleanup(number)],
        "audit_days": [store.cleanup(30, audit_days=number)],
        "window": [store.stats(window=number)],
        "limit": [store.list_assessments(limit=number), store.audit(limit=number)],
        "progress": [store.update_progress(made, number)],
        "after": [store.audit(after=number)],
    }
    for name, asked in calls.items():
        for each in asked:
            with pytest.raises(InvalidArgumentError, match=f"^{name}: a number from "):
                await each
    with pytest.raises(InvalidArgumentError, match=r"^timeout: "):
        await store.wait_for_completion(made, float("nan"))
    assert await store.batch_retry_failed(2**70) == []


@pytest.mark.parametrize(
    "result", [{"a": {1}}, {"a": float("nan")}, {1: 0, "a": 0}], ids=["a set", "no number", "keys"]
)
async def test_a_result_that_is_no_json_is_refused(store: AssessmentStore, result: Any) -> None:
    made = await store.create({})
    await store.start_processing(made)
    with pytest.raises(InvalidArgumentError, match="result: no JSON"):
        await store.complete(made, result)
    assert (await store.complete(made, {})).state is State.COMPLETED
