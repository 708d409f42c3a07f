"""Random graphs: what is refused is refused for a true reason, and what compiles delivers every message."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from autocoder import Pipeline
from autocoder.compile import compile_graph
from autocoder.declaration import ComponentDeclaration, Connection, PipelineDeclaration
from autocoder.errors import Problem
from tests.support import Both, Collect, Double, Numbers, Parity, Repeat


@dataclass(frozen=True)
class Drawn:
    """A random pipeline: each component with its kind and the outputs it takes from."""

    components: dict[str, tuple[str, dict[str, list[str]]]]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Mostly sound pipelines: each component takes from earlier ones, now and then from a later one or from nowhere."""
    kinds = draw(
        st.lists(st.sampled_from(["double", "repeat", "parity", "both", "sink", "numbers"]), min_size=1, max_size=9)
    )
    components: dict[str, tuple[str, dict[str, list[str]]]] = {"c0": ("numbers", {})}
    outlets = ["c0"]
    later = [f"c{number + 1}" for number in range(len(kinds))]
    for number, kind in enumerate(kinds, 1):
        name = f"c{number}"
        pool = outlets + (later if draw(st.integers(0, 19)) == 0 else [])
        choice = st.lists(
            st.sampled_from(pool), min_size=0 if draw(st.integers(0, 19)) == 0 else 1, max_size=2, unique=True
        )
        ports = {"numbers": [], "both": ["left", "right"]}.get(kind, ["in"])
        components[name] = (kind, {port: draw(choice) for port in ports})
        outlets += {"parity": [f"{name}.even", f"{name}.odd"], "sink": []}.get(kind, [name])
    if draw(st.integers(0, 4)):
        used = {each for _, inputs in components.values() for sources in inputs.values() for each in sources}
        loose = [each for each in outlets if each not in used]
        if loose:
            components["last"] = ("sink", {"in": loose})
    return Drawn(components)


MAKE = {
    "numbers": lambda: Numbers(upto=7, size=3),
    "double": Double,
    "repeat": Repeat,
    "parity": Parity,
    "both": Both,
    "sink": Collect,
}


@given(drawn())
def test_random_graphs_are_refused_for_a_true_reason_or_deliver_every_message(case: Drawn) -> None:
    made = {name: MAKE[kind]() for name, (kind, _) in case.components.items()}
    declared = tuple(
        ComponentDeclaration(
            name,
            name,
            type(made[name]),
            made[name],
            tuple(
                Connection(port, source.partition(".")[0], source.partition(".")[2] or None)
                for port, sources in inputs.items()
                for source in sources
            ),
        )
        for name, (_, inputs) in case.components.items()
    )
    problems: list[Problem] = []
    graph = compile_graph(PipelineDeclaration("drawn", declared), problems)
    reasons = true_reasons(case)
    if graph is None:
        assert problems
        assert reasons, [str(each) for each in problems]
        return
    assert not reasons
    pipeline = Pipeline("drawn")
    pipeline._declaration = PipelineDeclaration("drawn", declared)
    pipeline.run()
    expected = reference(case)
    for name, (kind, _) in case.components.items():
        if kind == "sink":
            assert Counter(made[name].got) == expected[name]


def true_reasons(case: Drawn) -> set[str]:
    """Why a drawn pipeline is unsound, found the slow way."""
    reasons = set()
    used = {each for _, inputs in case.components.values() for sources in inputs.values() for each in sources}
    kinds = {name: kind for name, (kind, _) in case.components.items()}
    for name, (kind, inputs) in case.components.items():
        if any(not sources for sources in inputs.values()):
            reasons.add("unconnected input")
        for source in (each for sources in inputs.values() for each in sources):
            if source not in kinds and source.partition(".")[0] not in kinds:
                reasons.add("unknown")
            if kinds.get(source) in ("sink", "parity"):
                reasons.add("no such output")
        outs = {"parity": [f"{name}.even", f"{name}.odd"], "sink": []}.get(kind, [name])
        if any(out not in used for out in outs):
            reasons.add("loose output")
    seen: set[str] = set()

    def leads_back(name: str, path: tuple[str, ...]) -> bool:
        if name in path:
            return True
        if name in seen:
            return False
        back = any(
            leads_back(source.partition(".")[0], (*path, name))
            for sources in case.components.get(name, ("", {}))[1].values()
            for source in sources
        )
        seen.add(name)
        return back

    if any(leads_back(name, ()) for name in case.components):
        reasons.add("cycle")
    return reasons


def reference(case: Drawn) -> dict[str, Counter[int]]:
    """What arrives at each outlet and sink, worked out one component after the other."""
    found: dict[str, Counter[int]] = {}
    waiting = dict(case.components)
    while waiting:
        for name, (kind, inputs) in list(waiting.items()):
            sources = [each for listed in inputs.values() for each in listed]
            if any(each not in found for each in sources):
                continue
            taken = sum((found[each] for each in sources), Counter())
            if kind == "numbers":
                found[name] = Counter(range(7))
            elif kind == "double":
                found[name] = Counter({2 * n: 0 for n in taken})
                for n, times in taken.items():
                    found[name][2 * n] += times
            elif kind == "repeat":
                found[name] = Counter({n: 2 * times for n, times in taken.items()})
            elif kind == "parity":
                found[f"{name}.even"] = Counter({n: times for n, times in taken.items() if n % 2 == 0})
                found[f"{name}.odd"] = Counter({n: times for n, times in taken.items() if n % 2})
                found[name] = Counter()
            else:
                found[name] = taken
            del waiting[name]
    return found
