"""The JSON Schema that editors check pipelines with."""

# ruff: noqa: E501  a row of a table is one line

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autocoder.component import Component, Sink, Source
from autocoder.importing import Importer
from autocoder.registry import Registry
from autocoder.schema import pipeline_schema
from autocoder.yaml_document import parse_yaml, to_python

NAMES = ("Numbers", "Double", "Parity", "Both", "Count")


@pytest.fixture
def schema(project: Path) -> dict[str, Any]:
    importer, registry = Importer.for_pipeline(project), Registry()
    for name in NAMES:
        registry = registry.with_component(f"test.{name}", importer.component(f"parts:{name}"))
    return pipeline_schema(registry)


@pytest.fixture
def complaints(schema: dict[str, Any]) -> Callable[[str], list[str]]:
    validator = Draft202012Validator(schema)

    def errors(text: str) -> list[str]:
        root, problems = parse_yaml(text, "f.yaml")
        assert root is not None and not problems, problems
        return [each.message for each in validator.iter_errors(to_python(root))]

    return errors


VALID = [
    """
pipeline: numbers
description: counts
components:
  numbers: {use: test.Numbers, with: {upto: "${UPTO:-10}", token: "${TOKEN}", columns: [{name: a}, {name: b, width: 3}]}}
  slow: {use: test.Numbers, with: {upto: 3, mode: slow, pause: 100ms, flag: true, headers: {a: b}}}
  double:
    use: test.Double
    from: numbers
    on_error: {retry: {attempts: 3, backoff: 1s, cap: 30, on: [TimeoutError]}, then: drop}
    concurrency: 4
    ordered: false
    run_in: thread
  parity: {use: test.Parity, from: {port: double, durable: true, limit: 1000, key: id}}
  both:
    use: test.Both
    from:
      left: parity.odd
      right: [{port: [parity.even, slow], capacity: 7, on_full: drop_oldest, order: priority, key: id}, double]
  count: {use: test.Count, from: [both], on_error: stop, with: {payload: parts:Order}}
  own: {use: my.parts:Keep, from: {a: count, b: [count]}, with: {anything: [1, {x: y}]}}
commit: {every: 250ms, messages: 10_000}
""",
    "pipeline: ${NAME}\ncomponents: {a: {use: '${USE}', with: {x: 1}, from: '${FROM}', concurrency: '${N}', ordered: '${O}'}}\n",
    "pipeline: p\ncomponents:\n  a: {use: test.Numbers, with: {upto: '${N}', mode: '${M}', pause: '${P}', flag: '${F}', columns: [{name: x, width: '${W}'}]}}\n",
    "pipeline: p\ncomponents:\n  a: {use: test.Double, from: b, with: , on_error: '${X}', run_in: '${R}'}\ncommit: {every: '${E}', messages: '${M}'}\n",
]  # fmt: skip


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("text", VALID)
def test_valid_pipelines(complaints: Callable[[str], list[str]], text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize(
    "body",
    [
        "{use: test.Nmbers}", "{use: Numbers}", "{use: 'os system'}", "{with: {}}", "{use: test.Numbers}",
        "{use: test.Numbers, with: {}}", "{use: test.Numbers, with: {upt: 3}}", "{use: test.Numbers, with: {upto: 0}}",
        "{use: test.Numbers, with: {upto: many}}", "{use: test.Numbers, with: {upto: 1, mode: fats}}",
        "{use: test.Numbers, with: {upto: 1, pause: soon}}", "{use: test.Numbers, with: {upto: 1, flag: maybe}}",
        "{use: test.Numbers, with: {upto: 1, columns: [{nme: x}]}}", "{use: test.Numbers, with: {upto: 1, columns: [{name: x, width: 0}]}}",
        "{use: test.Numbers, with: {upto: 1}, from: b}", "{use: test.Numbers, with: {upto: 1}, concurrency: 2}",
        "{use: test.Double}", "{use: test.Double, from: a.b.c}", "{use: test.Double, from: {prot: b}}", "{use: test.Double, from: []}",
        "{use: test.Double, from: {port: b, durble: true}}", "{use: test.Double, from: {port: b, limit: 3}}",
        "{use: test.Double, from: {port: b, order: priority}}", "{use: test.Double, from: {port: b, on_full: drop}}",
        "{use: test.Double, from: {port: b, capacity: 0}}", "{use: test.Double, from: b, form: c}",
        "{use: test.Double, from: b, on_error: ignore}", "{use: test.Double, from: b, on_error: {retry: {backoff: 1s}}}",
        "{use: test.Double, from: b, on_error: {retry: {attempts: 3, backof: 1s}}}", "{use: test.Double, from: b, run_in: proces}",
        "{use: test.Double, from: b, concurrency: 0}", "{use: test.Double, from: {left: b}}", "{use: test.Double, from: b, with: {x: 1}}",
        "{use: test.Both, from: b}", "{use: test.Both, from: {left: b}}", "{use: test.Both, from: {left: b, right: c, up: d}}",
        "{use: test.Count, from: b, ordered: true}", "test.Double",
    ],
)  # fmt: skip
def test_wrong_components(complaints: Callable[[str], list[str]], body: str) -> None:
    assert complaints(f"pipeline: p\ncomponents:\n  a: {body}\n")


@pytest.mark.parametrize(
    "text",
    [
        "pipeline: p\n", "components: {a: {use: x:Y}}\n", "pipeline: p\ncomponents: {}\n", "pipeline: p q\ncomponents: {a: {use: x:Y}}\n",
        "pipeline: p\ncomponents: {1a: {use: x:Y}}\n", "pipeline: p\ncomponents: {a: {use: x:Y}}\ncomit: {}\n",
        "pipeline: p\ncomponents: {a: {use: x:Y}}\ncommit: {evry: 1s}\n", "pipeline: p\ncomponents: {a: {use: x:Y}}\ncommit: {every: soon}\n",
    ],
)  # fmt: skip
def test_wrong_pipelines(complaints: Callable[[str], list[str]], text: str) -> None:
    assert complaints(text)


def test_it_explains(schema: dict[str, Any]) -> None:
    fields = schema["$defs"]["with.test.Numbers"]
    assert fields["description"].startswith("Count from zero to `upto`.")
    assert fields["properties"]["upto"]["description"] == "where to stop"
    assert fields["properties"]["mode"]["default"] == "fast" and fields["required"] == ["upto"]
    use = schema["$defs"]["component"]["properties"]["use"]["anyOf"][0]
    assert dict(zip(use["enum"], use["enumDescriptions"], strict=True))["test.Double"] == "Twice as much."


def test_what_json_cannot_describe_is_left_open() -> None:
    class Odd(Source[int]):
        """Odd."""

        thing: Any = object()
        rule: Callable[[int], int] = abs

        def read(self, resume: None, /):  # type: ignore[no-untyped-def]
            yield from ()

    class Outlet(Sink[int]):
        """Out."""

        async def write(self, batch: Any, /) -> None: ...

    kinds: dict[str, type[Component]] = {"test.Odd": Odd, "test.Outlet": Outlet}
    schema = pipeline_schema(Registry(components=kinds))
    Draft202012Validator.check_schema(schema)
    text = {"pipeline": "p", "components": {"a": {"use": "test.Odd", "with": {"thing": [1], "rule": "x"}}}}
    assert Draft202012Validator(schema).is_valid(text)


def test_the_installed_components() -> None:
    schema = pipeline_schema(Registry.installed())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    pipeline = {"pipeline": "p", "components": {"a": {"use": "files.ReadLines", "with": {"path": "${INBOX}"}}}}
    assert validator.is_valid(pipeline)
    pipeline["components"]["a"]["with"]["pth"] = "x"  # type: ignore[index]
    assert not validator.is_valid(pipeline)


def test_without_any_component() -> None:
    validator = Draft202012Validator(pipeline_schema(Registry()))
    assert validator.is_valid({"pipeline": "p", "components": {"a": {"use": "mine:Own"}}})
    assert not validator.is_valid({"pipeline": "p", "components": {"a": {"use": "files.ReadLines"}}})
