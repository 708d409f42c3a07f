"""`autocoder graph`: where the drawing goes, and in which form."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.answer import Run


@pytest.mark.parametrize(
    ("form", "begins"), [("mermaid", "---\ntitle: "), ("dot", "digraph "), ("json", "{\n"), ("svg", "<svg ")]
)
def test_each_form_goes_to_stdout(cli: Run, form: str, begins: str) -> None:
    answer = cli("graph", "demo.yaml", "--format", form)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(begins)
    assert "numbers" in answer.out


@pytest.mark.parametrize(
    ("name", "begins"), [("a.svg", "<svg "), ("a.dot", "digraph"), ("a.json", "{"), ("a.md", "---")]
)
def test_a_file_tells_the_form_by_its_name(cli: Run, project: Path, name: str, begins: str) -> None:
    answer = cli("graph", "demo.yaml", "--output", name)
    assert (answer.code, answer.out, answer.err) == (0, "", f"drawn to {name}\n")
    assert (project / name).read_text().startswith(begins)
    assert not list(project.glob(".a.*"))


def test_the_forms_can_be_read(cli: Run) -> None:
    ElementTree.fromstring(cli("graph", "demo.yaml", "--format", "svg").out)
    assert len(json.loads(cli("graph", "demo.yaml", "--format", "json").out)["arrows"]) == 2


def test_a_file_that_cannot_be_written_is_said(cli: Run) -> None:
    answer = cli("graph", "demo.yaml", "--output", "no/such/folder.svg")
    assert answer.code == 2
    assert "no/such/folder.svg cannot be written: No such file or directory" in answer.err
