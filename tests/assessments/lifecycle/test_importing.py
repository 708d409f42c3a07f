"""Assessments of an older system are taken over: all states, once, and what is refused with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from autocoder.store.tables import port_messages
from tests.assessments.lifecycle.conftest import folded

pytestmark = pytest.mark.anyio
AT = "2025-06-01T10:00:00+02:00"


def line(assessment_id: str, status: str, **values: Any) -> str:
    return json.dumps({"assessment_id": assessment_id, "status": status, "created_at": AT, **values})


EXPORT = [
    line("done", "completed", result={"overallScore": 70}, completedAt="2025-06-01T10:05:00Z", serverName="github"),
    line("bare", "success", options={"deepScan": True, "somethingOld": 1}),
    line("broken", "failed", error="no answer", progress=100),
    line("mute", "error"),
    line("gone", "canceled", updated_at="2025-06-02T10:00:00Z"),
    line("waits", "requested", priority=2, options={"includeDetails": False}),
    line("works", "in_progress", progress=40),
]


async def test_every_status_is_taken_over_with_what_it_had(store: AssessmentStore, database: Database) -> None:
    report = await store.import_legacy(EXPORT)
    assert (report.read, report.imported, report.known, report.refused) == (7, 7, 0, [])
    found = {each.assessment_id: each for each in (await store.list_assessments()).assessments}
    assert {name: each.state for name, each in found.items()} == {
        "done": State.COMPLETED,
        "bare": State.COMPLETED,
        "broken": State.FAILED,
        "mute": State.FAILED,
        "gone": State.CANCELLED,
        "waits": State.PENDING,
        "works": State.PENDING,
    }
    done = await store.get_state("done")
    assert (done.result, done.server_name, done.progress) == ({"overallScore": 70}, "github", 100)
    assert done.created_at == datetime(2025, 6, 1, 8, 0, tzinfo=UTC)
    assert done.completed_at == datetime(2025, 6, 1, 10, 5, tzinfo=UTC)
    assert found["bare"].request["options"] == {"deepScan": True, "somethingOld": 1}
    assert (found["broken"].error_message, found["broken"].is_settled) == ("no answer", True)
    assert found["mute"].error_message == "the older system kept no reason"
    assert found["gone"].completed_at == datetime(2025, 6, 2, 10, 0, tzinfo=UTC)
    assert found["waits"].request["include_details"] is False
    async with database.reading() as connection:
        sent = list((await connection.execute(sa.select(port_messages.c.message_data))).scalars())
    assert sorted(json.loads(each)["assessment_id"] for each in sent) == ["waits", "works"]
    for name, state in found.items():
        assert folded(await store.audit(AuditFilters(assessment_id=name))) == (state.state, 1)
    assert (await store.start_processing("waits")).version == 2


async def test_what_was_taken_over_is_known_when_the_file_comes_again(store: AssessmentStore) -> None:
    def torn() -> Iterator[str]:
        yield from (line(f"n{number}", "completed") for number in range(700))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await store.import_legacy(torn())
    first = await store.stats()
    assert first.total_assessments == 500
    again = await store.import_legacy(line(f"n{number}", "completed") for number in range(700))
    assert (again.read, again.imported, again.known, again.refused) == (700, 200, 500, [])
    assert (await store.stats()).completed_assessments == 700
    trail = Counter(each.assessment_id for each in await store.audit(limit=1000))
    assert set(trail.values()) == {1}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "line: "),
        (line("x", "sleeping"), "status: "),
        (line("x", "completed", colour="red"), "colour: Extra inputs are not permitted"),
        (line("x", "completed", created_at="2025-06-01T10:00:00"), "created_at: Input should have timezone info"),
        (line("x", "completed", priority=0), "priority: "),
        (line("a\x07", "completed"), "assessment_id: "),
        (line("x", "pending", options={"wat": 1}), "wat: Extra inputs are not permitted"),
        (line("done", "failed", serverName="another"), "the id 'done' is taken by another assessment"),
        (line("good", "failed"), "line 1 has this id, too"),
    ],
)
async def test_what_is_refused_is_told_and_holds_nothing_else_back(
    store: AssessmentStore, wrong: str, reason: str
) -> None:
    await store.create({"id": "done"})
    report = await store.import_legacy([line("good", "completed"), "", wrong, line("better", "completed")])
    assert (report.read, report.imported, report.known) == (3, 2, 0)
    ((number, said),) = [(each.line, each.reason) for each in report.refused]
    assert number == 3
    assert reason in said
    assert (await store.stats()).total_assessments == 3
