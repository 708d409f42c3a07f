"""`autocoder init`: the project that it makes works as it says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.cli.answer import Run


def test_the_next_commands_work(cli: Run, project: Path) -> None:
    answer = cli("init", "my shop")
    assert (answer.code, answer.out) == (0, "")
    commands = [line.strip() for line in answer.err.partition("next:\n")[2].splitlines()]
    assert commands == ["cd 'my shop'", "autocoder run pipeline.yaml", "pytest"]
    folder = project / shlex.split(commands[0])[1]
    ran = _python(folder, "-c", "from autocoder.cli.main import main; main()", *commands[1].split()[1:])
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [
        {"item": "tea", "total": 20.0}, {"item": "coffee", "total": 15.0}, {"item": "milk", "total": 1.45},
    ]  # fmt: skip
    assert "my-shop: done in " in ran.stderr
    tested = _python(folder, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_editor_finds_the_schema(cli: Run, project: Path) -> None:
    cli("init", "shop")
    text = (project / "shop" / "pipeline.yaml").read_text()
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = json.loads((project / "shop" / first.partition("$schema=")[2]).read_text())
    jsonschema.validate(yaml.safe_load(text), schema)


def test_the_pipeline_is_valid_with_its_settings(cli: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init", "shop", "--name", "corner_shop")
    monkeypatch.chdir(project / "shop")
    assert cli("validate", "pipeline.yaml").err == "pipeline.yaml: pipeline 'corner_shop' is valid\n"
    assert "commits every 1s" in cli("plan", "pipeline.yaml").out  # so the settings are read


def test_nothing_is_overwritten(cli: Run, project: Path) -> None:
    (project / "shop").mkdir()
    (project / "shop" / "README.md").write_text("mine")
    answer = cli("init", "shop")
    assert answer.code == 2
    assert "nothing was written: there is already shop/README.md" in answer.err
    assert [each.name for each in (project / "shop").iterdir()] == ["README.md"]


def test_the_working_folder_is_the_default(cli: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "new").mkdir()
    monkeypatch.chdir(project / "new")
    answer = cli("init")
    assert "created the project new:\n" in answer.err
    assert "  cd " not in answer.err
    assert (project / "new" / "shop.py").exists()


def test_a_name_that_no_pipeline_may_have_is_refused(cli: Run, project: Path) -> None:
    answer = cli("init", "shop", "--name", "1 shop")
    assert answer.code == 2
    assert not (project / "shop").exists()
    assert cli("init", "1 shop").code == 0  # the folder's name gives another one
