"""From YAML to a declaration: what is read."""

# ruff: noqa: E501  a row of a table is one line

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autocoder.declaration import ChannelOptions, CommitPolicy, Connection, ErrorPolicy, RetryPolicy
from autocoder.errors import Place
from autocoder.loading import load_pipeline
from autocoder.registry import Registry
from tests.language.texts import Load, Wrong, component

VALID = """\
pipeline: numbers
description: counts, and doubles
components:
  numbers: {use: parts:Numbers, with: {upto: "${UPTO:-10}", token: "${TOKEN}", columns: [{name: a}, {name: b, width: 3}]}}
  double:
    use: parts:Double
    from: numbers
    on_error: {retry: {attempts: 3, backoff: 1s, cap: 30s, on: [TimeoutError, httpx.HTTPError]}, then: drop}
    concurrency: 4
    ordered: false
    run_in: thread
  parity: {use: parts:Parity, from: {port: double, durable: true, limit: 1000, key: id}}
  both:
    use: parts:Both
    from:
      left: parity.odd
      right: [{port: [parity.even, numbers], capacity: 7, on_full: drop_oldest, order: priority, key: id}, double]
  count: {use: parts:Count, from: [both], on_error: stop}
commit: {every: 250ms, messages: 10_000}
"""


def test_a_whole_pipeline(load: Load) -> None:
    declared, problems = load(VALID, {"TOKEN": "s3cret-token"})
    assert problems == [] and declared is not None
    assert (declared.name, declared.description) == ("numbers", "counts, and doubles")
    assert declared.commit == CommitPolicy(0.25, 10_000)
    assert declared.secrets == {"s3cret-token", "0000-by-default"} and "s3cret" not in repr(declared)
    numbers, double, parity, both, count = declared.components
    assert numbers.component is not None and numbers.component.upto == 10  # type: ignore[attr-defined]
    assert numbers.place == Place("pipeline.yaml", 4, 3) and numbers.use == "parts:Numbers"
    assert double.connections == (Connection("in", "numbers", None, ChannelOptions(), Place("pipeline.yaml", 7, 11)),)
    assert double.on_error == ErrorPolicy(RetryPolicy(3, 1.0, 30.0, ("TimeoutError", "httpx.HTTPError")), "drop")
    assert (double.concurrency, double.ordered, double.run_in) == (4, False, "thread")
    assert parity.connections[0].options == ChannelOptions(durable=True, limit=1000, key="id")
    options = ChannelOptions(capacity=7, on_full="drop_oldest", order="priority", key="id")
    assert [(each.port, each.source, each.output, each.options) for each in both.connections] == [
        ("left", "parity", "odd", ChannelOptions()), ("right", "parity", "even", options),
        ("right", "numbers", None, options), ("right", "double", None, ChannelOptions()),
    ]  # fmt: skip
    assert count.on_error == ErrorPolicy(then="stop") and (count.concurrency, count.ordered, count.run_in) == (
        None,
        None,
        None,
    )


def test_variables_are_coerced_by_the_field(load: Load) -> None:
    text = component(
        "{use: parts:Numbers, with: {upto: '${N}', flag: '${F}', note: '${N}', pause: '${D}', columns: [{name: x, width: '${N}'}]}}"
    )
    declared, problems = load(text, {"N": "12", "F": "yes", "D": "100ms"})
    assert not problems and declared is not None
    made: Any = declared.components[0].component
    assert (made.upto, made.flag, made.note, made.pause, made.columns[0].width) == (12, True, "12", 0.1, 12)


def test_payload_types_are_found_by_the_import_rules(load: Load) -> None:
    text = component("{use: parts:Count, from: b, with: {payload: parts:Order, other: '${TYPE}'}}")
    for name, expected in {"str": "str", "parts:Order": "Order", "assessments.Finding": None}.items():
        declared, problems = load(text, {"TYPE": name})
        assert declared is not None
        if expected is None:
            assert "there is no pack 'assessments'" in str(problems[0])
            continue
        made: Any = declared.components[0].component
        assert problems == [] and (made.payload.__name__, made.other.__name__) == ("Order", expected)


def test_options_may_come_from_variables(load: Load) -> None:
    text = (
        "pipeline: ${NAME}\ncomponents:\n  a: {use: '${USE}', from: '${FROM}', concurrency: '${N}', ordered: '${O}'}\n"
        "  b: {use: parts:Count, from: {port: a, durable: '${O}', capacity: '${N}'}}\n"
        "commit: {every: '${E}', messages: '${N}'}\n"
    )
    environ = {"NAME": "p", "USE": "parts:Double", "FROM": "b", "N": "4", "O": "true", "E": "2m"}
    declared, problems = load(text, environ)
    assert not problems and declared is not None
    a, b = declared.components
    assert (declared.name, a.connections[0].source, a.concurrency, a.ordered) == ("p", "b", 4, True)
    assert b.connections[0].options == ChannelOptions(durable=True, capacity=4)
    assert declared.commit == CommitPolicy(120.0, 4)


def test_an_unset_variable_is_one_problem(wrong: Wrong) -> None:
    assert wrong(component('{use: parts:Numbers, with: {upto: "${UPTO}", mode: slow}}')) == [
        "3:40: the variable UPTO is not set; set it, or give a default: ${UPTO:-...}"
    ]
    for text in (
        component("{use: '${NO}'}"), component("{use: parts:Double, from: '${NO}'}"),
        component("{use: parts:Double, concurrency: '${NO}', run_in: '${NO}', ordered: '${NO}'}"),
        component("{use: parts:Double, on_error: '${NO}'}"), component("{use: parts:Double, with: '${NO}'}"),
        component("{use: parts:Double, from: {port: '${NO}', durable: '${NO}'}}"), "pipeline: p\ncomponents: ${NO}\n",
        "pipeline: ${NO}\ncomponents: {}\ncommit: '${NO}'\n", "pipeline: p\ncomponents: {a: '${NO}'}\n",
    ):  # fmt: skip
        found = wrong(text)
        assert found and all("the variable NO is not set" in each for each in found), (text, found)


def test_a_variable_may_hold_anything_without_changing_the_pipeline(load: Load) -> None:
    text = component("{use: parts:Numbers, with: {upto: 1, note: '${NOTE}'}}")
    declared, problems = load(text, {"NOTE": "x}, note2: y\n  b: {use: os:system} # ${UPTO}"})
    assert not problems and declared is not None and len(declared.components) == 1
    assert declared.components[0].component.note.startswith("x}, note2: y\n")  # type: ignore[union-attr]


def test_the_cap_is_never_below_the_backoff_unless_written(load: Load) -> None:
    declared, problems = load(component("{use: parts:Double, on_error: {retry: {attempts: 2, backoff: 1m}}}"))
    assert not problems and declared is not None
    assert declared.components[0].on_error == ErrorPolicy(RetryPolicy(2, 60.0, 60.0))


def test_text_and_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    text = "pipeline: p\ncomponents: {a: {use: parts:Numbers, with: {upto: 0}}}\n"
    _, problems = load_pipeline(text, registry=Registry(), environ={})
    assert str(problems[0]).startswith("<text>:2:")
    declared, problems = load_pipeline("{pipeline: p, components: {}}", registry=Registry(), environ={})
    assert declared is not None and not problems
    (project / "p.yaml").write_text(text)
    _, problems = load_pipeline(Path("p.yaml"), registry=Registry(), environ={})
    assert str(problems[0]).startswith("p.yaml:2:")


def test_a_name_of_a_file_is_no_pipeline(tmp_path: Path) -> None:
    _, (problem,) = load_pipeline("pipeline.yaml", registry=Registry(), environ={})
    assert problem.cure == "if it is the name of a file, give a Path: Path('pipeline.yaml')"
    declared, (problem,) = load_pipeline(tmp_path / "no.yaml", registry=Registry(), environ={}, file_name="no.yaml")
    assert declared is None and str(problem) == "no.yaml: there is no such file"
    _, (problem,) = load_pipeline(tmp_path, registry=Registry(), environ={}, file_name="folder")
    assert "is a folder" in str(problem)


def test_the_operator_allows_by_argument_or_environment(
    project: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = project.parent / f"{project.name}-installed"
    outside.mkdir()
    (outside / "teamparts.py").write_text((project / "parts.py").read_text())
    monkeypatch.syspath_prepend(outside)
    text = component("{use: teamparts:Numbers, with: {upto: 1}}")
    assert "autocoder run --allow teamparts" in str(load(text)[1][0])
    assert load(text, allowed=["teamparts"])[1] == []
    assert load(text, {"AUTOCODER_ALLOW": "teamparts"})[1] == []
    assert load(f"{text}allow: [teamparts]\n")[1] != []


def test_two_hundred_components(load: Load) -> None:
    lines = "".join(
        f"  c{n}: {{use: parts:Double, from: {{port: {'a' if n == 0 else f'c{n - 1}'}, capacity: 5}}, on_error: {{retry: {{attempts: 2}}}}}}\n"
        for n in range(200)
    )
    declared, problems = load(component("{use: parts:Numbers, with: {upto: 1}}") + lines)
    assert not problems and declared is not None and len(declared.components) == 201


keys = st.sampled_from(
    ["pipeline", "components", "use", "with", "from", "on_error", "retry", "port", "a", "commit", "then"]
)
leaves = st.sampled_from(["parts:Numbers", "parts:Both", "a", "a.b", "", "${NO}", 0, 3, None, True, 1.5, "drop", "1s"])
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.dictionaries(keys, trees), trees, trees)
def test_no_tree_breaks_the_loader(load: Load, tree: Any, whole: Any, overrides: Any) -> None:
    component_tree = {
        "pipeline": "p",
        "components": {"a": whole, "b": {"use": "parts:Numbers", "with": whole, "from": whole}},
    }
    for each in (tree, component_tree):
        declared, problems = load(json.dumps(each), overrides=overrides)
        assert declared is not None or problems
        assert all(problem.what and problem.place.file for problem in problems)
