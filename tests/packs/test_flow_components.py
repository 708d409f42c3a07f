"""The components of the pack `flow`, each in a pipeline as its user writes it."""

from __future__ import annotations

import inspect
import itertools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components import flow
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoder import Component, Pipeline, Sink, send
from autocoder.errors import ConfigurationError

# Pipelines of the test collect into a list that the test can read.
collected: dict[str, list[Any]] = {}


class Collect(Sink[Any]):
    """Keep what arrives under `name`."""

    name: str

    def write(self, batch: Sequence[Any], /) -> None:
        collected.setdefault(self.name, []).extend(batch)


@pytest.fixture(autouse=True)
def _nothing_collected() -> None:
    collected.clear()


def through(component: Component, payloads: Sequence[Any]) -> list[Any]:
    """What a component gives for these payloads, without a pipeline around it."""
    given: list[Any] = []
    for payload in payloads:
        cells = [getattr(component, name) for name in _cells(component)]
        for cell in cells:
            cell.begin(component.key(payload) if hasattr(component, "key") else "")
        result = component.process(payload)  # type: ignore[attr-defined]
        given.extend([] if result is None else [result])
    given.extend(component.finish())  # type: ignore[attr-defined]
    return given


def _cells(component: Component) -> list[str]:
    return [name for name in ("seen", "count", "gathered", "counts") if hasattr(component, name)]


def run(text: str) -> dict[str, list[Any]]:
    """Run a pipeline in which `Collect` stands for the sink; returns what was collected by name."""
    from autocoder.registry import Registry

    registry = Registry.installed().with_component("test.Collect", Collect)
    Pipeline.from_yaml(text, registry=registry).run()
    return collected


@pytest.mark.parametrize("use", ["flow.Generate", "flow.Throttle", "files.ReadLines", "http.Get", "sql.Select"])
def test_no_rate_and_no_interval_is_infinite(use: str) -> None:
    field = {"files.ReadLines": "poll", "http.Get": "every", "sql.Select": "poll"}.get(use, "per_second")
    with pytest.raises(ConfigurationError, match=f"a: {field}: must be a finite number"):
        Pipeline.from_yaml(f"pipeline: p\ncomponents:\n  a: {{use: {use}, with: {{{field}: .inf}}}}\n").compile()


documented = [getattr(flow, name) for name in flow.__all__ if issubclass(getattr(flow, name), Component)]


@pytest.mark.parametrize("component", documented, ids=lambda each: each.__name__)
def test_the_example_in_the_documentation_runs(component: type[Component], tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(component) or "", re.DOTALL)
    assert examples
    for example in examples:
        assert f"flow.{component.__name__}" in example
        pipeline = Pipeline.from_yaml(example)
        inboxes = [node.name for node in pipeline.compile().nodes.values() if node.inbox is not None]
        database = f"sqlite:///{tmp_path}/kept.db" if inboxes else None
        for name in inboxes:
            anyio.run(send, database, pipeline, name, [{"number": 1}])
        summary = pipeline.run(database=database)
        assert summary.dead_letters == 0
        assert summary.messages_out > 0


@pytest.mark.parametrize("component", documented, ids=lambda each: each.__name__)
def test_every_field_is_described(component: type[Component]) -> None:
    for name, field in component.config_model().model_fields.items():
        assert field.description, f"{component.__name__}.{name}"


def test_filter_keeps_what_meets_the_condition() -> None:
    assert through(flow.Filter(where="payload % 2 == 0"), range(6)) == [0, 2, 4]


def test_filter_makes_a_dead_letter_of_what_it_cannot_judge() -> None:
    pipeline = Pipeline.from_yaml("""
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 5, value: "i == 2 ? {'b': i} : {'a': i}"}}
  some: {use: flow.Filter, from: numbers, with: {where: a > 0}}
  done: {use: flow.Discard, from: some}
""")
    summary = pipeline.run()
    assert summary.components["some"].dead_letters == 1
    assert summary.components["done"].taken == 3


@dataclass(frozen=True)
class Order:
    id: int
    note: str


def test_map_makes_a_dict_or_a_value() -> None:
    order = Order(2, "x")
    assert through(flow.Map(fields={"double": "id * 2", "note": "note"}), [order]) == [{"double": 4, "note": "x"}]
    assert through(flow.Map(value="id + 1"), [order]) == [3]
    assert through(flow.Map(fields={"id": "id + 1"}, keep=True), [order]) == [{"id": 3, "note": "x"}]
    with pytest.raises(TypeError, match="int, which has no fields"):
        through(flow.Map(fields={"n": "payload"}, keep=True), [1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (flow.Map, "give either fields"),
        (lambda: flow.Map(fields={}), "name at least one"),
        (lambda: flow.Map(value="1", keep=True), "keep goes with fields"),
        (flow.Sample, "give either every"),
        (lambda: flow.Sample(every=2, by="id"), "by goes with fraction"),
        (lambda: flow.Sample(fraction=1.5), "less than or equal to 1"),
        (lambda: flow.Route(routes={"a.b": "true"}), "no port name"),
        (lambda: flow.Route(routes={"a": "true"}, otherwise="a"), "has a condition in routes"),
        (lambda: flow.Concat(inputs=["a", "a"]), "occurs twice"),
        (lambda: flow.Zip(inputs=["a"]), "at least 2"),
        (lambda: flow.Join(inputs={"a": "x"}), "a join has two inputs, found 1"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(wrong: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()


def test_route_takes_the_first_condition_that_is_met() -> None:
    route = flow.Route(routes={"high": "payload > 7", "some": "payload > 2"}, otherwise="rest")
    assert [each.port for n in (9, 5, 1) for each in route.process(n)] == ["high", "some", "rest"]
    assert set(route.outputs()) == {"high", "some", "rest"}


def test_route_every_sends_to_all_that_are_met_and_drops_without_otherwise() -> None:
    route = flow.Route(routes={"high": "payload > 7", "some": "payload > 2"}, every=True)
    assert [[each.port for each in route.process(n)] for n in (9, 5, 1)] == [["high", "some"], ["some"], []]


def test_an_output_of_route_that_goes_nowhere_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="goes nowhere"):
        Pipeline.from_yaml("""
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 5}}
  route: {use: flow.Route, from: numbers, with: {routes: {a: payload > 1, b: "true"}}}
  done: {use: flow.Discard, from: route.a}
""")


def test_concat_emits_one_input_after_the_other() -> None:
    got = run("""
pipeline: p
components:
  slow: {use: flow.Generate, with: {count: 30, value: "'a' + string(i)", per_second: 500}}
  fast: {use: flow.Generate, with: {count: 5000, value: "'b' + string(i)"}}
  last: {use: flow.Generate, with: {count: 2, value: "'c' + string(i)"}}
  all: {use: flow.Concat, from: {x: fast, y: slow, z: last}, with: {inputs: [y, x, z]}}
  end: {use: test.Collect, from: all, with: {name: all}}
""")
    assert got["all"] == [*(f"a{i}" for i in range(30)), *(f"b{i}" for i in range(5000)), "c0", "c1"]


def zipped(left: int, right: int, **config: Any) -> list[Any]:
    collected.clear()
    pipeline = Pipeline("p")
    a = pipeline.add("a", flow.Generate(count=left))
    b = pipeline.add("b", flow.Generate(count=right, value="-i"))
    both = pipeline.add("both", flow.Zip(inputs=["a", "b"], **config), after={"a": a, "b": b})
    pipeline.add("end", Collect(name="both"), after=both)
    pipeline.run()
    return collected.get("both", [])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 5))
def test_zip_pairs_like_zip_and_zip_longest(left: int, right: int, ahead: int) -> None:
    a, b = list(range(left)), [-i for i in range(right)]
    assert zipped(left, right, ahead=ahead) == [list(pair) for pair in zip(a, b, strict=False)]
    assert zipped(left, right, ahead=ahead, longest=True) == [list(pair) for pair in itertools.zip_longest(a, b)]


def test_zip_takes_more_than_a_channel_holds_of_either_side() -> None:
    assert len(zipped(5000, 3000)) == 3000
    assert len(zipped(3000, 5000, longest=True)) == 5000


def test_zip_holds_the_input_that_is_ahead() -> None:
    zip_ = flow.Zip(inputs=["a", "b"], ahead=2)
    zip_.queues.begin("")
    assert not zip_.holds("a")
    assert [zip_.on_message("a", 1), zip_.on_message("a", 2)] == [None, None]
    assert zip_.holds("a")
    assert not zip_.holds("b")
    assert zip_.on_message("b", 9) == [1, 9]
    assert not zip_.holds("a")


def joined(orders: Sequence[Any], customers: Sequence[Any], how: str, customers_first: bool = False) -> list[Any]:
    join = flow.Join(inputs={"order": "customer", "customer": "id"}, how=how)
    given: list[Any] = []
    arriving = [("order", each) for each in orders], [("customer", each) for each in customers]
    for port, payload in itertools.chain(*(reversed(arriving) if customers_first else arriving)):
        join.sides.begin(join.key(port, payload))
        given.extend(join.on_message(port, payload))
    given.extend(join.finish())
    return given


def _by_sql(orders: Sequence[Any], customers: Sequence[Any], how: str) -> list[Any]:
    """The join of the textbook: every pair that matches, then what has no partner."""
    pairs = [
        {"order": order, "customer": customer}
        for order in orders
        for customer in customers
        if order["customer"] is not None and order["customer"] == customer["id"]
    ]
    lone_orders = [{"order": each, "customer": None} for each in orders if each not in [p["order"] for p in pairs]]
    lone_customers = [
        {"order": None, "customer": each} for each in customers if each not in [p["customer"] for p in pairs]
    ]
    return [*pairs, *(lone_orders if how != "inner" else []), *(lone_customers if how == "outer" else [])]


some_key = st.none() | st.integers(0, 4) | st.sampled_from(["0", "1", 2.0])


@settings(deadline=None)
@given(
    st.lists(some_key, max_size=8),
    st.lists(some_key, max_size=8),
    st.sampled_from(["inner", "left", "outer"]),
    st.booleans(),
)
def test_join_gives_what_sql_gives(left: list[Any], right: list[Any], how: str, customers_first: bool) -> None:
    orders = [{"n": n, "customer": key} for n, key in enumerate(left)]
    customers = [{"m": m, "id": key} for m, key in enumerate(right)]
    got = joined(orders, customers, how, customers_first)
    assert sorted(map(repr, got)) == sorted(map(repr, _by_sql(orders, customers, how)))


def test_join_in_a_pipeline_and_as_plain_data() -> None:
    got = run("""
pipeline: p
components:
  orders: {use: flow.Generate, with: {count: 4, value: "{'order': i, 'customer': i % 3}"}}
  customers: {use: flow.Generate, with: {count: 2, value: "{'id': i, 'name': 'c' + string(i)}"}}
  joined: {use: flow.Join, from: {o: orders, c: customers}, with: {inputs: {o: customer, c: id}, how: left}}
  end: {use: test.Collect, from: joined, with: {name: all}}
""")
    assert sorted((each["o"]["order"], (each["c"] or {}).get("name")) for each in got["all"]) == [
        (0, "c0"), (1, "c1"), (2, None), (3, "c0"),
    ]  # fmt: skip


@given(st.lists(st.integers()), st.integers(1, 7))
def test_batch_keeps_order_and_size(payloads: list[int], size: int) -> None:
    lists = through(flow.Batch(size=size), payloads)
    assert [each for one in lists for each in one] == payloads
    assert all(len(one) == size for one in lists[:-1])
    assert all(1 <= len(one) <= size for one in lists[-1:])


def test_batch_says_what_its_lists_hold() -> None:
    assert through(flow.Batch(size=2), [Order(1, "a"), Order(2, "b"), Order(3, "c")]) == [
        [Order(1, "a"), Order(2, "b")],
        [Order(3, "c")],
    ]


@given(st.lists(st.integers(0, 5) | st.sampled_from(["1", "x" * 500])))
def test_deduplicate_keeps_the_first_of_each(payloads: list[Any]) -> None:
    assert through(flow.Deduplicate(), payloads) == list(dict.fromkeys(payloads))


@given(st.lists(st.integers(0, 50)), st.integers(1, 10))
def test_a_bounded_deduplicate_never_drops_what_is_new(payloads: list[int], bound: int) -> None:
    component = flow.Deduplicate(by="payload", bound=bound)
    got = through(component, payloads)
    assert list(dict.fromkeys(got)) == list(dict.fromkeys(payloads))
    assert len(list(component.seen.keys())) <= bound


def test_deduplicate_by_an_expression() -> None:
    orders = [Order(1, "a"), Order(1, "b"), Order(2, "c")]
    assert through(flow.Deduplicate(by="id"), orders) == [orders[0], orders[2]]


def test_sample_every_takes_the_first_of_so_many() -> None:
    assert through(flow.Sample(every=3), range(8)) == [0, 3, 6]


def test_sample_fraction_decides_alike_each_time_and_about_right() -> None:
    first = through(flow.Sample(fraction=0.25), range(4000))
    assert first == through(flow.Sample(fraction=0.25), range(4000))
    assert 850 < len(first) < 1150
    assert through(flow.Sample(fraction=0), range(100)) == []
    assert through(flow.Sample(fraction=1), range(100)) == list(range(100))


def test_sample_by_a_field_keeps_all_or_none_of_a_customer() -> None:
    payloads = [{"customer": i % 20, "n": i} for i in range(200)]
    kept = through(flow.Sample(fraction=0.5, by="customer"), payloads)
    customers = {each["customer"] for each in kept}
    assert 0 < len(customers) < 20
    assert kept == [each for each in payloads if each["customer"] in customers]


def test_count_by_key_and_in_all() -> None:
    payloads = [{"kind": kind} for kind in ("b", "a", "b", None)]
    counts = through(flow.Count(by="kind"), payloads)
    assert counts == [flow.Counted("a", 1), flow.Counted("b", 2), flow.Counted(None, 1)]
    assert through(flow.Count(), payloads) == [flow.Counted(None, 4)]


def test_generate_resumes_behind_the_position() -> None:
    async def read(resume: int | None) -> list[Any]:
        component = flow.Generate(count=2500, value="i * 2")
        return [(batch.payloads, batch.resume) async for batch in component.read(resume)]

    import anyio

    batches = anyio.run(read, None)
    assert [number for payloads, _ in batches for number in payloads] == [i * 2 for i in range(2500)]
    assert [resume for _, resume in batches] == [1000, 2000, 2500]
    assert anyio.run(read, 2000) == batches[2:]
    assert anyio.run(read, 2500) == []


def test_throttle_and_generate_are_no_faster_than_told() -> None:
    # A sleep never ends early, so the lower bound holds on any machine.
    started = time.monotonic()
    got = run("""
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 11}}
  slow: {use: flow.Throttle, from: numbers, with: {per_second: 100}}
  end: {use: test.Collect, from: slow, with: {name: all}}
""")
    assert time.monotonic() - started >= 0.1
    assert got["all"] == list(range(11))
    started = time.monotonic()
    run("""
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 11, per_second: 100}}
  end: {use: test.Collect, from: numbers, with: {name: generated}}
""")
    assert time.monotonic() - started >= 0.1
    assert collected["generated"] == list(range(11))
