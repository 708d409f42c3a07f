"""Whatever flags, failures, imports and callers do, in whatever order: both systems never do the same, and none is lost."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.lifecycle.errors import AssessmentError
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.moving import AssessmentRouter, MovingFlags
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from autocoder import DatabaseOptions, open_database, prepare
from tests.assessments.moving.older import OlderSystem
from tests.store.fresh import fresh_sqlite

pytestmark = pytest.mark.anyio
IDS = ("a", "b", "c")
ALL = MovingFlags(percentage=100, legacy_fallback=True)
NONE = MovingFlags(percentage=0)
FLAGS = st.builds(
    MovingFlags,
    store=st.booleans(),
    percentage=st.sampled_from((0.0, 50.0, 100.0)),
    legacy_fallback=st.booleans(),
    compare=st.sampled_from((False, False, False, False, False, True)),
)
STEP = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(IDS)),
    st.tuples(st.just("create"), st.sampled_from(IDS)),
    st.tuples(st.just("create new"), st.none()),
    st.tuples(st.just("flags"), FLAGS),
    st.tuples(st.just("lock the store"), st.booleans()),
    st.tuples(st.just("take the older system away"), st.booleans()),
    st.tuples(st.just("import"), st.none()),
    st.tuples(st.just("work"), st.none()),
    st.tuples(st.just("forget decisions"), st.none()),
)


class World:
    """Two systems, a router between them, and what callers were told."""

    def __init__(self, store: AssessmentStore, older: OlderSystem) -> None:
        self.store, self.older = store, older
        self.flags = MovingFlags(percentage=50, legacy_fallback=True)
        self.router = AssessmentRouter(store, older, lambda: self.flags)
        self.created: set[str] = set()
        self.compared: set[str] = set()
        self.failed_imports: list[list[str]] = []
        self.lock = ExitStack()

    async def step(self, name: str, value: Any) -> None:
        match name:
            case "create" | "create new":
                await self._create({} if value is None else {"id": value})
            case "flags":
                self.flags = value
            case "lock the store":
                self.lock.close()
                if value:
                    path = self.store.database.path
                    other = self.lock.enter_context(closing(sqlite3.connect(str(path), isolation_level=None)))
                    other.execute("BEGIN IMMEDIATE")
            case "take the older system away":
                self.older.is_away = value
            case "import":
                self.failed_imports.append(list(self.older.export()))
                await self._import(self.failed_imports[-1])
                self.failed_imports.pop()
            case "work":
                await self.work()
            case "forget decisions":
                await self.router.cleanup(0)

    async def _create(self, request: dict[str, Any]) -> None:
        if self.flags.compare and "id" in request:
            self.compared.add(request["id"])
        made = await self.router.create(request)
        self.created.add(made)
        if self.flags.compare:
            self.compared.add(made)

    async def _import(self, exported: list[str]) -> None:
        await self.store.import_legacy(exported, release=self.older.release)

    async def import_again(self) -> None:
        """An import that failed is repeated with the same export: what the older system gave up before is in it."""
        for each in self.failed_imports:
            await self._import(each)

    async def work(self) -> None:
        """Let both systems end what they have."""
        self.older.work(1000)
        for each in (await self.store.list_assessments(Filters([State.PENDING]), limit=1000)).assessments:
            begun = await self.store.start_processing(each.assessment_id)
            await self.store.complete(each.assessment_id, {}, attempt=begun.retry_count)


@pytest.fixture(scope="module")
async def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's file with nothing in it: to make one takes longer than an example."""
    folder = tmp_path_factory.mktemp("empty")
    async with open_database(fresh_sqlite(folder)) as database:
        await prepare(database)
    (made,) = folder.glob("*.db")
    return made


@settings(max_examples=40)
@given(st.lists(STEP, min_size=3, max_size=20))
@example([("flags", ALL), ("create", "a"), ("lock the store", True), ("create", "a")])
@example([("flags", NONE), ("create", "a"), ("forget decisions", None), ("flags", ALL), ("create", "a")])
@example([("flags", ALL), ("create", "a"), ("forget decisions", None), ("flags", NONE), ("create", "a")])
@example([("flags", NONE), ("create", "a"), ("lock the store", True), ("import", None)])
async def test_one_system_does_it_and_none_is_lost(empty: Path, steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        older = OlderSystem(Path(folder) / "older.db")
        options = replace(DatabaseOptions(fresh_sqlite(Path(folder))), busy_timeout=0.001)
        shutil.copy(empty, Path(folder) / "autocoder.db")
        async with open_database(options) as database:
            world = World(AssessmentStore(database), older)
            for name, value in steps:
                with suppress(AssessmentError, DBAPIError, OSError):  # who asks is told, and nothing else may happen
                    await world.step(name, value)
            world.lock.close()
            older.is_away = False
            await world.import_again()
            await world.work()
            await world.work()
            await judge(world)
        older.close()


async def judge(world: World) -> None:
    by_store = Counter(
        each.assessment_id for each in await world.store.audit(AuditFilters(action="complete"), limit=10_000)
    )
    by_older = Counter(world.older.done())
    for each in by_store.keys() | by_older.keys():
        most = 2 if each in world.compared else 1
        assert by_store[each] <= 1 and by_older[each] <= 1 and by_store[each] + by_older[each] <= most, each
    for each in world.created:
        state = await world.router.get_state(each, fresh=True)
        assert state.state is State.COMPLETED, f"{each} is {state.state}"
        assert by_store[each] + by_older[each] >= 1
