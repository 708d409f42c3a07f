"""Compiling: every mistake is found at once, and what to do about it is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from typing_extensions import TypeVar

from autocoder import (
    ChannelOptions,
    Component,
    ConfigurationError,
    Emission,
    In,
    Merger,
    Out,
    Pipeline,
    Sink,
    Splitter,
    Transformer,
)
from autocoder.compile import compile_graph
from autocoder.declaration import ComponentDeclaration, Connection, PipelineDeclaration
from autocoder.errors import Place, Problem
from autocoder.partition import cycles
from tests.support import Both, Collect, Double, Evens, Numbers, Parity, Repeat

T = TypeVar("T")


class Text(Transformer[str, str]):
    """Takes text."""

    def process(self, text: str, /) -> str:
        return text


class Same(Transformer[T, T]):
    """Gives what it takes."""

    def process(self, payload: T, /) -> T:
        return payload


class Listed(Transformer[T, list[T]]):
    """Wraps what it takes."""

    def process(self, payload: T, /) -> list[T]:
        return [payload]


class Texts(Sink[list[str]]):
    """Takes lists of text."""

    def write(self, batch: Any, /) -> None: ...


def problems_of(**components: tuple[Any, str | dict[str, str] | list[str]]) -> list[str]:
    """Compile components given as `name=(component, from)`; returns what was wrong."""
    declared = []
    for name, (component, after) in components.items():
        inputs = after if isinstance(after, dict) else {"in": after}
        connections = [
            Connection(port, *each.partition(".")[::2], place=Place("p.yaml", 1, 1))
            for port, sources in inputs.items()
            for each in ([sources] if isinstance(sources, str) else sources)
            if each
        ]
        connections = [Connection(c.port, c.source, c.output or None, c.options, c.place) for c in connections]
        declared.append(ComponentDeclaration(name, name, type(component), component, tuple(connections)))
    problems: list[Problem] = []
    graph = compile_graph(PipelineDeclaration("p", tuple(declared)), problems)
    assert (graph is None) == bool(problems)
    return [str(problem).removeprefix("p.yaml:1:1: ").removeprefix(": ") for problem in problems]


def only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_names_that_do_not_exist_get_a_suggestion() -> None:
    assert only(problems_of(numbers=(Numbers(upto=1), ""), sink=(Collect(), ["nmbers", "numbers"]))) == (
        "'sink' takes from an unknown component; found 'nmbers'; did you mean 'numbers'?"
    )
    assert (
        "did you mean 'even'?"
        in problems_of(
            numbers=(Numbers(upto=1), ""),
            parity=(Parity(), "numbers"),
            sink=(Collect(), ["parity.evn", "parity.even", "parity.odd"]),
        )[0]
    )
    found = problems_of(
        numbers=(Numbers(upto=1), ""), both=(Both(), {"left": "numbers", "rihgt": "numbers"}), sink=(Collect(), "both")
    )
    assert any("'both' has no input of this name; found 'rihgt'; did you mean 'right'?" in each for each in found)


def test_what_is_not_connected_is_said() -> None:
    assert only(problems_of(numbers=(Numbers(upto=1), ""))).startswith("output 'out' of 'numbers' goes nowhere")
    assert only(problems_of(numbers=(Numbers(upto=1), ""), sink=(Collect(), "numbers"), alone=(Collect(), ""))) == (
        "input 'in' of 'alone' is not connected; write `from: numbers`"
    )
    assert only(
        problems_of(numbers=(Numbers(upto=1), ""), parity=(Parity(), "numbers"), sink=(Collect(), "parity.even"))
    ).startswith(
        "output 'odd' of 'parity' goes nowhere, so its messages would be lost; add a component with `from: parity.odd`"
    )
    assert any(
        "is not connected" in each
        for each in problems_of(
            numbers=(Numbers(upto=1), ""), both=(Both(), {"left": "numbers"}), sink=(Collect(), "both")
        )
    )


class Named(Merger[int]):
    """Its configuration decides its inputs."""

    names: list[str]

    def inputs(self) -> Mapping[str, In[Any]]:
        return {name: In(int, name=name) for name in self.names}

    def on_message(self, port: str, number: int, /) -> int:
        return number


def test_the_ports_of_a_merger_that_could_not_be_set_up_are_not_judged() -> None:
    def merged(kind: type[Merger[int]]) -> list[str]:
        place = Place("p.yaml", 1, 1)
        fed = tuple(Connection(port, "parity", output, place=place) for port, output in (("a", "even"), ("b", "odd")))
        declared = (
            ComponentDeclaration("numbers", "numbers", Numbers, Numbers(upto=1)),
            ComponentDeclaration("parity", "parity", Parity, Parity(), (Connection("in", "numbers", place=place),)),
            ComponentDeclaration("merged", "merged", kind, None, fed),
            ComponentDeclaration("sink", "sink", Collect, Collect(), (Connection("in", "merged", place=place),)),
        )
        problems = [Problem(place, "merged: could not be set up")]
        assert compile_graph(PipelineDeclaration("p", declared), problems) is None
        return [each.what for each in problems[1:]]

    assert merged(Named) == []
    assert "'merged' has no input of this name" in merged(Both)  # which its class decides, however it is set up


class Sorted(Splitter[int]):
    """Its configuration decides its outputs."""

    names: list[str]

    def outputs(self) -> Mapping[str, Out[Any]]:
        return {name: Out(int, name=name) for name in self.names}

    def process(self, number: int, /) -> Emission:
        return self.outputs()[self.names[number % len(self.names)]](number)


@pytest.mark.parametrize(
    ("kind", "output", "told"),
    [
        (Numbers, "oud", ["'first' has no output of this name"]),
        (Parity, "eeven", ["'first' has no output of this name"]),
        (Parity, None, ["'first' has several outputs"]),
        (Collect, None, ["'sink' takes from a sink, and nothing comes out of one"]),
        (Sorted, "whatever", []),
        (Sorted, None, []),
    ],
)
def test_an_unknown_output_is_told_although_its_component_could_not_be_set_up(
    kind: type[Component], output: str | None, told: list[str]
) -> None:
    place = Place("p.yaml", 1, 1)
    declared = (
        ComponentDeclaration("numbers", "numbers", Numbers, Numbers(upto=1)),
        ComponentDeclaration(
            "first",
            "first",
            kind,
            None,
            () if kind.kind == "source" else (Connection("in", "numbers", place=place),),
        ),
        ComponentDeclaration("sink", "sink", Collect, Collect(), (Connection("in", "first", output, place=place),)),
        ComponentDeclaration("rest", "rest", Collect, Collect(), (Connection("in", "numbers", place=place),)),
    )
    problems = [Problem(place, "first: could not be set up")]
    assert compile_graph(PipelineDeclaration("p", declared), problems) is None
    assert [each.what for each in problems[1:]] == told


def test_a_splitter_s_output_must_be_named() -> None:
    found = problems_of(numbers=(Numbers(upto=1), ""), parity=(Parity(), "numbers"), sink=(Collect(), "parity"))
    assert "'parity' has several outputs; found 'parity'; name one: parity.even, parity.odd" in found


def test_types_are_followed_through_generic_components() -> None:
    assert problems_of(numbers=(Numbers(upto=1), ""), same=(Same(), "numbers"), sink=(Collect(), "same")) == []
    assert only(
        problems_of(
            numbers=(Numbers(upto=1), ""), same=(Same(), "numbers"), text=(Text(), "same"), sink=(Collect(), "text")
        )
    ) == (
        "same.out does not fit text.in; found int where str is wanted; "
        "put a component between them that turns one into the other"
    )
    assert "found list[int] where list[str] is wanted" in only(
        problems_of(numbers=(Numbers(upto=1), ""), listed=(Listed(), "numbers"), sink=(Texts(), "listed"))
    )


def test_a_cycle_names_its_path_and_the_cure() -> None:
    found = problems_of(
        numbers=(Numbers(upto=1), ""), a=(Double(), ["numbers", "b"]), b=(Double(), "a"), sink=(Collect(), "b")
    )
    assert only(found) == (
        "components form a cycle of in-memory channels; found a -> b -> a; "
        "close the loop through a durable input, `from: {port: ..., durable: true}`; it then runs until it is stopped"
    )


def test_sinks_give_nothing_and_sources_take_nothing() -> None:
    assert any(
        "takes from a sink" in each
        for each in problems_of(numbers=(Numbers(upto=1), ""), sink=(Collect(), "numbers"), more=(Collect(), "sink"))
    )
    assert any(
        "is a source and takes no input" in each
        for each in problems_of(
            numbers=(Numbers(upto=1), ""), other=(Numbers(upto=1), "numbers"), sink=(Collect(), ["numbers", "other"])
        )
    )


def test_unreachable_components_are_named() -> None:
    found = problems_of(
        numbers=(Numbers(upto=1), ""),
        sink=(Collect(), "numbers"),
        a=(Double(), "b"),
        b=(Double(), "a"),
        tail=(Collect(), "b"),
    )
    assert {each.split(":")[0] for each in found if "unreachable" in each} == {
        "'a' is unreachable",
        "'b' is unreachable",
        "'tail' is unreachable",
    }


def test_options_without_effect_are_refused() -> None:
    pipeline = Pipeline("idle")
    at = pipeline.add("numbers", Numbers(upto=1))
    at = pipeline.add("double", Double(), after=at, concurrency=4)
    pipeline.add("sink", Collect(), after=at)
    with pytest.raises(
        ConfigurationError, match="concurrency: 4 has no effect on a transformer whose handler is a plain function"
    ):
        pipeline.run()


def test_plain_neighbours_fuse_unless_a_channel_is_asked_for() -> None:
    pipeline = Pipeline("fused")
    numbers = pipeline.add("numbers", Numbers(upto=1))
    double = pipeline.add("double", Double(), after=numbers)
    evens = pipeline.add("evens", Evens(), after=double)
    apart = pipeline.add("apart", Repeat(), after=evens, channel=ChannelOptions(capacity=5))
    pipeline.add("sink", Collect(), after=apart)
    (region,) = pipeline.compile().regions
    assert [stage.components for stage in region.stages] == [("numbers",), ("double", "evens"), ("apart", "sink")]


def test_two_components_of_a_name_are_refused() -> None:
    pipeline = Pipeline("twins")
    pipeline.add("numbers", Numbers(upto=1))
    with pytest.raises(Exception, match="has a component 'numbers' already"):
        pipeline.add("numbers", Numbers(upto=1))


def test_cycles_finds_each_knot() -> None:
    from autocoder.graph import Edge

    def edge(a: str, b: str) -> Edge:
        return Edge(a, "out", b, "in", ChannelOptions(), Any, Place(""))

    assert cycles(["a", "b", "c", "d"], [edge("a", "b"), edge("b", "a"), edge("c", "c"), edge("b", "d")]) == [
        ["a", "b"],
        ["c"],
    ]


def test_a_chain_longer_than_calls_may_nest_runs() -> None:
    pipeline = Pipeline("long")
    at = pipeline.add("numbers", Numbers(upto=3))
    for number in range(1500):
        at = pipeline.add(f"double{number}", Double(), after=at)
    sink = Collect()
    pipeline.add("sink", sink, after=at)
    pipeline.run()
    assert sink.got == [0, 2**1500, 2**1501]
