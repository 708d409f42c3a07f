"""What the processes of the assessment cases do: ask, serve as the shipped pipeline, or work through the store."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import autocoder_components.assessments as pack
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentError,
    IllegalTransitionError,
    LateResultError,
)
from autocoder_components.assessments.lifecycle.reading import Filters
from autocoder_components.assessments.lifecycle.states import Actor, AssessmentState, Policy, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store

from autocoder import Pipeline
from autocoder.errors import Place
from autocoder.fingerprint import fingerprint_of
from autocoder.yaml_document import from_python

TOGETHER: Final = 10
"""Requests that are stored in one transaction; every other such group is stored one by one."""
CONFIGURATION: Final = '{"mcpServers": {"files": {"command": "npx", "args": ["files@1.2.3"]}}}'
POLICY: Final = Policy(timeout=1.0, grace=0.0, backoff=0.01, backoff_cap=0.05, max_retries=100)
HOPELESS: Final = "no attempt will succeed"
ENDS: Final[dict[str, Any]] = {
    "inbox": {"with": {"until_empty": True}},
    "due": {"with": {"once": True}},
    "overdue": {"with": {"once": True}},
}


@dataclass(frozen=True)
class Wanted:
    """An assessment that is asked for, and what may become of it; all of it follows from its number."""

    number: int

    @property
    def id(self) -> str:
        return f"{'broken' if self.is_broken else 'sound'}-{self.number:04}"

    @property
    def is_broken(self) -> bool:
        """Whether no attempt gets a verdict, and none is worth while."""
        return self.number % 25 == 7

    @property
    def is_flaky(self) -> bool:
        """Whether the first attempt fails as if the next might succeed."""
        return self.number % 7 == 3

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody tries to cancel it."""
        return self.number % 9 == 4

    @property
    def is_tried_once(self) -> bool:
        """Whether it has no attempt behind the first."""
        return self.number % 10 == 9

    def request(self) -> dict[str, Any]:
        more = {"max_retries": 0} if self.is_tried_once else {}
        candidate = {"text": CONFIGURATION, "name": f"{self.id}.json"}
        return {"id": self.id, "priority": 1 + self.number % 10, "candidates": [candidate], **more}


async def ask(url: str, kind: str, upto: int) -> None:
    """Ask for all up to a number and cancel some of them; whatever of it was done before changes nothing."""
    async with open_store(url, actor=Actor("asker"), policy=policy_of(kind)) as store:
        for at in range(0, upto, TOGETHER):
            some = [Wanted(number) for number in range(at, min(at + TOGETHER, upto))]
            if at // TOGETHER % 2:
                for each in some:
                    await store.create(each.request())
            else:
                await store.batch_create([each.request() for each in some])
            for each in some:
                if each.is_cancelled:
                    with suppress(IllegalTransitionError):
                        await store.cancel(each.id, "not wanted any more")


def policy_of(kind: str) -> Policy:
    """The service keeps its own; who works through the store has little time."""
    return Policy() if kind == "service" else POLICY


def service(folder: Path) -> Pipeline:
    """The shipped pipeline, which breaks on what is broken, until nothing waits."""
    shipped = Path(pack.__file__ or "").with_name("pipelines") / "assessments.yaml"
    text = shipped.read_text().replace("from: wanted}", "from: breaks}")
    text += "  breaks: {use: tests.assessments.lifecycle.breaking:Breaks, from: wanted}\n"
    written = {"reports": {"with": {"folder": str(folder)}}, "security": {"with": {"salt_file": str(folder / "salt")}}}
    overrides = {"components": ENDS | written}
    return Pipeline.from_yaml(
        text, allowed=["tests.assessments"], overrides=from_python(overrides, Place("tests.crash"))
    )


def get_ready() -> None:
    """Import all and look at every type before lives are forked, each of which would do it again."""
    fingerprint_of(service(Path()).compile())


async def serve(url: str, folder: Path) -> None:
    """One of several instances of the service."""
    await service(folder).run_async(database=url, wait=True)


async def work(url: str, name: str) -> None:
    """One of several workers without a pipeline, until everything that was asked for has its end."""
    async with open_store(url, actor=Actor(name), policy=POLICY) as store:
        while True:
            await store.sweep()
            page = await store.list_assessments(Filters([State.PENDING]), limit=20)
            for each in random.sample(page.assessments, len(page.assessments)):
                await _attempt(store, each.assessment_id)
            if not page.assessments and await _all_settled(store):
                return
            await anyio.sleep(0.01)


async def _attempt(store: AssessmentStore, assessment_id: str) -> None:
    try:
        begun = await store.start_processing(assessment_id)
    except AssessmentError:
        return  # another has it, or it was cancelled
    with suppress(LateResultError):
        await store.update_progress(assessment_id, 40, "half way", attempt=begun.retry_count)
        await anyio.sleep(random.random() ** 3 * 0.01)
        await _end(store, begun)


async def _end(store: AssessmentStore, begun: AssessmentState) -> None:
    wanted, attempt = Wanted(int(begun.assessment_id.partition("-")[2])), begun.retry_count
    if wanted.is_broken:
        await store.fail(wanted.id, HOPELESS, retryable=False, attempt=attempt)
    elif wanted.is_flaky and attempt == 0 and not wanted.is_tried_once:
        await store.fail(wanted.id, "the first attempt", attempt=attempt)
    else:
        await store.complete(wanted.id, {"attempt": attempt}, attempt=attempt)


async def _all_settled(store: AssessmentStore) -> bool:
    going = await store.list_assessments(Filters([State.PENDING, State.PROCESSING]), limit=1)
    failed = await store.list_assessments(Filters([State.FAILED]), limit=1000)
    return not going.assessments and all(each.is_settled for each in failed.assessments)
