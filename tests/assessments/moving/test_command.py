"""`autocoder assessments moving`: the flags of the environment, what was decided, what differs."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.moving import AssessmentRouter

from autocoder.cli.main import execute
from tests.assessments.conftest import Answer, machine
from tests.assessments.moving.conftest import Flags
from tests.assessments.moving.older import OlderSystem

__all__ = ["machine"]
pytestmark = pytest.mark.anyio


async def test_it_tells_where_the_move_stands(
    machine: Path,
    url: str,
    router: AssessmentRouter,
    store: AssessmentStore,
    older: OlderSystem,
    flags: Flags,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def told(*words: str) -> Answer:
        capfd.readouterr()
        code = await anyio.to_thread.run_sync(execute, ["assessments", "moving", *words, "--database", url])
        return Answer(code, *capfd.readouterr())

    monkeypatch.setenv("AUTOCODER_ASSESSMENTS__MOVING__PERCENTAGE", "12.5")
    monkeypatch.setenv("AUTOCODER_ASSESSMENTS__MOVING__COMPARE", "true")
    empty = await told()
    assert (empty.code, empty.err) == (0, "")
    assert "12.5 % of new ids go to the store" in empty.out and "0 for the store, 0 for the older system" in empty.out
    await router.create({"id": "older"})
    flags.set(percentage=100, compare=True)
    for name in ("same", "other", "waits"):
        await router.create({"id": name})
    for name, score in (("same", 70), ("other", 50)):
        await store.start_processing(name)
        await store.complete(name, {"score": {"value": 70}})
        older.complete(name, overallScore=score)
    assert await router.comparisons.compare_ended() == 2
    shown = await told()
    assert shown.code == 1
    assert "3 for the store, 1 for the older system" in shown.out
    assert "2, of which 1 differ; 1 wait for it" in shown.out
    assert "differs   other  overallScore: 70 in the store, 50 in the older" in shown.out
    monkeypatch.setenv("AUTOCODER_ASSESSMENTS__MOVING__STORE", "false")
    told_json = (await told("--json", "--differing", "0")).json()
    assert told_json["flags"] == {
        "store": False,
        "percentage": 12.5,
        "legacy_fallback": False,
        "compare": True,
        "metrics": True,
        "audit": True,
    }
    assert told_json["decided"] == {"store": 3, "legacy": 1, "compared": 2, "differing": 1, "waiting": 1}
    assert told_json["differing"] == []
