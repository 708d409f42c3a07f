"""From YAML to a declaration: what is read, and how each mistake is told."""

# ruff: noqa: E501  a row of a table is one line

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autocoder import ConfigurationError, Pipeline
from autocoder.declaration import (
    ChannelOptions,
    CommitPolicy,
    Connection,
    ErrorPolicy,
    RetryPolicy,
)
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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # fields
        ("{use: parts:Numbers, with: {upto: 0}}", "3:40: a: upto: must be greater than 0; found 0"),
        ("{use: parts:Numbers, with: {upto: many}}", "3:40: a: upto: must be a whole number; found 'many'"),
        ("{use: parts:Numbers, with: {upto: 1.5}}", "3:40: a: upto: must be a whole number; found 1.5"),
        ("{use: parts:Numbers, with: {upto: [1]}}", "3:40: a: upto: must be a whole number; found a list"),
        ("{use: parts:Numbers, with: {upto: }}", "a: upto: must be a whole number; found nothing"),
        ("{use: parts:Numbers, with: {upto:}}", "3:38: a `:` needs a space behind it, as in key: value"),
        ("{use: parts:Numbers, with: {up_to: 3}}", "3:34: a has no field 'up_to'; did you mean 'upto'?"),
        ("{use: parts:Numbers, with: {upt: 3}}", "3:27: a: upto is missing; write upto: ... (where to stop)"),
        ("{use: parts:Numbers}", "3:12: a: upto is missing; write upto: ... (where to stop)"),
        ("{use: parts:Double, with: {x: 1}}", "3:33: a has no field 'x'; it takes none"),
        ("{use: parts:Numbers, with: {upto: 1, note: 3}}", "3:49: a: note: must be text; found 3; put it in quotes"),
        ("{use: parts:Numbers, with: {upto: 1, flag: perhaps}}", "a: flag: must be true or false; found 'perhaps'"),
        ("{use: parts:Numbers, with: {upto: 1, mode: fats}}", "a: mode: must be 'fast' or 'slow'; found 'fats'; did you mean 'fast'?"),
        ("{use: parts:Numbers, with: {upto: 1, pause: soon}}", "a: pause: must be a duration such as 100ms, 1s, 2m or 1h; found 'soon'"),
        ("{use: parts:Numbers, with: {upto: 1, columns: x}}", "a: columns: must be a list; found 'x'"),
        ("{use: parts:Numbers, with: {upto: 1, columns: [{name: x, widht: 3}]}}", "3:63: a: columns.0 has no field 'widht'; did you mean 'width'?"),
        ("{use: parts:Numbers, with: {upto: 1, columns: [{name: x, width: 0}]}}", "3:70: a: columns.0.width: must be greater than 0; found 0"),
        ("{use: parts:Numbers, with: {upto: 1, columns: [{width: 3}]}}", "3:53: a: columns.0.name is missing"),
        ("{use: parts:Numbers, with: {upto: 1, headers: {x: [1]}}}", "a: headers.x: must be text; found a list"),
        ("{use: parts:Numbers, with: {upto: 1, mode: slow, note: n}}", "3:27: a: slow needs a pause (note n)"),
        ("{use: parts:Numbers, with: 3}", "3:33: a: with must be a mapping of fields to values; found 3"),
        ("{use: parts:Numbers, with: [upto]}", "a: with must be a mapping of fields to values; found a list"),
        ("{use: parts:Count, from: b, with: {payload: parts:Ordr}}", "a: payload: the module 'parts' has no 'Ordr'; did you mean 'Order'?"),
        ("{use: parts:Count, from: b, with: {payload: os:PathLike}}", "a: payload: the module 'os' is installed outside"),
        ("{use: parts:Count, from: b, with: {payload: strr}}", "a: payload: names no type; write str, int"),
        # use
        ("{with: {}}", "3:3: component 'a' does not say what it is"),
        ("{use: 3}", "3:12: use: must be text; found 3"),
        ("{use: parts:Nmbers}", "3:12: the module 'parts' has no 'Nmbers'; did you mean 'Numbers'?"),
        ("{use: os:system}", "3:12: the module 'os' is installed outside"),
        ("{use: subprocess:Popen}", "3:12: the module 'subprocess' is installed outside"),
        ("{use: parts:Order}", "3:12: 'parts:Order' is no component"),
        ("{use: numbers}", "3:12: this names no component; found 'numbers'"),
        ("{use: no.Pack}", "3:12: there is no pack 'no'"),
        ('{use: ""}', "use: must be a text that is not empty"),
        # keys and options
        ("{use: parts:Double, form: b}", "3:26: component 'a' has no key 'form'; did you mean 'from'?"),
        ("{use: parts:Double, use: parts:Double}", "3:26: the key 'use' stands here twice"),
        ("parts:Double", "3:6: component 'a' must be a mapping; found 'parts:Double'; its keys: use, with"),
        ("{use: parts:Double, concurrency: 0}", "concurrency: must be a whole number of at least 1; found 0"),
        ("{use: parts:Double, concurrency: true}", "concurrency: must be a whole number of at least 1; found true"),
        ("{use: parts:Double, ordered: 3}", "ordered: must be true or false; found 3"),
        ("{use: parts:Double, run_in: proces}", "run_in: must be loop or thread or process; found 'proces'; did you mean 'process'?"),
        ("{use: parts:Numbers, with: {upto: 1}, concurrency: 2}", "3:44: a: concurrency has no effect on a source"),
        ("{use: parts:Count, from: b, ordered: true}", "a: ordered has no effect on a sink"),
        # from
        ("{use: parts:Double, from: }", "from: this names no component; found nothing"),
        ("{use: parts:Double, from: []}", "from: an empty list feeds nothing"),
        ("{use: parts:Double, from: [b, b]}", "3:36: from: b is named twice for one input"),
        ("{use: parts:Double, from: a.b.c}", "from: this is no component and no component.port; found 'a.b.c'"),
        ("{use: parts:Double, from: 3}", "from: this names no component; found 3"),
        ("{use: parts:Double, from: {prot: b}}", "from has no key 'prot'; did you mean 'port'?"),
        ("{use: parts:Double, from: {durable: true}}", "from: `port` is missing"),
        ("{use: parts:Double, from: {port: b, limit: 3}}", "3:42: limit: bounds the backlog of a durable channel; add durable: true"),
        ("{use: parts:Double, from: {port: b, limit: 3, durable: false}}", "limit: bounds the backlog of a durable channel"),
        ("{use: parts:Double, from: {port: b, order: priority}}", "order: priority needs a key"),
        ("{use: parts:Double, from: {port: b, on_full: drop}}", "on_full: must be block or drop_newest or drop_oldest; found 'drop'"),
        ("{use: parts:Double, from: {port: b, capacity: -1}}", "capacity: must be a whole number of at least 1; found -1"),
        ("{use: parts:Both, from: b}", "3:30: from: a Merger takes a map from its inputs to what feeds them; found 'b'; write from: {left: component, right: component}"),
        # on_error
        ("{use: parts:Double, on_error: ignore}", "on_error: must be dead_letter or drop or stop; found 'ignore'"),
        ("{use: parts:Double, on_error: [drop]}", "on_error: must be dead_letter or drop or stop, or a mapping"),
        ("{use: parts:Double, on_error: {rety: {}}}", "on_error has no key 'rety'; did you mean 'retry'?"),
        ("{use: parts:Double, on_error: {retry: {backoff: 1s}}}", "retry: attempts is missing"),
        ("{use: parts:Double, on_error: {retry: {attempts: 1, cap: 2s}}}", "retry: one attempt is no retry"),
        ("{use: parts:Double, on_error: {retry: {attempts: 3, backoff: 5s, cap: 1s}}}", "cap: is shorter than backoff"),
        ("{use: parts:Double, on_error: {retry: {attempts: 3, backoff: 5x}}}", "backoff: must be a duration such as 100ms, 1s, 2m or 1h; found '5x'"),
        ("{use: parts:Double, on_error: {retry: {attempts: 3, on: [a-b]}}}", "on: must name exception classes; found 'a-b'"),
        ("{use: parts:Double, on_error: {retry: 3}}", "retry must be a mapping; found 3"),
    ],
)  # fmt: skip
def test_wrong_components(wrong: Wrong, body: str, message: str) -> None:
    found = wrong(component(body))
    assert any(message in each for each in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("components: {a: {use: parts:Double}}\n", "1:1: the pipeline has no name"),
        ("pipeline: p\n", "1:1: the pipeline has no components"),
        ("pipeline: p\ncomponents: []\n", "2:13: components must be a mapping from names"),
        ("pipeline: p q\ncomponents: {}\n", "1:11: a name is made of letters, digits, _ and -"),
        ("pipeline: 3\ncomponents: {}\n", "1:11: pipeline: must be text; found 3"),
        ("pipeline: p\ncomponents: {1a: {use: parts:Double}}\n", "2:14: a name is made of letters, digits, _ and -"),
        ("pipeline: p\ncomponents: {a.b: {use: parts:Double}}\n", "2:14: a name is made of letters"),
        ("pipeline: p\ncomponent: {}\n", "2:1: a pipeline has no key 'component'; did you mean 'components'?"),
        ("pipeline: p\ncomponents: {}\ncommit: {evry: 1s}\n", "3:10: commit has no key 'evry'; did you mean 'every'?"),
        ("pipeline: p\ncomponents: {}\ncommit: {every: 0}\n", "every: must be longer than zero; found 0"),
        (
            "pipeline: p\ncomponents: {}\ncommit: {messages: 0}\n",
            "messages: must be a whole number of at least 1; found 0",
        ),
        ("pipeline: p\ncomponents: {}\ncommit: 3\n", "commit must be a mapping; found 3"),
        ("- a\n", "1:1: a pipeline must be a mapping; found a list"),
        ("", " is empty"),
    ],
)
def test_wrong_pipelines(wrong: Wrong, text: str, message: str) -> None:
    found = wrong(text)
    assert any(message in each for each in found), found


@pytest.mark.parametrize("components", ["", "components:\n", "components: {}\n", "components: []\n"])
def test_that_there_are_no_components_is_said_once(tmp_path: Path, components: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"pipeline: p\n{components}")
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(file).compile()
    assert len(caught.value.problems) == 1, caught.value


@pytest.mark.parametrize(
    "feeds",
    [
        "from: ''", "from: []", "from: 3", "from: a.b.c", "from: '${NO}'", "from: ['${NO}']", "from: {prot: a}",
        "from: {port: '${NO}'}", "frm: a", "form: {port: a}",
    ],
)  # fmt: skip
def test_a_from_that_was_refused_is_one_problem(project: Path, feeds: str) -> None:
    file = project / "p.yaml"
    file.write_text(
        "pipeline: p\ncomponents:\n  a: {use: parts:Numbers, with: {upto: 1}}\n"
        f"  b: {{use: parts:Double, {feeds}}}\n  c: {{use: parts:Count, from: b}}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(file, environ={}, registry=Registry())
    (problem,) = caught.value.problems
    assert problem.place.line == 4 and "not connected" not in problem.what


@pytest.mark.parametrize(
    ("feeds", "others"),
    [
        ("from: {left: 3, right: a}", 0), ("from: {left: '${NO}', right: a}", 0), ("from: a", 0), ("from: '${NO}'", 0),
        ("from: {left: 3}", 1), ("fron: {left: a, right: a}", 0),
    ],
)  # fmt: skip
def test_an_input_of_a_merger_that_was_refused_is_one_problem(project: Path, feeds: str, others: int) -> None:
    file = project / "p.yaml"
    file.write_text(
        "pipeline: p\ncomponents:\n  a: {use: parts:Numbers, with: {upto: 1}}\n"
        f"  b: {{use: parts:Both, {feeds}}}\n  c: {{use: parts:Count, from: b}}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(file, environ={}, registry=Registry())
    refused, *missing = caught.value.problems if not others else caught.value.problems[::-1]
    assert "not connected" not in refused.what
    assert [each.what for each in missing] == ["input 'right' of 'b' is not connected"] * others


def test_what_a_duplicate_key_hides_is_not_missed(project: Path) -> None:
    file = project / "p.yaml"
    file.write_text(
        "pipeline: p\ncomponents:\n  a: {use: parts:Numbers, with: {upto: 1}}\n  a: {use: parts:Count, from: a}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(file, registry=Registry())
    assert [each.what for each in caught.value.problems] == ["the key 'a' stands here twice, first at line 3"]


def test_without_a_source_nothing_is_called_unreachable(project: Path) -> None:
    file = project / "p.yaml"
    file.write_text("pipeline: p\ncomponents:\n  a: {use: parts:Double, from: a}\n")
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_yaml(file, registry=Registry())
    assert [each.what for each in caught.value.problems] == [
        "the pipeline has no source",
        "components form a cycle of in-memory channels",
    ]


def test_every_problem_at_once_in_the_order_of_the_file(wrong: Wrong) -> None:
    found = wrong(
        """\
        pipeline: p
        components:
          a: {use: parts:Numbers, with: {upto: "${NO}", wrong: 1}}
          a: {use: parts:Double}
          b: {use: parts:Duble, from: {port: a, durble: true}}
          c: {use: parts:Double, from: a, on_error: nothing}
        comit: {}
        """
    )
    assert [each.split(":")[0] for each in found] == ["3", "3", "4", "5", "5", "6", "7"]


def test_a_declaration_with_problems_keeps_what_is_right(load: Load) -> None:
    declared, problems = load(
        "pipeline: p\ncomponents:\n  a: {use: parts:Nmbers}\n  b: {use: parts:Numbers, with: {upto: x}}\n"
        "  c: {use: parts:Double, from: a}\n"
    )
    assert len(problems) == 2 and declared is not None
    a, b, c = declared.components
    assert (a.type, a.component) == (None, None)
    assert b.type is not None and b.component is None
    assert c.component is not None and c.connections[0].source == "a"


def test_an_unknown_component_is_answered_with_the_nearest(wrong: Wrong) -> None:
    found = wrong(component("{use: files.ReadLine, with: {path: x}}"), registry=Registry.installed())
    assert found[0].startswith("3:12: the pack 'files' has no component 'ReadLine'; did you mean 'files.ReadLines'")
    found = wrong(component("{use: ReadLines}"), registry=Registry.installed())
    assert "did you mean 'files.ReadLines'" in found[0]


def test_an_error_in_the_users_module_is_told_there(project: Path, load: Load) -> None:
    (project / "broken.py").write_text("import json\n\nx = undefined\n")
    _, problems = load(component("{use: broken:X}"))
    assert [str(each) for each in problems] == [
        f"{project / 'broken.py'}:3:1: importing 'broken' failed: NameError: name 'undefined' is not defined; "
        f"it is used at pipeline.yaml:3:12"
    ]


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
