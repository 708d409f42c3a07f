"""Sends, runs, kills, cancellations, replays, savepoints and retention in any order, against a model of dicts.

A hypothesis state machine over SQLite files. Each step that touches the database is a process of its own (forked, as in all
of the harness), so that a kill is a kill. Run it with `python -m tests.crash.machine [EXAMPLES]`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.crash import processes  # first: it arms the failpoints

# isort: split
import sqlalchemy as sa
from autocoder_components.flow import Inbox
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autocoder import ErrorPolicy, Keyed, Pipeline, Transformer, send
from autocoder.database import open_database
from autocoder.declaration import RetryPolicy
from autocoder.store import failpoints
from autocoder.store.dead_letters import DeadLetters, Selection
from autocoder.store.retention import Retention, clean_up
from autocoder.store.savepoints import Savepoints
from tests.crash import bugs
from tests.crash.cancellation import Counter as Awaits
from tests.crash.cancellation import run_cancelled
from tests.crash.components import FlakyError, Item, PoisonError, Table
from tests.crash.databases import Files
from tests.crash.topologies.common import DURABLE, SMALL

NAME = "machine"
PLACES = (
    "barrier.begin",
    "barrier.met",
    "commit.begin",
    "commit.settled",
    "commit.state",
    "commit.done",
    "end.met",
    "final.begin",
    "inlet.given",
    "lease.taken",
    "lease.returning",
    "message.again",
    "message.dead_letter",
    "publish.done",
    "recovery.done",
)


class Work(Transformer[Item, Item]):
    """The sum by key of what succeeds: every fifth value is poison until it is mended, every seventh fails at first."""

    mended: bool
    total = Keyed(int, default=0)

    def check(self) -> None:
        self._failed: set[int] = set()

    def key(self, one: Item, /) -> str:
        return one.k

    def process(self, one: Item, /) -> Item:
        self.total.value += one.v
        if one.v % 5 == 0 and not self.mended:
            raise PoisonError(f"message {one.n}")
        if one.v % 7 == 0 and one.n not in self._failed:
            self._failed.add(one.n)
            raise FlakyError(f"message {one.n}")
        return one


def pipeline(*, mended: bool) -> Pipeline:
    """Inbox, sums, a durable channel, rows of a table."""
    made = Pipeline(NAME, every=0.002, messages=3)
    policy = ErrorPolicy(RetryPolicy(3, 0.001, 0.004, ("FlakyError",)), "dead_letter")
    at = made.add("inbox", Inbox(payload=Item, until_empty=True), after=())
    at = made.add("work", Work(mended=mended), after=at, on_error=policy, channel=SMALL)
    made.add("table", Table(pipeline=NAME, sink="table"), after=at, channel=DURABLE)
    return made


class Machine(RuleBasedStateMachine):
    """The model: where each message stands, the sums, the rows, and what a savepoint holds of them."""

    files: Files
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self._stack = self.files.fresh()
        self.url = self._stack.__enter__()
        self.log = self.folder / "machine.log"
        self.log.write_text("")
        self.next = 0
        self.saves = 0
        self.mended = False
        self.waiting: dict[int, Item] = {}
        self.dead: dict[int, Item] = {}
        self.replayed: dict[int, Item] = {}
        self.done: dict[int, Item] = {}
        self.rows: Counter[int] = Counter()
        self.saved: dict[str, tuple[dict[int, Item], dict[int, Item], dict[int, Item], dict[int, Item]]] = {}

    def teardown(self) -> None:
        """The next example has a file of its own."""
        self._stack.__exit__(None, None, None)

    # -- steps ----------------------------------------------------------------------------------------------------

    def _step(self, work: Callable[[], Awaitable[Any]], failpoint: str = "") -> bool:
        """Do something in a process of its own; whether it came to its end."""
        pid = processes.fork(work, self.log, lambda: failpoints.arm(failpoint))
        status = processes.wait(pid, processes.PATIENCE)
        if status is None:
            processes.kill(pid)
        assert status is not None, f"a step hangs: {self.log.read_text()[-3000:]}"
        assert os.WIFSIGNALED(status) or status == 0, self.log.read_text()[-3000:]
        return status == 0

    @rule(values=st.lists(st.integers(1, 60), min_size=1, max_size=12), keys=st.integers(1, 3), killed=st.booleans())
    def send(self, values: list[int], keys: int, killed: bool) -> None:
        """Messages from outside; a sender that is killed before its COMMIT has sent nothing."""
        items = [Item(self.next + at, f"k{value % keys}", value) for at, value in enumerate(values)]
        self.next += len(items)

        async def work() -> None:
            await send(self.url, pipeline(mended=False), "inbox", items)

        if self._step(work, "inbox.inserted:1" if killed else ""):
            self.waiting.update({each.n: each for each in items})

    @rule()
    def mend(self) -> None:
        """From now on nothing is poison."""
        self.mended = True

    @rule()
    def run(self) -> None:
        """Run to the end: every message that waits is handled."""

        async def work() -> None:
            await pipeline(mended=self.mended).run_async(database=self.url, wait=True)

        assert self._step(work)
        for number, each in [*self.waiting.items(), *self.replayed.items()]:
            if each.v % 5 == 0 and not self.mended:
                self.dead[number] = each
            else:
                self.done[number] = each
                self.rows[number] += 1
        self.waiting, self.replayed = {}, {}
        self._judge()

    @precondition(lambda self: self.waiting or self.replayed)
    @rule(place=st.sampled_from(PLACES), passage=st.integers(1, 4))
    def killed_run(self, place: str, passage: int) -> None:
        """A run that is killed somewhere, and another that ends what it began."""

        async def work() -> None:
            await pipeline(mended=self.mended).run_async(database=self.url, wait=True)

        self._step(work, f"{place}:{passage}")
        self.run()

    @precondition(lambda self: self.waiting or self.replayed)
    @rule(at=st.integers(1, 400))
    def cancelled_run(self, at: int) -> None:
        """A run that is cancelled at one of its awaits, and another that ends what it began."""

        async def work() -> None:
            wrong = await run_cancelled(pipeline(mended=self.mended), self.url, Awaits(at))
            assert not wrong, wrong

        assert self._step(work)
        self.run()

    @precondition(lambda self: self.dead)
    @rule(killed=st.booleans())
    def replay(self, killed: bool) -> None:
        """All dead letters are given again."""

        async def work() -> None:
            async with open_database(self.url) as database:
                letters = DeadLetters(database)
                async for page in letters.matching(Selection(NAME)):
                    await letters.replay(page)

        if self._step(work, "replay.changed:1" if killed else ""):
            self.replayed.update(self.dead)
            self.dead = {}

    @precondition(lambda self: self.dead)
    @rule()
    def discard(self) -> None:
        """All dead letters are given up."""

        async def work() -> None:
            async with open_database(self.url) as database:
                letters = DeadLetters(database)
                async for page in letters.matching(Selection(NAME)):
                    await letters.discard(page, who="somebody", why=None)

        self._step(work)
        for held in self.saved.values():
            for each in (held[1], held[2]):
                for number in self.dead:
                    each.pop(number, None)
        self.dead = {}

    @precondition(lambda self: self.done or self.waiting or self.dead)
    @rule(killed=st.booleans())
    def save(self, killed: bool) -> None:
        """A savepoint of how everything stands."""
        name = (
            f"s{self.saves}"  # never a name again: one that retention left, or a killed process wrote, is still there
        )
        self.saves += 1

        async def work() -> None:
            async with open_database(self.url) as database:
                await Savepoints(database, NAME).save(name, expires=timedelta(days=1))

        if self._step(work, "savepoint.saved:1" if killed else ""):
            self.saved[name] = (dict(self.waiting), dict(self.dead), dict(self.replayed), dict(self.done))

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), place=st.sampled_from(["", "", "savepoint.restoring:1", "savepoint.restored:1"]))
    def restore(self, data: st.DataObject, place: str) -> None:
        """Go back to a savepoint. What was sent since is kept and given again; rows that were written stay."""
        name = data.draw(st.sampled_from(sorted(self.saved)))

        async def work() -> None:
            async with open_database(self.url) as database:
                await Savepoints(database, NAME).restore(name)

        if not self._step(work, place):
            return
        waiting, dead, replayed, done = self.saved[name]
        known = {**waiting, **dead, **replayed, **done}
        since = {number: each for number, each in {**self.waiting, **self.done}.items() if number not in known}
        # Dead letters stay as they are; one of then that has been replayed since is one again.
        self.dead = {**self.dead, **{n: each for n, each in dead.items() if n not in self.dead}}
        self.replayed = {n: each for n, each in replayed.items() if n not in self.dead} | {
            n: each for n, each in self.replayed.items() if n not in known and n not in since
        }
        self.waiting = {n: each for n, each in {**waiting, **since}.items() if n not in self.dead}
        self.done = dict(done)

    @rule()
    def clean(self) -> None:
        """Retention takes what is completed; savepoints of before may then not bring it back."""
        self.saved = {}

        async def work() -> None:
            async with open_database(self.url) as database:
                await clean_up(database, Retention(metrics=0.0, messages=0.0, checkpoints=0))

        self._step(work)

    @initialize()
    def begin(self) -> None:
        """Nothing was sent."""

    @invariant()
    def each_stands_in_one_place(self) -> None:
        """The model itself: a message is somewhere once."""
        places = [*self.waiting, *self.dead, *self.replayed, *self.done]
        assert len(places) == len(set(places))

    # -- judging --------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        found = processes.ask(self._look, self.log)
        assert Counter(found["rows"]) == Counter(list(self.rows.elements())), "I1/I3 rows"
        assert sorted(found["dead"]) == sorted(self.dead), "I3 dead letters"
        assert found["open"] == [], "I9 messages that wait after a run"
        sums: Counter[str] = Counter()
        for each in self.done.values():
            sums[each.k] += each.v
        assert {key: value for key, value in found["state"].items() if value} == dict(sums), "I1 state"

    async def _look(self) -> dict[str, Any]:
        async with open_database(self.url) as database, database.reading() as connection:

            async def column(query: str) -> list[Any]:
                return list((await connection.execute(sa.text(query))).all())

            return {
                "rows": [each[0] for each in await column("SELECT number FROM crash_rows")],
                "dead": [
                    each[0]
                    for each in await column(
                        "SELECT json_extract(message_data, '$.n') FROM port_messages WHERE status = 'dead_letter'"
                    )
                ],
                "open": [
                    list(each)
                    for each in await column(
                        "SELECT target_component, status, message_data FROM port_messages"
                        " WHERE status NOT IN ('completed', 'dead_letter')"
                    )
                ],
                "state": {
                    each[0]: int(each[1])
                    for each in await column(
                        "SELECT state_key, state_data FROM component_state WHERE state_name = 'total'"
                    )
                },
            }


def main() -> int:
    """Try so many examples."""
    processes.check()
    bugs.plant("")
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="autocoder-crash-") as folder:
        Machine.folder = Path(folder)
        Machine.files = Files(Path(folder))
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=14,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )
    print(f"{examples} examples hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
