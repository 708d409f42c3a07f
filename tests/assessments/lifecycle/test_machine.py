"""The lifecycle against a model: any sequence of operations, racing ones, and a clock; the trail folds to the row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentError,
    IllegalTransitionError,
    LateResultError,
    RetriesExhaustedError,
    StaleVersionError,
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import TERMINAL, AssessmentState, Policy, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.tables import assessment_states
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from autocoder import Database, open_database, prepare
from autocoder.store.tables import port_messages
from tests.assessments.lifecycle.conftest import Clock, folded
from tests.store.fresh import BOTH, fresh_postgres, fresh_sqlite

POLICY = Policy(timeout=100, max_retries=2, backoff=4, grace=10, ageing=30)
PRIORITIES = (6, 4, 1)


@dataclass
class Model:
    """What an assessment should be."""

    state: State = State.PENDING
    version: int = 1
    attempt: int = 0
    progress: int = 0
    deadline: float | None = None
    due: bool = False
    ended: float | None = None
    late: int = 0
    tickets: int = 1
    priority: int = 5
    arrived: float = 0.0


class Lifecycle(RuleBasedStateMachine):
    """The operations of the store on one database that all examples share, each with ids of its own."""

    loop: asyncio.AbstractEventLoop
    database: Database
    examples = 0
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.prefix = f"e{type(self).examples}-"
        self.clock, self.elapsed = Clock(), 0.0
        self.store = AssessmentStore(self.database, policy=POLICY, clock=self.clock)
        self.model: dict[str, Model] = {}

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(_as_coroutine(work))

    def tried(self, work: Awaitable[Any]) -> AssessmentError | Any:
        """What an operation gave, or the error of ours that it raised."""
        try:
            return self.do(work)
        except AssessmentError as error:
            return error

    def move(self, assessment_id: str, state: State) -> Model:
        model = self.model[assessment_id]
        model.state, model.version = state, model.version + 1
        model.due = False
        if state is State.PENDING:
            model.attempt += 1
            model.progress, model.deadline, model.ended = 0, None, None
            model.tickets += 1
            model.arrived = self.elapsed
        elif state is State.PROCESSING:
            model.deadline = self.elapsed + POLICY.timeout
        else:
            model.ended = self.elapsed
            if state is State.COMPLETED:
                model.progress = 100
        return model

    @initialize(target=ids, many=st.integers(1, 3))
    def begin(self, many: int) -> Any:
        return multiple(*(self.create(number) for number in range(many)))

    def create(self, number: int) -> str:
        priority = PRIORITIES[number]
        made: str = self.do(self.store.create({"id": f"{self.prefix}{number}", "priority": priority}))
        self.model.setdefault(made, Model(priority=priority, arrived=self.elapsed))
        return made

    @rule(number=st.integers(0, 2), target=ids)
    def create_again(self, number: int) -> str:
        return self.create(number)

    @rule(each=ids, stale=st.sampled_from([None, -1, 0]))
    def start(self, each: str, stale: int | None) -> None:
        model = self.model[each]
        version = None if stale is None else model.version + stale
        found = self.tried(self.store.start_processing(each, version=version))
        if stale == -1:
            assert isinstance(found, StaleVersionError)
        elif model.state is State.PENDING:
            assert found.retry_count == model.attempt
            self.move(each, State.PROCESSING)
        else:
            assert isinstance(found, IllegalTransitionError)

    @rule(each=ids, progress=st.integers(0, 99), behind=st.integers(0, 1))
    def progress(self, each: str, progress: int, behind: int) -> None:
        model = self.model[each]
        found = self.tried(self.store.update_progress(each, progress, attempt=model.attempt - behind))
        if model.state is State.PROCESSING and not behind:
            model.progress = max(progress, model.progress)
        else:
            assert isinstance(found, LateResultError)

    @rule(each=ids, behind=st.integers(0, 1))
    def complete(self, each: str, behind: int) -> None:
        model = self.model[each]
        found = self.tried(self.store.complete(each, {"by": model.attempt}, attempt=model.attempt - behind))
        if model.state is State.PROCESSING and not behind:
            self.move(each, State.COMPLETED)
        else:
            assert isinstance(found, LateResultError)
            model.late += 1

    @rule(each=ids, retryable=st.booleans(), timed_out=st.booleans())
    def fail(self, each: str, retryable: bool, timed_out: bool) -> None:
        model = self.model[each]
        found = self.tried(self.store.fail(each, "broken", retryable=retryable, timed_out=timed_out))
        if model.state is State.PROCESSING:
            self.move(each, State.FAILED).due = retryable and model.attempt < POLICY.max_retries
        else:
            assert isinstance(found, LateResultError)
            model.late += 1

    @rule(each=ids)
    def cancel(self, each: str) -> None:
        model = self.model[each]
        found = self.tried(self.store.cancel(each, "enough"))
        if model.due or model.state in (State.PENDING, State.PROCESSING):
            self.give_up(each)
        else:
            assert isinstance(found, IllegalTransitionError)

    def give_up(self, each: str) -> None:
        if self.model[each].due:
            self.move(each, State.PENDING).tickets -= 1
        self.move(each, State.CANCELLED)

    @rule(each=ids)
    def retry(self, each: str) -> None:
        model = self.model[each]
        found = self.tried(self.store.retry(each))
        if model.state is State.FAILED and model.attempt < POLICY.max_retries:
            self.move(each, State.PENDING)
        elif model.state is State.FAILED:
            assert isinstance(found, RetriesExhaustedError)
        else:
            assert isinstance(found, IllegalTransitionError | RetriesExhaustedError)

    @rule(each=ids)
    def race(self, each: str) -> None:
        """Complete, time out and cancel at once: one of them wins, and the model follows it."""
        model = self.model[each]
        attempt = model.attempt
        racers: list[tuple[State, Awaitable[Any]]] = [
            (State.COMPLETED, self.store.complete(each, {}, attempt=attempt)),
            (State.FAILED, self.store.fail(each, "late", retryable=False, timed_out=True, attempt=attempt)),
            (State.CANCELLED, self.store.cancel(each)),
        ]

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(work for _, work in racers), return_exceptions=True)

        outcomes = list(zip((state for state, _ in racers), self.do(all_at_once()), strict=True))
        won = [state for state, outcome in outcomes if isinstance(outcome, AssessmentState)]
        for _, outcome in outcomes:
            assert isinstance(outcome, AssessmentState | IllegalTransitionError), outcome
            model.late += isinstance(outcome, LateResultError)
        if model.state is State.PROCESSING:
            assert len(won) == 1
            self.move(each, won[0])
        else:
            assert won == ([State.CANCELLED] if model.due or model.state is State.PENDING else [])
            if won:
                self.give_up(each)

    @rule(each=ids)
    def race_of_the_silent(self, each: str) -> None:
        """One that was silent for too long comes back while two sweep: it has its verdict, or another attempt, never both."""
        model = self.model[each]
        if model.state is not State.PROCESSING:
            return
        self.sweep()  # of the others
        if model.state is not State.PROCESSING:
            return
        others = {name for name, other in self.model.items() if other is not model and other.state is State.PROCESSING}
        self.clock.move(200)
        self.elapsed += 200
        attempt = model.attempt

        async def all_at_once() -> list[Any]:
            works = (self.store.sweep(), self.store.complete(each, {}, attempt=attempt), self.store.sweep())
            return await asyncio.gather(*works, return_exceptions=True)

        one, completed, two = self.do(all_at_once())
        for name in (*one.rescued, *two.rescued):
            if name in self.model:
                self.move(name, State.PENDING)
        for name in (*one.given_up, *two.given_up):
            if name in self.model:
                self.move(name, State.FAILED)
        for name in (*one.retried, *two.retried):
            if name in self.model:
                assert self.model[name].due
                self.move(name, State.PENDING)
        swept = [name for found in (one, two) for part in (found.rescued, found.given_up) for name in part]
        assert len(swept) == len(set(swept))
        assert others <= set(swept)
        if isinstance(completed, AssessmentState):
            assert each not in swept
            self.move(each, State.COMPLETED)
        else:
            assert isinstance(completed, LateResultError) and each in swept
            model.late += 1

    @rule(each=ids)
    def come_back_while_the_next_goes_on(self, each: str) -> None:
        """Whoever was silent for too long has a verdict when the next attempt is under way: it does not count."""
        model = self.model[each]
        attempt = model.attempt
        if model.state is State.PENDING:
            self.start(each, None)
        if model.state is not State.PROCESSING or attempt == POLICY.max_retries:
            return
        self.time_passes(111)
        self.sweep()
        self.start(each, None)
        for late in (self.store.complete(each, {}, attempt=attempt), self.store.fail(each, "late", attempt=attempt)):
            assert isinstance(self.tried(late), LateResultError)
            model.late += 1

    @rule(seconds=st.sampled_from([1, 5, 60, 111]))
    def time_passes(self, seconds: int) -> None:
        self.clock.move(seconds)
        self.elapsed += seconds

    @rule()
    def sweep(self) -> None:
        """Pauses before retries are random; none is longer than the doubled backoff, and the model waits that long."""
        self.time_passes(20)
        swept = self.do(self.store.sweep())
        mine = {name for name in self.model if name.startswith(self.prefix)}
        retried, rescued, given_up = (set(each) & mine for each in (swept.retried, swept.rescued, swept.given_up))
        due = {name for name, model in self.model.items() if model.due}
        silent = {
            name
            for name, model in self.model.items()
            if model.state is State.PROCESSING and self.elapsed > (model.deadline or 0) + POLICY.grace
        }
        remain = {name for name in silent if self.model[name].attempt < POLICY.max_retries}
        assert (retried, rescued, given_up) == (due, remain, silent - remain)
        for name in retried | rescued:
            self.move(name, State.PENDING)
        for name in given_up:
            self.move(name, State.FAILED)

    @invariant()
    def rows_are_as_the_model_and_trails_fold_to_them(self) -> None:
        for name, model in self.model.items():
            for fresh in (False, True):
                state: AssessmentState = self.do(self.store.get_state(name, fresh=fresh))
                assert (state.state, state.version, state.retry_count) == (model.state, model.version, model.attempt)
                assert state.progress == model.progress
            assert (state.completed_at is not None) == (state.state in TERMINAL)
            assert (state.next_retry_at is not None) == model.due
            trail = self.do(self.store.audit(AuditFilters(assessment_id=name), limit=1000))
            assert folded(trail) == (model.state, model.version)
            assert sum(each.change_action == "late_result" for each in trail) == model.late

    @invariant()
    def who_waits_is_ordered_by_priority_and_by_how_long(self) -> None:
        async def order() -> list[str]:
            table = assessment_states.c
            query = sa.select(table.assessment_id).where(table.state == State.PENDING)
            async with self.database.reading() as connection:
                found = (await connection.execute(query.order_by(table.claim_rank, table.id))).scalars()
                return [each for each in found if each in self.model]

        waiting = [name for name, model in self.model.items() if model.state is State.PENDING]
        ranks = {name: self.model[name].arrived + POLICY.ageing * self.model[name].priority for name in waiting}
        assert [ranks[each] for each in self.do(order())] == sorted(ranks.values())

    def teardown(self) -> None:
        """Every time it became pending there was one message; then nothing is left to sweep for the next example."""

        async def finished() -> list[str]:
            async with self.database.reading() as connection:
                data = port_messages.c.message_data
                rows = (await connection.execute(port_messages.select().with_only_columns(data))).scalars()
                sent = [each for each in rows if f'"{self.prefix}' in each]
            for name, model in self.model.items():
                if model.state in (State.PENDING, State.PROCESSING):
                    await self.store.cancel(name)
            self.clock.move(10 * 86_400)
            await self.store.batch_retry_failed()
            for name in self.model:
                if (await self.store.get_state(name, fresh=True)).state is State.PENDING:
                    await self.store.cancel(name)
            return sent

        assert len(self.do(finished())) == sum(model.tickets for model in self.model.values())


async def _as_coroutine(work: Awaitable[Any]) -> Any:
    return await work


@pytest.mark.parametrize("kind", BOTH)
def test_any_sequence_of_operations(kind: str, request: pytest.FixtureRequest) -> None:
    postgres = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    loop = asyncio.new_event_loop()
    with TemporaryDirectory() as folder:
        place = fresh_postgres(postgres) if postgres is not None else None
        url = loop.run_until_complete(place.__aenter__()) if place is not None else fresh_sqlite(Path(folder))
        opening = open_database(url)
        database = loop.run_until_complete(opening.__aenter__())
        try:
            loop.run_until_complete(prepare(database))
            machine = type(f"Lifecycle_{kind}", (Lifecycle,), {"loop": loop, "database": database, "examples": 0})
            few = settings(max_examples=40, stateful_step_count=25)
            run_state_machine_as_test(machine, settings=few)
        finally:
            loop.run_until_complete(opening.__aexit__(None, None, None))
            if place is not None:
                loop.run_until_complete(place.__aexit__(None, None, None))
            loop.close()
