"""From YAML to a declaration: how each mistake is told, all of them at once and each of them once."""

# ruff: noqa: E501  a row of a table is one line

from __future__ import annotations

from pathlib import Path

import pytest

from autocoder import ConfigurationError, Pipeline
from autocoder.registry import Registry
from tests.language.texts import Load, Wrong, component


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
