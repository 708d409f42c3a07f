"""`autocoder components` and `autocoder schema`: what is installed."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from autocoder.registry import Registry
from tests.cli.answer import Run, Start


def test_the_list_has_a_line_for_each_component(cli: Run) -> None:
    lines = cli("components").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == Registry.installed().names()
    read = next(line for line in lines if line.startswith("files.ReadLines "))
    assert read.split(maxsplit=2)[1:] == [
        "source",
        "Read text files; each line is a payload, without its line end (`\\n` or `\\r\\n`).",
    ]


def test_the_list_as_json(cli: Run) -> None:
    data = json.loads(cli("components", "--json").out)
    found = {each["name"]: each for each in data["components"]}
    assert (found["console.Print"]["pack"], found["console.Print"]["kind"]) == ("console", "sink")
    assert data["problems"] == []


@pytest.mark.parametrize("name", Registry.installed().names())
def test_every_installed_component_can_be_explained(cli: Run, name: str) -> None:
    kind = Registry.installed().get(name)
    answer = cli("components", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{name}  {kind.kind}, {kind.__module__}:{kind.__qualname__}\n")
    for field, info in kind.config_model().model_fields.items():
        assert f"\n  {info.alias or field}: " in answer.out
    assert json.loads(cli("components", name, "--json").out)["name"] == name


def test_one_in_full(cli: Run) -> None:
    out = cli("components", "files.ReadCsv").out
    assert "\n  out " in out
    assert "\n  path: string, required, at least 1 long\n" in out
    assert '\n  delimiter: string, default ",", at least 1 long, at most 1 long\n' in out
    assert "\n      what each row is validated into\n" in out
    assert "use: files.ReadCsv" in out  # its example
    assert "\n  out as its fields say\n" in cli("components", "flow.Route").out
    assert "\n  in  as its fields say\n" in cli("components", "flow.Concat").out


def test_an_unknown_one_has_neighbours(cli: Run) -> None:
    answer = cli("components", "files.ReadLine")
    assert answer.code == 78
    assert "did you mean 'files.ReadLines'" in answer.err


def test_a_broken_pack_is_shown_as_such_and_does_not_hide_the_others(tmp_path: Path, start: Start) -> None:
    site = tmp_path / "site"
    info = site / "wreck-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wreck\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autocoder.components]\nwreck = wreck\n")
    (site / "wreck.py").write_text("raise RuntimeError('rusty')\n")
    for command in ("components", "schema"):
        process = start(command, environ={"PYTHONPATH": str(site)})
        out, err = process.communicate()
        assert process.returncode == 0
        assert "files.ReadLines" in out
        assert "pack wreck: the pack 'wreck' (wreck of wreck) cannot be imported: RuntimeError: rusty" in err


def test_the_schema_judges_a_pipeline(cli: Run, project: Path) -> None:
    assert cli("schema", "--output", "pipeline.schema.json").err == "written to pipeline.schema.json\n"
    schema = json.loads((project / "pipeline.schema.json").read_text())
    assert json.loads(cli("schema").out) == schema
    jsonschema.validate(yaml.safe_load((project / "demo.yaml").read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"pipeline": "x", "components": {"a": {"use": "files.ReadLines", "with": {"pth": "x"}}}}, schema
        )
