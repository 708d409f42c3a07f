"""What we publish and what editors check agree: the printed JSON Schema takes every pipeline that we show, no broken one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autocoder.yaml_document import parse_yaml, read_yaml, to_python
from tests.docs.test_component_docs import NAMES, REGISTRY, example, pipeline_of
from tests.docs.test_examples import PIPELINES
from tests.docs.test_readme import BLOCKS

SHIPPED = sorted(REGISTRY.pipelines().items())
IN_README = [each for each in BLOCKS if each.language == "yaml"]


@pytest.fixture(scope="module")
def printed() -> Draft202012Validator:
    """A validator with what `autocoder schema` prints."""
    program = "from autocoder.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "schema"], capture_output=True, text=True, check=True)
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(validator: Draft202012Validator, pipeline: Any) -> list[str]:
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(pipeline)]


def plain(path: Path) -> Any:
    """A YAML file as our own reader takes it."""
    root, problems = read_yaml(path)
    assert root is not None and not problems, problems
    return to_python(root)


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_the_examples_fit(printed: Draft202012Validator, path: Path) -> None:
    assert complaints(printed, plain(path)) == []


@pytest.mark.parametrize(("name", "path"), SHIPPED, ids=[name for name, _ in SHIPPED])
def test_the_pipelines_of_packs_fit(printed: Draft202012Validator, name: str, path: Path) -> None:
    assert complaints(printed, plain(path)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_each_component_fits(printed: Draft202012Validator, name: str) -> None:
    assert complaints(printed, pipeline_of(name, example(REGISTRY.get(name)))) == []


@pytest.mark.parametrize("block", IN_README, ids=lambda block: block.file)
def test_the_pipelines_of_the_readme_fit_but_for_the_broken_one(printed: Draft202012Validator, block: Any) -> None:
    root, _ = parse_yaml(block.text, block.file)
    assert root is not None
    assert bool(complaints(printed, to_python(root))) == (block.file == "broken.yaml")


GOOD = {"pipeline": "p", "components": {"lines": {"use": "files.ReadLines", "with": {"path": "a.txt"}}}}


def test_every_spelling_of_an_option_fits(printed: Draft202012Validator) -> None:
    requests = [{"assessmentType": "security", "serverName": ["a"], "deepScan": False}, {"check_compliance": False}]
    asking = broken("ask", use="assessments.Requests", **{"with": {"requests": requests}})
    assert complaints(printed, asking) == []


def broken(name: str, **component: Any) -> Any:
    return {**GOOD, "components": {**GOOD["components"], name: component}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("pipeline", "at"),
    [
        ({**GOOD, "comit": {}}, "$: "),
        ({**GOOD, "commit": {"every": "soon"}}, "$.commit.every"),
        ({"pipeline": "p"}, "$: "),
        (broken("lines", use="files.ReadLine"), "$.components.lines.use"),
        (broken("lines", use="files.ReadLines", **{"with": {"pth": "a"}}), "$.components.lines.with"),
        (broken("lines", use="files.ReadLines", **{"with": {"path": 7}}), "$.components.lines.with.path"),
        (broken("lines", use="files.ReadLines", **{"with": {"path": "a"}, "from": "b"}), "$.components.lines"),
        (broken("show", use="console.Print"), "$.components.show"),
        (broken("show", use="console.Print", **{"from": "lines", "on_error": "ignore"}), "$.components.show.on_error"),
        (broken("show", use="console.Print", **{"from": {"prot": "lines"}}), "$.components.show.from"),
        (broken("zip", use="flow.Concat", **{"from": "lines"}), "$.components.zip"),
        (
            broken("ask", use="assessments.Requests", **{"with": {"requests": [{"tokne": "x"}]}}),
            "$.components.ask.with.requests",
        ),
        (
            broken("ask", use="assessments.Requests", **{"with": {"requests": [{"timeout": 0}]}}),
            "$.components.ask.with.requests",
        ),
        (
            broken("ask", use="assessments.Requests", **{"with": {"requests": [{"deep_scan": 7}]}}),
            "$.components.ask.with.requests",
        ),
        (
            broken("ask", use="assessments.Requests", **{"with": {"requests": [{"type": "compliant"}]}}),
            "$.components.ask.with.requests",
        ),
    ],
)
def test_broken_pipelines_do_not_fit(printed: Draft202012Validator, pipeline: Any, at: str) -> None:
    assert complaints(printed, GOOD) == []
    found = complaints(printed, pipeline)
    assert any(each.startswith(at) for each in found), found
    assert all(each.startswith(at) for each in found), "and nothing else is wrong with it"
