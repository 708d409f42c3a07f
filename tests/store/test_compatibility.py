"""What a changed pipeline may go on with, on both databases: every row of the rules, and renames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder import Batch, Keyed, Pipeline, Sink, Source, Transformer, Value
from autocoder.compatibility import IncompatibleError
from autocoder.component import Component
from autocoder.database import Database
from autocoder.declaration import ChannelOptions
from autocoder.errors import ConfigurationError
from autocoder.fingerprint import fingerprint_of
from autocoder.store.fingerprints import read_fingerprint
from autocoder.store.inbox import insert_messages
from autocoder.store.savepoints import Savepoints
from autocoder.store.tables import checkpoints, component_state, port_messages
from tests.support import Collect, Double, Numbers

pytestmark = pytest.mark.anyio
DURABLE = ChannelOptions(durable=True)


class Sum(Transformer[int, int]):
    """Totals by the last digit."""

    step: int = 1
    total = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number % 10)

    def process(self, number: int, /) -> int:
        self.total.value += number * self.step
        return number


class FloatSum(Transformer[int, int]):
    """The same in another type."""

    total = Keyed(float, default=0.0)

    def key(self, number: int, /) -> str:
        return str(number % 10)

    def process(self, number: int, /) -> int:
        self.total.value += number
        return number


class PlainSum(Transformer[int, int]):
    """The same without a key."""

    total = Value(int, default=0)

    def process(self, number: int, /) -> int:
        self.total.value += number
        return number


class OtherSum(Transformer[int, int]):
    """The same under another name."""

    sums = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number % 10)

    def process(self, number: int, /) -> int:
        self.sums.value += number
        return number


class NextSum(Sum, version="2"):
    """The totals mean something else."""


class OtherNumbers(Numbers):
    """Numbers in another class."""


class SumSink(Sink[int]):
    """A sink where a transformer was."""

    def write(self, batch: Sequence[int], /) -> None: ...


class Texts(Transformer[str, str]):
    """Takes text."""

    def process(self, text: str, /) -> str:
        return text


class Text(Source[str]):
    """One text."""

    async def read(self, resume: Any, /) -> Any:
        yield Batch(["a"])


def chain(middle: Component, name: str = "sum", *, source: Component | None = None, old: str | None = None) -> Pipeline:
    """`numbers -> middle -> out`."""
    made: Any = Pipeline("changing")
    numbers = made.add("numbers", source or Numbers(upto=30))
    made.add("out", Collect(), after=made.add(name, middle, after=numbers, channel=DURABLE, renamed_from=old))
    return made  # type: ignore[no-any-return]


async def rows(database: Database, column: Any) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.execute(sa.select(column))).scalars())


async def refused(pipeline: Pipeline, url: str) -> list[str]:
    with pytest.raises(IncompatibleError) as caught:
        await pipeline.run_async(database=url)
    assert caught.value.exit_code == 78 and all("--restart" in (each.cure or "") for each in caught.value.problems)
    return [f"{each.what}; {each.found}" for each in caught.value.problems]


async def leave_message(database: Database, component: str = "sum") -> None:
    async with database.transaction() as connection:
        await insert_messages(connection, "changing", component, "in", ["7"])


async def test_the_fingerprint_is_kept(url: str, database: Database) -> None:
    pipeline = chain(NextSum())
    await pipeline.run_async(database=url)
    async with database.reading() as connection:
        kept = await read_fingerprint(connection, "changing")
    assert kept == fingerprint_of(pipeline.compile())
    assert kept["sum"]["version"] == "2" and kept["sum"]["durable"] == ["in"]
    assert kept["sum"]["state"]["total"]["scope"] == "keyed" and kept["sum"]["ports"]["out"]["type"] == "int"


@pytest.mark.parametrize(
    ("middle", "said"),
    [
        (FloatSum(), "state 'total' was keyed int and is keyed float; 10 values"),
        (PlainSum(), "state 'total' was keyed int and is plain int"),
        (OtherSum(), "has no state 'total' any more; 10 values of it"),
        (NextSum(), "has version '2', and what is stored is of version ''"),
        (Double(), "has no state 'total' any more"),
    ],
)
async def test_changed_state_is_refused_and_restart_accepts_it(url: str, middle: Component, said: str) -> None:
    await chain(Sum()).run_async(database=url)
    (problem,) = await refused(chain(middle), url)
    assert said in problem
    await refused(chain(middle), url)  # the refusal has changed nothing
    summary = await chain(middle).run_async(database=url, restart=True)
    assert summary.messages_in == 30
    assert (await chain(middle).run_async(database=url)).messages_in == 0


async def test_a_component_that_is_gone_is_refused_where_it_left_something(url: str) -> None:
    await chain(Sum()).run_async(database=url)
    (problem,) = await refused(chain(Sum(), "total"), url)
    assert "component 'sum' is gone, and has left something behind; 10 values of state 'total'" in problem


async def test_another_kind_is_refused(url: str) -> None:
    await chain(Sum()).run_async(database=url)
    made = Pipeline("changing")
    made.add("sum", SumSink(), after=made.add("numbers", Numbers(upto=30)))
    assert "was a transformer and is a sink" in (await refused(made, url))[0]


async def test_a_source_of_another_class_is_refused(url: str) -> None:
    await chain(Double()).run_async(database=url)
    (problem,) = await refused(chain(Double(), source=OtherNumbers(upto=30)), url)
    assert "was Numbers and is OtherNumbers" in problem


async def test_waiting_messages_need_their_port_their_type_and_a_durable_channel(url: str, database: Database) -> None:
    await chain(Double(), "sum").run_async(database=url)
    await leave_message(database)
    made = Pipeline("changing")
    made.add("out", Collect(), after=made.add("sum", Double(), after=made.add("numbers", Numbers(upto=30))))
    assert "takes 'in' from a channel in memory now" in (await refused(made, url))[0]
    other = Pipeline("changing")
    texts = other.add("sum", Texts(), after=other.add("texts", Text()), channel=DURABLE)
    other.add("out", Collect(), after=texts)
    problems = await refused(other, url)
    assert any("port 'in' carried int and carries str; 1 message waiting there" in each for each in problems)
    await chain(Double(), "sum").run_async(database=url)
    await made.run_async(database=url)  # nothing waits any more


async def test_new_components_another_configuration_and_what_left_nothing_are_compatible(url: str) -> None:
    await chain(Sum()).run_async(database=url)
    made = Pipeline("changing", every=0.5)
    total = made.add("sum", Sum(step=2), after=made.add("numbers", Numbers(upto=40)))
    made.add("end", Collect(), after=made.add("new", Double(), after=total))
    assert (await made.run_async(database=url)).messages_in == 10
    await chain(Sum()).run_async(database=url)


def order(**fields: Any) -> Pipeline:
    """A pipeline whose state is an `Order` of these fields."""
    kind = dataclass(
        type(
            "Order",
            (),
            {"__annotations__": {"n": int, **fields}, "extra": None} if fields else {"__annotations__": {"n": int}},
        )
    )

    class Last(Transformer[int, int]):
        """The last one."""

        last = Value(kind | None, default=None)

        def process(self, number: int, /) -> int:
            self.last.value = kind(number)
            return number

    return chain(Last(), "last")


async def test_fields_that_changed_under_the_same_name_are_judged_by_what_is_stored(url: str) -> None:
    await order().run_async(database=url)
    await order(extra=int | None).run_async(database=url)  # it has a default

    class Needy(Transformer[int, int]):
        """Its state wants a field that is not there."""

        @dataclass
        class Order:
            n: int
            wanted: str

        last = Value(Order | None, default=None)

        def process(self, number: int, /) -> int:
            return number

    (problem,) = await refused(chain(Needy(), "last"), url)
    assert "have changed, and stored values do not fit them" in problem and "wanted: missing" in problem


async def test_a_rename_moves_what_is_kept(url: str, database: Database) -> None:
    await chain(Sum()).run_async(database=url)
    await leave_message(database)
    renamed = chain(Sum(), "total", old="sum")
    await renamed.run_async(database=url)
    assert await rows(database, component_state.c.component_name) == {"total"}
    assert await rows(database, port_messages.c.target_component) == {"total"}
    async with database.reading() as connection:
        query = sa.select(component_state.c.state_data).where(component_state.c.state_key == "7")
        assert (await connection.execute(query)).scalar_one() == str(7 + 17 + 27 + 7)
    await renamed.run_async(database=url)  # it may stay declared
    await chain(Sum(), "total").run_async(database=url)


async def test_a_rename_of_a_source_keeps_its_position_and_a_savepoint_from_before_is_renamed_too(
    url: str, database: Database
) -> None:
    await chain(Double()).run_async(database=url)
    await Savepoints(database, "changing").save("before")
    made: Any = Pipeline("changing")
    made.add("out", Collect(), after=made.add("counted", Numbers(upto=30), renamed_from="numbers"))
    assert (await made.run_async(database=url)).messages_in == 0
    running = sa.case((checkpoints.c.checkpoint_name == "", checkpoints.c.component_name), else_="")
    assert await rows(database, running) - {""} == {"counted"}
    await Savepoints(database, "changing").restore("before")
    assert await rows(database, running) - {""} == {"numbers"}
    assert (await made.run_async(database=url)).messages_in == 0


async def test_a_rename_onto_something_that_has_rows_of_its_own_is_refused(url: str) -> None:
    await chain(Sum()).run_async(database=url)
    both: Any = chain(Sum())
    both.add("end", Collect(), after=both.add("total", Sum(), after=both.add("more", Numbers(upto=5))))
    await both.run_async(database=url)
    made: Any = Pipeline("changing")
    made.add(
        "out",
        Collect(),
        after=made.add("total", Sum(), after=made.add("numbers", Numbers(upto=30)), renamed_from="sum"),
    )
    (problem,) = await refused(made, url)
    assert "'total' is renamed from 'sum', but both have something stored" in problem


def test_an_old_name_belongs_to_one_component_alone() -> None:
    text = """
        pipeline: p
        components:
          a: {use: flow.Generate, with: {count: 1}}
          b: {use: flow.Discard, from: a, renamed_from: a}
          c: {use: flow.Discard, from: a, renamed_from: old}
          d: {use: flow.Discard, from: a, renamed_from: old}
    """
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(text)
    whats = [(each.place.line, each.what, each.found) for each in caught.value.problems]
    assert whats == [
        (5, "component 'b' cannot be renamed from 'a'", "a component of that name"),
        (7, "component 'd' cannot be renamed from 'old'", "'c' is renamed from it, too"),
    ]
    declared = Pipeline.from_yaml(
        text.replace(", renamed_from: a}", "}").replace(
            "d: {use: flow.Discard, from: a, renamed_from: old}", "d: {use: flow.Discard, from: a}"
        )
    )
    assert declared.compile().nodes["c"].renamed_from == "old"
