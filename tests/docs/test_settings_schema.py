"""The schema that editors check `config/<environment>.yaml` with takes what we ship and show, and nothing that is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autocoder.settings import load_settings
from autocoder.yaml_document import parse_yaml, to_python

CONFIG = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))


@pytest.fixture(scope="module")
def printed() -> Draft202012Validator:
    """A validator with what `autocoder schema --settings` prints."""
    words = [sys.executable, "-c", "from autocoder.cli.main import main; main()", "schema", "--settings"]
    schema = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(validator: Draft202012Validator, text: str) -> list[str]:
    root, problems = parse_yaml(text, "settings.yaml")
    assert root is not None and not problems, problems
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(to_python(root))]


@pytest.mark.parametrize("path", CONFIG, ids=lambda path: path.name)
def test_what_we_ship_fits(printed: Draft202012Validator, path: Path) -> None:
    assert complaints(printed, path.read_text()) == []


GOOD = [
    "database: {url: 'sqlite:///a.db', busy_timeout: 10s, pool_size: '${POOL:-3}'}",
    "database: {backend: postgresql, host: '${DB_HOST}', port: 5433, name: orders, ssl_mode: verify-full}",
    "logging: {level: '${LEVEL:-info}', format: json}",
    "pipelines: {tickets: {components: {inbox: {with: {path: a.txt}, concurrency: 3}}, commit: {every: 1s}}}",
    "assessments: {moving: {store: false}}",
]
BAD = [
    ("database: {pol_size: 3}", "$.database"),
    ("database: {backend: postgresql, busy_timeout: 10s}", "$.database"),
    ("database: {url: 'sqlite:///a.db', pool_size: many}", "$.database"),
    ("logging: {level: loud}", "$.logging.level"),
    ("pipelines: {tickets: {components: {inbox: {use: files.ReadLines}}}}", "$.pipelines.tickets.components.inbox"),
    ("pipelines: {tickets: {commit: {every: soon}}}", "$.pipelines.tickets.commit.every"),
    ("assessments: {moving: {stroe: false}}", "$.assessments.moving"),
    ("datbase: {}", "$: "),
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_taken_fits(printed: Draft202012Validator, tmp_path: Path, text: str) -> None:
    assert complaints(printed, text) == []
    assert problems_of(tmp_path, text) == []


@pytest.mark.parametrize(("text", "at"), BAD)
def test_what_is_refused_does_not_fit(printed: Draft202012Validator, tmp_path: Path, text: str, at: str) -> None:
    found = complaints(printed, text)
    assert found and any(each.startswith(at) for each in found), found
    assert problems_of(tmp_path, text) or at.startswith("$.pipelines")  # which are judged with their pipeline


def problems_of(folder: Path, text: str) -> list[Any]:
    """What loading the settings has to say about the same text."""
    (folder / "config").mkdir()
    (folder / "config" / "testing.yaml").write_text(text)
    _, problems = load_settings("testing", environ={"DB_HOST": "db.example"}, folder=folder)
    return problems
