"""Every component of our packs explains itself: a sentence, an example that is valid, and a word about each field."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from autocoder import Component, Pipeline
from autocoder.registry import Registry

REGISTRY = Registry.installed()
NAMES = [name for name in REGISTRY.names() if REGISTRY.get(name).__module__.startswith("autocoder_components.")]
PAYLOADS = """
from dataclasses import dataclass


@dataclass
class {name}:
    number: int
"""


def documentation(component: type[Component]) -> str:
    """The docstring of the class itself, not of a base."""
    return inspect.cleandoc(vars(component).get("__doc__") or "")


def example(component: type[Component]) -> str:
    found: list[str] = re.findall(r"^```yaml\n(.*?)^```$", documentation(component), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, "there is one example, a block of yaml"
    return found[0]


def pipeline_of(name: str, text: str) -> dict[str, Any]:
    """The pipeline of an example; components alone stand for those of the same names in a pipeline that the pack ships."""
    written: dict[str, Any] = yaml.safe_load(text)
    if "pipeline" in written:
        return written
    pack = name.partition(".")[0]
    shipped = [
        yaml.safe_load(path.read_text()) for each, path in REGISTRY.pipelines().items() if each.startswith(f"{pack}.")
    ]
    home = next(each for each in shipped if written.keys() <= each["components"].keys())
    return {**home, "components": {**home["components"], **written}}


def provide_payloads(folder: Path, text: str) -> None:
    """The modules that an example takes its payload types from, which a reader has and a test must make."""
    for module, name in set(re.findall(r'payload: "(\w+):(\w+)"', text)):
        (folder / f"{module}.py").write_text(PAYLOADS.format(name=name))


def test_the_packs_are_all_there() -> None:
    assert not REGISTRY.problems()
    assert {name.partition(".")[0] for name in NAMES} == {"assessments", "console", "files", "flow", "http", "sql"}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_is_a_sentence(name: str) -> None:
    first, _, rest = documentation(REGISTRY.get(name)).partition("\n")
    assert re.fullmatch(r"[A-Z].{15,}[.:`)]", first), first
    assert first.endswith("."), "the first line ends with its sentence"
    assert not rest or rest.startswith("\n"), "an empty line follows"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_description(name: str) -> None:
    fields = REGISTRY.get(name).config_model().model_fields
    assert [each for each, field in fields.items() if not (field.description or "").strip()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_valid_and_uses_the_component(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = example(REGISTRY.get(name))
    provide_payloads(tmp_path, text)
    written = pipeline_of(name, text)
    path = tmp_path / "example.yaml"
    path.write_text(text if "pipeline" in yaml.safe_load(text) else yaml.safe_dump(written, sort_keys=False))
    Pipeline.from_yaml(path, environ={}, registry=REGISTRY)
    assert name in [each["use"] for each in written["components"].values()]
    assert f"use: {name}" in text
