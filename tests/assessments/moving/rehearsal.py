"""A process of the move, to be killed: it takes an export over while new assessments come through the router and are worked on.

`python -m tests.assessments.moving.rehearsal URL FOLDER NAME`: prints a line for each thing that is certain, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from autocoder_components.assessments.lifecycle.errors import AssessmentError
from autocoder_components.assessments.lifecycle.reading import Filters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.moving import AssessmentRouter, MovingFlags

from tests.assessments.moving.older import OlderSystem


def say(what: str, **facts: Any) -> None:
    """What the parent may rely on, even if this process dies with the next instruction."""
    print(json.dumps({"what": what, **facts}), flush=True)


class Exported:
    """The lines of an export; how far the reader is, is told."""

    def __init__(self, file: Path) -> None:
        self.file, self.is_over = file, False

    def __iter__(self) -> Iterator[str]:
        with self.file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % 500 == 0:
                    say("read", lines=number)
                yield line


async def create(router: AssessmentRouter, name: str, exported: Exported) -> None:
    """New assessments, half of them with ids of the caller's, for as long as the import goes on and a little longer."""
    number = 0
    while not exported.is_over or number < 100:
        request: dict[str, Any] = {"priority": number % 10 + 1}
        if number % 2:
            request["id"] = f"new-{name}-{number}"
        say("created", id=await router.create(request))
        number += 1
        await anyio.sleep(0.005)


async def work(store: AssessmentStore, older: OlderSystem, exported: Exported) -> None:
    """Workers of both systems: each takes what waits in its own."""
    while not exported.is_over:
        older.work(5)
        waiting = await store.list_assessments(Filters([State.PENDING]), limit=5)
        for each in waiting.assessments:
            try:
                begun = await store.start_processing(each.assessment_id)
                await store.complete(each.assessment_id, {"by": "store"}, attempt=begun.retry_count)
            except AssessmentError:  # another worker was faster
                continue
        await anyio.sleep(0.01)


async def main(url: str, folder: Path, name: str) -> None:
    older = OlderSystem(folder / "older.db")
    exported = Exported(folder / "export.jsonl")
    async with open_store(url) as store:
        router = AssessmentRouter(store, older, lambda: MovingFlags(percentage=50, legacy_fallback=True))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create, router, name, exported)
            tasks.start_soon(work, store, older, exported)
            report = await store.import_legacy(exported, release=older.release)
            exported.is_over = True
    say("over", read=report.read, imported=report.imported, known=report.known, refused=len(report.refused))
    older.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
