"""The API: what each operation takes, gives and refuses, asked over a socket; every answer fits the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.output import state_data, state_json
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.stored import StoredJson
from autocoder_components.assessments.settings import ServiceSettings
from autocoder_components.assessments.web.api import OPERATIONS
from autocoder_components.assessments.web.openapi import document
from jsonschema import Draft202012Validator

from autocoder import open_database
from tests.assessments.web.conftest import PREFIX, Served, completed, problem, serving
from tests.store.fresh import BOTH

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("url", BOTH, indirect=True)


def fits(answer: httpx2.Response, operation: str) -> Any:
    """The answer as JSON; fails unless the document promises exactly that for this operation and status."""
    whole = document()
    described = next(
        each for path in whole["paths"].values() for each in path.values() if each["operationId"] == operation
    )
    content = described["responses"][str(answer.status_code)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = {"$ref": "#/wanted", "wanted": content[kind]["schema"], "components": whole["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


@both
async def test_what_is_asked_for_is_stored_shown_and_audited(store: AssessmentStore, served: Served) -> None:
    asked = {"id": "one", "paths": ["x"], "options": {"serverName": "git", "timeout": 20}, "priority": 2}
    made = await served.client.post(PREFIX, json=asked)
    assert fits(made, "create") == {"assessment_id": "one"}
    assert (made.status_code, made.headers["location"]) == (202, f"{PREFIX}/one")
    shown = fits(await served.client.get(made.headers["location"]), "show")
    assert (shown["state"], shown["priority"], shown["server_name"]) == ("pending", 2, "git")
    assert (shown["timeout_seconds"], shown["result"]) == (20, None)
    (entry,) = await store.audit(AuditFilters(assessment_id="one"))
    assert (entry.changed_by, entry.ip_address, entry.user_agent) == ("api", None, None)


async def test_an_id_is_made_up_where_there_is_none(served: Served) -> None:
    first, second = [(await served.client.post(PREFIX, json={})).json()["assessment_id"] for _ in range(2)]
    assert first != second
    assert (await served.client.get(f"{PREFIX}/{first}")).status_code == 200


@both
async def test_the_same_request_again_changes_nothing_and_another_is_refused(
    store: AssessmentStore, served: Served
) -> None:
    for _ in range(2):
        assert (await served.client.post(PREFIX, json={"id": "one", "priority": 2})).status_code == 202
    other = await served.client.post(PREFIX, json={"id": "one", "priority": 3})
    assert "with another request" in problem(other, 409, "conflict", "id")
    assert len(await store.audit()) == 1


async def test_the_address_and_program_of_whoever_asks_are_kept_where_the_settings_say_so(url: str) -> None:
    async with open_store(url, service=ServiceSettings(keep_addresses=True)) as store:
        async with serving(store) as served:
            # No proxy is believed: what it claims about the client, the client may claim itself.
            headers = {"User-Agent": "probe/1.0 " + "x" * 500, "X-Forwarded-For": "192.0.2.1"}
            await served.client.post(PREFIX, json={"id": "one"}, headers=headers)
        (entry,) = await store.audit()
    assert entry.ip_address == "127.0.0.1"
    assert entry.user_agent is not None and entry.user_agent.startswith("probe/1.0 xx") and len(entry.user_agent) == 300


@both
async def test_a_batch_is_stored_whole_or_not_at_all(store: AssessmentStore, served: Served) -> None:
    wrong = [{"id": "a"}, {"id": "b", "priority": 11, "nonsense": 1}, {"priority": 0}]
    refused = await served.client.post(f"{PREFIX}/batch", json={"requests": wrong})
    said = problem(refused, 422, "invalid_request", "requests.1.priority", "requests.1.nonsense")
    assert said.startswith("requests.1: ")
    twice = [{"id": "a"}, {"id": "a", "priority": 1}]
    problem(await served.client.post(f"{PREFIX}/batch", json={"requests": twice}), 409, "conflict", "id")
    assert (await store.list_assessments()).assessments == []
    made = await served.client.post(f"{PREFIX}/batch", json={"requests": [{"id": f"n{at}"} for at in range(1000)]})
    assert fits(made, "create_batch")["assessment_ids"] == [f"n{at}" for at in range(1000)]
    assert len((await store.list_assessments(limit=2000)).assessments) == 1000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"requests": []}, "requests"),
        ({"requests": [{}] * 1001}, "requests"),
        ({"requests": {}}, "requests"),
        ({}, "requests"),
        ([], "body"),
        ({"requests": [{}], "all": True}, "all"),
        ({"requests": [7]}, "requests.0.request"),
    ],
)
async def test_what_is_no_batch_is_refused_by_field(served: Served, body: Any, field: str) -> None:
    said = problem(await served.client.post(f"{PREFIX}/batch", json=body), 422, "invalid_request", field)
    assert "instance of" not in said and "Extra inputs" not in said


async def test_a_result_is_passed_on_as_it_is_stored(
    store: AssessmentStore, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large one neither the reading nor the writing holds up the others who ask."""
    await store.create({"id": "one", "paths": ["é"]})
    await store.start_processing("one")
    await store.complete("one", {"findings": [{"message": "ünd\ud800"}], "score": None})

    def small(stored: StoredJson) -> dict[str, Any]:
        assert "findings" not in stored.text, "it was read"
        return dict(json.loads(stored.text))

    with monkeypatch.context() as patch:
        patch.setattr(StoredJson, "read", small)
        shown = await served.client.get(f"{PREFIX}/one")
        waited = await served.client.get(f"{PREFIX}/one/wait")
        told = (await served.client.get(f"{PREFIX}/one/events")).text
    state = await store.get_state("one", fresh=True)
    assert shown.json() == waited.json()["assessment"] == state_data(state)
    assert json.loads(told.rpartition("data: ")[2]) == shown.json()
    spread = replace(state, result=StoredJson(json.dumps(state.result and dict(state.result), indent=1)))
    assert "\n" not in state_json(spread) and json.loads(state_json(spread)) == shown.json()


async def test_what_is_not_there_is_not_found(served: Served) -> None:
    for answer in (
        await served.client.get(f"{PREFIX}/nobody"),
        await served.client.get(f"{PREFIX}/nobody/wait"),
        await served.client.get(f"{PREFIX}/nobody/events"),
        await served.client.post(f"{PREFIX}/nobody/cancel"),
    ):
        assert problem(answer, 404, "not_found", "assessment_id") == "there is no assessment 'nobody'"
    for path in (f"{PREFIX}/", f"{PREFIX}/a/b", "/api/v2/assessments", f"{PREFIX}/a/wait/", "/api/v1"):
        problem(await served.client.get(path), 404, "no_such_page")
    wrong = await served.client.put(PREFIX)
    problem(wrong, 405, "method_not_allowed")
    assert sorted(wrong.headers["allow"].split(", ")) == ["GET", "HEAD", "POST"]


@both
@pytest.mark.parametrize(
    "odd", ["a/b", "a/wait", "%2F", "?x=1", "é", "a b", "x" * 255, "#", "..a", "batch", "&amp;", "'"]
)
async def test_an_id_may_be_any_visible_text(served: Served, odd: str) -> None:
    made = await served.client.post(PREFIX, json={"id": odd})
    assert made.headers["location"] == f"{PREFIX}/{quote(odd, safe='')}"
    shown = await served.client.get(made.headers["location"])
    assert shown.json()["assessment_id"] == odd


@both
@pytest.mark.parametrize("odd", ["%00", "a%0Ab", "%FF", "x" * 256, "%E2%80%AE", "%ED%A0%80"])
async def test_what_can_be_no_id_is_not_looked_for(served: Served, odd: str) -> None:
    for path in (f"{PREFIX}/{odd}", f"{PREFIX}/{odd}/wait", f"{PREFIX}/{odd}/events"):
        problem(await served.client.get(path), 404, "not_found", "assessment_id")


@both
async def test_pages_of_the_list_follow_each_other_and_filters_narrow_it(
    store: AssessmentStore, served: Served
) -> None:
    requests = [{"id": f"n{at}", "server_filter": "git" if at % 2 else "db"} for at in range(7)]
    await store.batch_create([*requests, {"id": "health", "type": "health", "source": "installer"}])
    await store.cancel("n3")
    seen: list[str] = []
    place: str | None = f"{PREFIX}?limit=3&server=git&server="[:-8]
    while place is not None:
        answer = await served.client.get(place)
        page = fits(answer, "list_all")
        assert all(each.keys().isdisjoint({"request", "result"}) for each in page["assessments"])
        seen += [each["assessment_id"] for each in page["assessments"]]
        place = answer.links["next"]["url"] if "next" in answer.links else None
        assert (place is None) == (page["next"] is None)
    assert seen == ["n5", "n3", "n1"]

    async def listed(**query: Any) -> list[str]:
        page = fits(await served.client.get(PREFIX, params=query), "list_all")
        return [each["assessment_id"] for each in page["assessments"]]

    assert await listed(state="cancelled") == ["n3"]
    assert len(await listed(state=["cancelled", "pending"])) == 8
    assert await listed(type="health") == await listed(source="installer") == ["health"]
    moment = (await store.get_state("n3")).created_at.isoformat()
    assert await listed(before=moment) == []
    assert len(await listed(since=moment)) == 8


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("state=done", "state.0"),
        ("state=", "state.0"),
        ("type=nonsense", "type"),
        ("source=me", "source"),
        ("server=%00", "server"),
        ("server=", "server"),
        (f"server={'x' * 256}", "server"),
        ("since=yesterday", "since"),
        ("since=2026-11-21T08:00:00", "since"),
        ("before=99999-01-01T00:00:00Z", "before"),
        ("after=x", "after"),
        ("after=" + "9" * 30, "after"),
        ("after=%C2%B2", "after"),
        ("stat=failed", "stat"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_by_name(served: Served, query: str, field: str) -> None:
    problem(await served.client.get(f"{PREFIX}?{query}"), 400, "bad_query", field)


async def test_every_operation_refuses_what_it_does_not_know(served: Served, store: AssessmentStore) -> None:
    await store.create({"id": "one"})
    for each in OPERATIONS:
        if each.path != "/metrics":
            path = each.path.replace("{assessment_id}", "one")
            problem(
                await served.client.request(each.method, f"{path}?nonsense=1", json={}), 400, "bad_query", "nonsense"
            )
    assert (await store.get_state("one", fresh=True)).version == 1


@both
async def test_cancelling_says_why_and_happens_once(store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    stale = await served.client.post(f"{PREFIX}/one/cancel", json={"version": 2})
    assert "has version 1, not 2" in problem(stale, 409, "conflict")
    done = fits(await served.client.post(f"{PREFIX}/one/cancel", json={"reason": "enough", "version": 1}), "cancel")
    assert (done["state"], done["version"]) == ("cancelled", 2)
    again = await served.client.post(f"{PREFIX}/one/cancel")
    assert "cannot become cancelled" in problem(again, 409, "conflict")
    trail = await store.audit(AuditFilters(assessment_id="one"))
    assert [(each.change_action, each.change_reason) for each in trail] == [("create", None), ("cancel", "enough")]
    await store.create({"id": "two"})
    assert (await served.client.post(f"{PREFIX}/two/cancel")).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "a\0b"}, "reason"),
        ({"reason": "x" * 1001}, "reason"),
        ({"reason": 7}, "reason"),
        ({"version": 0}, "version"),
        ({"version": 2**31}, "version"),
        ({"force": True}, "force"),
        ([], "body"),
    ],
)
@both
async def test_a_cancellation_that_means_nothing_is_refused(
    store: AssessmentStore, served: Served, body: Any, field: str
) -> None:
    await store.create({"id": "one"})
    problem(await served.client.post(f"{PREFIX}/one/cancel", json=body), 422, "invalid_request", field)
    assert (await store.get_state("one", fresh=True)).state == "pending"


async def test_of_those_who_cancel_at_once_one_succeeds(store: AssessmentStore, served: Served) -> None:
    await store.create({"id": "one"})
    statuses: list[int] = []

    async def cancel() -> None:
        statuses.append((await served.client.post(f"{PREFIX}/one/cancel")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(cancel)
    assert sorted(statuses) == [200, 409, 409, 409, 409]


@both
async def test_stats_and_health_are_those_of_the_store(store: AssessmentStore, served: Served) -> None:
    await completed(store, "one", {"score": {"value": 7}})
    await store.create({"id": "two"})
    stats = fits(await served.client.get("/api/v1/stats"), "stats")
    assert (stats["total_assessments"], stats["by_state"]["completed"], stats["throughput_per_minute"]) == (
        2,
        1,
        1 / 60,
    )
    assert (await served.client.get("/api/v1/stats?window=60")).json()["throughput_per_minute"] == 1
    for wrong in ("0", "nan", "inf", "1e10"):
        problem(await served.client.get(f"/api/v1/stats?window={wrong}"), 400, "bad_query", "window")
    health = fits(await served.client.get("/health"), "health")
    assert (health["status"], health["pending"]) == ("healthy", 1)


@both
async def test_a_database_that_does_not_answer_is_503_everywhere(
    url: str, store: AssessmentStore, served: Served
) -> None:
    await store.create({"id": "one"})
    async with open_database(url) as database, database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE assessment_states RENAME TO gone"))
    asked = (
        ("GET", "/health", None),
        ("GET", "/api/v1/stats", None),
        ("GET", PREFIX, None),
        ("GET", f"{PREFIX}/one", None),
        ("GET", f"{PREFIX}/one/wait", None),
        ("GET", f"{PREFIX}/one/events", None),
        ("POST", PREFIX, {}),
        ("POST", f"{PREFIX}/batch", {"requests": [{}]}),
        ("POST", f"{PREFIX}/one/cancel", {}),
    )
    for method, path, body in asked:
        answer = await served.client.request(method, path, json=body)
        said = problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert "gone" not in said and "assessment_states" not in said
    metrics = await served.client.get("/metrics")
    assert metrics.status_code == 200
    assert "\nautocoder_assessments_up 0.0\n" in metrics.text
    assert '\nautocoder_assessments_health_status{status="unhealthy"} 1.0\n' in metrics.text
    page = await served.client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")


async def test_the_text_of_a_configuration_is_never_shown(served: Served) -> None:
    secret = {"id": "one", "candidates": [{"text": "sk-very-secret", "name": "given"}]}
    await served.client.post(PREFIX, json=secret)
    for path in (f"{PREFIX}/one", PREFIX, f"{PREFIX}/one/wait?timeout=0", "/assessments/one", "/"):
        answer = await served.client.get(path)
        assert answer.status_code == 200 and "very-secret" not in answer.text
    wrong = {"id": "two", "candidates": [{"text": ["sk-very-secret"], "nonsense": "sk-very-secret"}]}
    refused = await served.client.post(PREFIX, json=wrong)
    problem(refused, 422, "invalid_request", "candidates.0.text", "candidates.0.nonsense")
    assert "very-secret" not in refused.text


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document that says it is a schema."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "schema":
                yield value
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


async def test_the_document_is_served_and_describes_what_there_is(served: Served) -> None:
    answer = await served.client.get("/openapi.json")
    told = answer.json()
    assert (answer.headers["content-type"], told) == ("application/json", document())
    routes = {(each.method.lower(), each.path) for each in OPERATIONS}
    assert {(method, path) for path, methods in told["paths"].items() for method in methods} == routes
    parts = told["components"]["schemas"]
    for each in [*parts.values(), *schemas(told["paths"])]:
        Draft202012Validator.check_schema(each)
    named = {each.rpartition("/")[2] for each in _references(told)}
    assert named == parts.keys()
    assert {"serverName", "checkServerStatus", "paths", "priority"} <= parts["AssessmentRequest"]["properties"].keys()
    assert told["paths"]["/health"]["get"]["security"] == [{}, {"token": []}]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
