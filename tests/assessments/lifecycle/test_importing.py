"""Assessments of an older system are taken over: all states, once, and what is refused with its reason."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import AssessmentNotFoundError
from autocoder_components.assessments.lifecycle.importing import lines_of
from autocoder_components.assessments.lifecycle.legacy import LONGEST_LINE
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.requests import spec_of
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from autocoder.store.tables import port_messages
from tests.assessments.lifecycle.conftest import Clock, folded
from tests.assessments.lifecycle.test_command import Cli, cli

__all__ = ["cli"]

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
    assert (await store.get_state("bare")).request["options"] == {"deepScan": True, "somethingOld": 1}
    assert (found["broken"].error_message, found["broken"].is_settled) == ("no answer", True)
    assert found["mute"].error_message == "the older system kept no reason"
    assert found["gone"].completed_at == datetime(2025, 6, 2, 10, 0, tzinfo=UTC)
    assert (await store.get_state("waits")).request["include_details"] is False
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
        (line("x", "completed", colour="red"), "colour: there is no such field"),
        (line("x", "completed", created_at="2025-06-01T10:00:00"), "created_at: Input should have timezone info"),
        (line("x", "completed", priority=0), "priority: "),
        (line("a\x07", "completed"), "assessment_id: "),
        (line("x", "pending", options={"wat": 1}), "wat: there is no such field"),
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


async def test_the_shape_of_the_older_store_is_understood(store: AssessmentStore, clock: Clock) -> None:
    later = (clock.now + timedelta(hours=1)).isoformat()
    asked = {
        "id": "b",
        "serverName": "github",
        "assessmentType": "health",
        "options": {"includeDetails": False, "timeout": 20},
        "timestamp": AT,
        "source": "installer",
        "priority": 3,
        "timeout": 30,
    }
    exported = {
        "assessmentId": "b",
        "state": "FAILED",
        "version": 7,
        "progress": 40,
        "message": "at it",
        "createdAt": AT,
        "updatedAt": AT,
        "completedAt": AT,
        "requestData": asked,
        "errorMessage": "no answer",
        "retryCount": 2,
        "nextRetryAt": later,
    }
    report = await store.import_legacy([json.dumps(exported)])
    assert report.refused == []
    found = await store.get_state("b")
    assert (found.state, found.retry_count, found.max_retries, found.timeout_seconds) == (State.FAILED, 2, 3, 30.0)
    assert (found.assessment_type, found.source, found.priority) == ("health", "installer", 3)
    assert (found.server_name, found.request["include_details"], found.message) == ("github", False, "at it")
    assert found.request["timestamp"] == AT
    later_told = {**exported, "requestData": {**asked, "timestamp": "2025-06-01T10:00:01Z"}}
    assert (await store.import_legacy([json.dumps(later_told)])).known == 1
    assert spec_of(found.request, "b").include_details is False
    clock.move(3601)
    assert (await store.sweep()).retried == ("b",)
    assert (await store.get_state("b")).state is State.PENDING


async def test_what_failed_can_be_tried_again_as_it_was_asked_for(store: AssessmentStore) -> None:
    await store.import_legacy([line("a", "failed", options={"includeDetails": False})])
    await store.retry("a")
    found = await store.get_state("a")
    assert spec_of(found.request, "a").include_details is False


@pytest.mark.parametrize("most", [{}, {"maxRetries": 3}, {"maxRetries": 0}])
async def test_a_promised_retry_is_given_though_the_older_count_is_used_up(
    store: AssessmentStore, clock: Clock, most: dict[str, int]
) -> None:
    own = await store.create({})
    await store.start_processing(own)
    await store.fail(own, "no answer")
    due = (clock.now + timedelta(seconds=1)).isoformat()
    exported = [
        line("used up", "failed", retryCount=3, nextRetryAt=due, **most),
        line("no more", "failed", retryCount=3),
    ]
    report = await store.import_legacy(exported)
    assert report.promised == bool(most), "the export says how many it has, and that it gets another one"
    assert (await store.import_legacy(exported)).promised == 0, "it was told before"
    clock.move(3600)
    assert set((await store.sweep()).retried) == {own, "used up"}
    await store.start_processing("used up")
    assert (await store.fail("used up", "no answer")).is_settled


async def test_a_timeout_that_is_next_to_none_is_the_shortest(store: AssessmentStore) -> None:
    await store.import_legacy([line("a", "pending", timeout=1e-320), line("b", "pending", timeout=7)])
    assert [(await store.get_state(each)).timeout_seconds for each in "ab"] == [0.01, 7]


async def test_an_empty_name_is_none_and_not_a_server_that_there_is_not(store: AssessmentStore) -> None:
    await store.import_legacy([line("waits", "pending", serverName=""), line("done", "completed", serverName="")])
    for each in ("waits", "done"):
        found = await store.get_state(each)
        assert (found.server_name, spec_of(found.request, each).server_filter) == (None, [])


def deep(levels: int) -> str:
    return line("x", "completed", result={"a": "HERE"}).replace('"HERE"', "[" * levels + "]" * levels)


# Of letters that no index can compress.
NAMES = "".join(random.Random(1).choices([chr(0x20000 + each) for each in range(0xA000)], k=1000))
POISON = [
    (line("x", "completed", result={"a": float("nan")}), "NaN is no JSON"),
    (line("x", "completed", result={"a": "HERE"}).replace('"HERE"', "1e999"), "the number 1e999 is too large"),
    (line("x", "completed", result={"a": "HERE"}).replace('"HERE"', "9" * 5000), "limit"),
    (deep(101), "nested more than 100 deep"),
    (deep(200_000), "nested more than 100 deep"),
    (line("x", "failed", error="no\0thing"), "error: holds a NUL character"),
    (line("x", "failed", error="no\ud800"), "error: holds half of a surrogate pair"),
    (line("x", "cancelled", message="no\udfff"), "message: holds half of a surrogate pair"),
    (line("x", "completed", serverName="\udbff"), "serverName: holds half of a surrogate pair"),
    (line("x", "completed", serverName="a\0"), "serverName: holds a NUL character"),
    (line("x", "completed").replace("x", "\udce4"), "the line is no UTF-8"),
    (line("x", "completed", created_at="0001-01-01T00:00:00+14:00"), "created_at: "),
    (line("x", "completed", created_at="2199-01-01T00:00:00Z"), "created_at: lies in the future"),
    (line("x", "completed", completed_at="2024-01-01T00:00:00Z"), "completed_at lies before created_at"),
    (line("x", "completed", nextRetryAt=AT), "only what failed is tried again"),
    (line("x", "completed", id="y"), "id: there is no such field"),
    (line("x", "completed", requestData={"id": "y"}), "requestData.id is not the id of the assessment"),
    (line("x", "completed", priority=1, request={"priority": 2}), "priority stands beside request and in it"),
    ('{"id": "x", "id": "y"}', "stands in one object twice"),
    (line("x", "completed", result={"a": "x" * 2**21}), "the line has more than 2,097,152 characters"),
    (line("x", "failed", next_retry_at=AT, options={"wat": 1}), "wat: there is no such field"),
    (line("x", "completed", serverName=NAMES[:501]), "server_name: has more than 500 characters; shorten it"),
    (
        line("x", "failed", serverName=NAMES, options={"wat": 1}),
        "server_name: has more than 500 characters; shorten it",
    ),
    (line("x", "lost \x1b" + "x" * 999), "status: 'lost \\x1bxxx"),
    (
        line("x", "lost"),
        "'lost' is not understood; these are: pending, processing, completed, failed, cancelled, requested",
    ),
    ('{"id": "x", "status": 3, "created_at": 1748764800}', "status: Input should be 'pending', 'processing'"),
    (line("x", "pending", serverName=NAMES), "server_name: has more than 500 characters; shorten it"),
]


@pytest.mark.parametrize(("wrong", "reason"), POISON, ids=[reason for _, reason in POISON])
async def test_what_a_database_would_choke_on_costs_its_own_line_alone(
    store: AssessmentStore, wrong: str, reason: str
) -> None:
    report = await store.import_legacy([line("before", "completed"), wrong, line("behind", "completed")])
    ((number, said),) = [(each.line, each.reason) for each in report.refused]
    assert (report.imported, number) == (2, 2)
    assert reason in said and len(said) < 400


async def test_what_is_at_the_limit_is_taken_over(store: AssessmentStore) -> None:
    whole = line("x", "completed", result={"a": "\0 \ud800 é"}, created_at=1748764800000)
    named = [line("z", "completed", serverName=NAMES[:500]), line("w", "pending", serverName=NAMES[500:])]
    report = await store.import_legacy([deep(97).replace("x", "y"), whole, *named])
    assert (report.imported, report.refused) == (4, [])
    assert (await store.get_state("z")).server_name == NAMES[:500]
    assert (await store.get_state("x", fresh=True)).result == {"a": "\0 \ud800 é"}


def test_a_line_without_end_is_never_held_whole() -> None:
    file = StringIO("a\n" + "x" * (2**24) + "\nlast")
    lengths = [len(each) for each in lines_of(file)]
    assert (lengths[0], lengths[2], len(lengths)) == (2, 4, 3)
    assert LONGEST_LINE < lengths[1] < LONGEST_LINE + 10


async def test_batches_are_bounded_by_their_size_too(store: AssessmentStore) -> None:
    held = list[int]()

    def exported() -> Iterator[str]:
        for number in range(9):
            held.append(number)
            yield line(f"n{number}", "completed", result={"a": "x" * 2**20})
            if number == 8:
                raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await store.import_legacy(exported())
    assert (await store.stats()).total_assessments == 7


async def test_the_older_system_gives_up_what_has_not_ended_before_it_is_taken_over(store: AssessmentStore) -> None:
    asked = list[str]()
    standing: dict[str, dict[str, Any] | None] = {
        "waits": json.loads(line("waits", "cancelled")) | {"status": "pending"},
        "ended": json.loads(line("ended", "completed", result={"overallScore": 1})),
        "gone": None,
        "odd": {"assessment_id": "odd", "status": "lost"},
        "retry": json.loads(line("retry", "failed", error="again")),
    }

    async def release(assessment_id: str) -> dict[str, Any] | None:
        with pytest.raises(AssessmentNotFoundError):
            await store.get_state(assessment_id, fresh=True)
        asked.append(assessment_id)
        return standing[assessment_id]

    lines = [
        line("done", "completed"),
        line("waits", "pending"),
        line("ended", "processing"),
        line("gone", "pending"),
        line("odd", "pending"),
        line("unfit", "pending", options={"wat": 1}),
        line("retry", "failed", error="again", next_retry_at="2026-03-01T12:00:10Z"),
    ]
    report = await store.import_legacy(lines, release=release)
    assert asked == ["waits", "ended", "gone", "odd", "retry"], "what ends or is refused is left alone"
    assert [each.line for each in report.refused] == [6, 5]
    assert "as it stands now: " in report.refused[1].reason
    found = {each.assessment_id: each.state for each in (await store.list_assessments()).assessments}
    assert found == {
        "done": State.COMPLETED,
        "waits": State.PENDING,
        "ended": State.COMPLETED,
        "gone": State.PENDING,
        "retry": State.FAILED,
    }
    asked.clear()
    again = await store.import_legacy(lines, release=release)
    assert (again.known, asked) == (5, ["odd"])


async def test_what_was_taken_over_can_be_checked_line_by_line(store: AssessmentStore) -> None:
    empty = await store.check_import(EXPORT)
    assert (empty.read, empty.there, len(empty.missing), empty.is_whole) == (7, 0, 7, False)
    await store.import_legacy(EXPORT)
    assert (await store.check_import([*EXPORT, ""])).is_whole
    begun = await store.start_processing("waits")
    await store.complete("waits", {}, attempt=begun.retry_count)
    await store.retry("broken")
    assert (await store.check_import(EXPORT)).is_whole, "what goes on has another end, and rightly so"
    wrong = [
        line("done", "completed", result={"overallScore": 71}, completedAt="2025-06-01T10:05:00Z", serverName="github"),
        line("mute", "error", error="another"),
        line("gone", "completed", updated_at="2025-06-02T10:00:00Z"),
        line("waits", "requested", priority=3, options={"includeDetails": False}),
        line("never", "requested"),
        line("never", "requested"),
        "{",
    ]
    report = await store.check_import(wrong)
    assert [(each.line, each.reason.partition(": ")[2]) for each in report.differing] == [
        (1, "result_data"),
        (2, "error_message"),
        (3, "state, result_data"),
        (4, "request_data, priority"),
    ]
    assert [(each.line, each.reason) for each in report.missing] == [(5, "assessment 'never' is not in the store")]
    assert [each.line for each in report.refused] == [6, 7]
    assert (report.read, report.there) == (7, 0)
    assert (await store.stats()).total_assessments == 7


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_command_takes_over_and_checks_files_that_are_not_even_text(cli: Cli, machine: Path) -> None:
    whole = line("a", "completed").encode() + b"\n"
    (machine / "export.jsonl").write_bytes(whole + b'{"id": "\xff"}\n' + line("b", "failed").encode())
    missing = await cli("import", "export.jsonl", "--check")
    assert missing.code == 1
    assert "export.jsonl:1: assessment 'a' is not in the store" in missing.err
    assert "3 assessments read: 0 there, 2 missing, 0 different, 1 refused" in missing.err
    taken = await cli("import", "export.jsonl")
    assert taken.code == 1 and "export.jsonl:2: the line is no UTF-8" in taken.err
    (machine / "export.jsonl").write_bytes(whole)
    checked = await cli("import", "export.jsonl", "--check", "--json")
    assert (checked.code, checked.json()["there"], checked.json()["missing"]) == (0, 1, [])


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_byte_order_mark_is_read_over_and_a_promise_beyond_the_export_told(cli: Cli, machine: Path) -> None:
    exported = line("a", "failed", retryCount=3, maxRetries=3, nextRetryAt="2025-06-01T11:00:00+02:00")
    (machine / "export.jsonl").write_text(f"\ufeff{exported}\n", encoding="utf-8")
    taken = await cli("import", "export.jsonl")
    assert taken.code == 0
    assert taken.err.endswith("0 refused; 1 with one retry more than the export allows: it was promised\n")
    assert (await cli("import", "export.jsonl", "--check")).code == 0
    (machine / "requests.jsonl").write_text('\ufeff{"id": "b"}\n', encoding="utf-8")
    assert (await cli("create", "--file", "requests.jsonl")).out == "b\n"
