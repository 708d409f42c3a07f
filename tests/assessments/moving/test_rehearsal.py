"""The move, rehearsed: thousands are taken over under load, the process is killed half way and started again.

None is lost: every assessment of the export and every id that a caller was given is found through the router, with what it had.
None is doubled: one system has it, one trail begins once, and what the older system completed the store never did.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import pytest
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import AuditEntry, Outline, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.moving import AssessmentRouter, MovingFlags

from tests.assessments.lifecycle.conftest import folded
from tests.assessments.moving.older import OlderSystem

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
NUMBER = 10_000
STATUSES = ("requested", "running", "done", "done", "done", "error", "canceled")


def fill(older: OlderSystem, number: int, folder: Path) -> dict[str, str]:
    """So many jobs in every status, and their export; returns the statuses by id."""
    draw = random.Random(5)
    made = {f"old-{each:05}": draw.choice(STATUSES) for each in range(number)}
    older._file.execute("BEGIN")
    for name, status in made.items():
        result = json.dumps({"overallScore": int(name[-2:])}) if status == "done" else None
        request = json.dumps({"id": name, "priority": 3, "serverName": f"server-{name[-1]}"})
        older.add(name, request, status, result=result, error="no answer" if status == "error" else None)
    older._file.execute("COMMIT")
    (folder / "export.jsonl").write_text("".join(f"{each}\n" for each in older.export()))
    return made


class Ran(NamedTuple):
    """What a process said was certain, and how it ended."""

    said: list[dict[str, Any]]
    code: int

    @property
    def created(self) -> list[str]:
        return [each["id"] for each in self.said if each["what"] == "created"]


def run(url: str, folder: Path, name: str, *, kill_at: int | None) -> Ran:
    """A process of the move, killed without mercy when it has read so many lines."""
    command = [sys.executable, "-m", "tests.assessments.moving.rehearsal", url, str(folder), name]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    said: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # cut by the kill
            said.append(json.loads(line))
            if kill_at is not None and said[-1].get("lines", 0) >= kill_at:
                process.send_signal(signal.SIGKILL)
                kill_at = None
    return Ran(said, process.returncode)


async def everything(store: AssessmentStore) -> dict[str, Outline]:
    found: dict[str, Outline] = {}
    after = None
    while True:
        page = await store.list_assessments(limit=1000, after=after)
        found |= {each.assessment_id: each for each in page.assessments}
        after = page.next
        if after is None:
            return found


async def trails(store: AssessmentStore) -> dict[str, list[AuditEntry]]:
    found: dict[str, list[AuditEntry]] = {}
    after = 0
    while entries := await store.audit(AuditFilters(), limit=5000, after=after):
        after = entries[-1].id
        for each in entries:
            found.setdefault(each.assessment_id, []).append(each)
    return found


async def test_a_move_that_is_killed_half_way_loses_none_and_doubles_none(url: str, tmp_path: Path) -> None:
    older = OlderSystem(tmp_path / "older.db")
    exported = fill(older, NUMBER, tmp_path)
    runs = [
        await anyio.to_thread.run_sync(lambda: run(url, tmp_path, "first", kill_at=NUMBER // 2)),
        await anyio.to_thread.run_sync(lambda: run(url, tmp_path, "second", kill_at=None)),
    ]
    assert [each.code for each in runs] == [-signal.SIGKILL, 0]
    (over,) = [each for each in runs[1].said if each["what"] == "over"]
    assert (over["read"], over["refused"]) == (NUMBER, 0)
    assert over["known"] >= NUMBER // 2 - 500, "it goes on where it stopped"
    assert over["imported"] > 0
    created = [name for each in runs for name in each.created]
    assert len(created) == len(set(created)) >= 100
    async with open_store(url) as store:
        stored, trail = await everything(store), await trails(store)
        judge(stored, trail, exported, older, created)
        with (tmp_path / "export.jsonl").open(encoding="utf-8") as lines:
            checked = await store.check_import(lines)
        # What ended in the older system between its export and its release is there with that end.
        assert not checked.missing and not checked.refused
        # Behind the move: everything is in the store, and what still waits in the older system is finished there.
        router = AssessmentRouter(store, older, MovingFlags)
        older.work(100_000)
        for name in created:
            state = await router.get_state(name)
            assert state.assessment_id == name and (state.is_settled or name in stored)
        for name in random.Random(6).sample(sorted(exported), 200):
            state = await router.get_state(name, fresh=True)
            if exported[name] == "done":
                assert state.result == {"overallScore": int(name[-2:])}
        waiting = await store.list_assessments(Filters([State.PENDING]), limit=1000)
        assert all(name in trail for name in (each.assessment_id for each in waiting.assessments))
    older.close()


def judge(
    stored: dict[str, Outline],
    trail: dict[str, list[AuditEntry]],
    exported: dict[str, str],
    older: OlderSystem,
    created: list[str],
) -> None:
    """What must hold once the import is over, whatever was killed when."""
    ended = {"done": State.COMPLETED, "error": State.FAILED, "canceled": State.CANCELLED}
    done = Counter(older.done())
    assert set(done.values()) <= {1}
    for name, status in exported.items():
        assert name in stored, f"{name} was lost"
        if status in ended:
            assert stored[name].state is ended[status]
        else:
            assert stored[name].state in (State.PENDING, State.PROCESSING, State.COMPLETED)
    for name, entries in trail.items():
        begins = [each for each in entries if each.change_action in ("create", "import")]
        assert len(begins) == 1, f"{name} begins {len(begins)} times"
        assert folded(entries) == (stored[name].state, stored[name].version)
        by_store = [each for each in entries if each.change_action == "complete"]
        assert len(by_store) + done[name] <= 1, f"{name} was done by both"
    assert trail.keys() == stored.keys()
    for name in created:
        in_older = older._row(name) is not None
        assert in_older != (name in stored), f"{name} is in {'both' if in_older else 'neither'}"
