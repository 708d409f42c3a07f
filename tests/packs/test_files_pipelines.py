"""The components of `files` in pipelines, from YAML; and the examples of their documentation."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from autocoder_components import console, files
from pyarrow import parquet

from autocoder import Pipeline, PipelineError

COMPONENTS = [getattr(pack, name) for pack in (files, console) for name in pack.__all__]
MODELS = """
from dataclasses import dataclass

@dataclass
class Order:
    number: int
    customer: str = "nobody"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, with a module of payload types."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(MODELS)
    return tmp_path


def pipeline(folder: Path, source: str, sink: str, **more: str) -> Pipeline:
    parts = "\n".join(f"  {name}: {part}" for name, part in {"source": source, "sink": sink, **more}.items())
    path = folder / "pipeline.yaml"
    path.write_text(f"pipeline: copy\ncomponents:\n{parts}\n")
    return Pipeline.from_yaml(path)


def test_lines_to_json_lines(folder: Path) -> None:
    (folder / "a.txt").write_text("one\r\ntwo")
    (folder / "b.txt.gz").write_bytes(gzip.compress(b"three\n"))
    summary = pipeline(
        folder,
        '{use: files.ReadLines, with: {path: "*.txt*"}}',
        "{use: files.WriteJsonLines, from: source, with: {path: out/x.jsonl, create_folders: true}}",
    ).run()
    assert (folder / "out" / "x.jsonl").read_text() == '"one"\n"two"\n"three"\n'
    assert summary.messages_out == 3


def test_json_lines_to_csv(folder: Path) -> None:
    (folder / "x.jsonl").write_text('{"number":1}\n{"number":2,"customer":"ann"}\n')
    pipeline(
        folder,
        '{use: files.ReadJsonLines, with: {path: x.jsonl, payload: "shop:Order"}}',
        "{use: files.WriteCsv, from: source, with: {path: x.csv}}",
    ).run()
    assert (folder / "x.csv").read_text() == "number,customer\n1,nobody\n2,ann\n"


def test_csv_to_parquet_and_back(folder: Path) -> None:
    (folder / "x.csv").write_text("number;customer\n1;ann\n2;\n")
    pipeline(
        folder,
        '{use: files.ReadCsv, with: {path: x.csv, payload: "shop:Order", delimiter: ";"}}',
        "{use: files.WriteParquet, from: source, with: {path: x.parquet, types: {number: int16}}}",
    ).run()
    assert str(parquet.read_schema(folder / "x.parquet").field("number").type) == "int16"
    pipeline(
        folder,
        '{use: files.ReadParquet, with: {path: x.parquet, payload: "shop:Order", batch: 1}}',
        "{use: files.WriteJsonLines, from: source, with: {path: y.jsonl}}",
    ).run()
    assert [json.loads(line) for line in (folder / "y.jsonl").read_text().splitlines()] == [
        {"number": 1, "customer": "ann"},
        {"number": 2, "customer": ""},
    ]


def test_a_malformed_line_is_judged_by_the_error_policy(folder: Path) -> None:
    (folder / "x.jsonl").write_text('{"number":1}\n{"number":\n{"number":3}\n')
    source = "{use: files.ReadJsonLines, with: {path: x.jsonl}, on_error: %s}"
    sink = "{use: files.WriteJsonLines, from: source, with: {path: y.jsonl}}"
    with pytest.raises(PipelineError, match="Invalid JSON") as raised:
        pipeline(folder, source % "stop", sink).run()
    assert "'source'" in str(raised.value)
    assert not (folder / "y.jsonl").exists()
    summary = pipeline(folder, source % "drop", sink).run()
    assert summary.components["source"].dropped == 1
    assert (folder / "y.jsonl").read_text() == '{"number":1}\n{"number":3}\n'


def test_a_pipeline_that_fails_leaves_what_was_there(folder: Path) -> None:
    (folder / "x.csv").write_text("a\n1\n")
    (folder / "y.jsonl").write_text("before\n")
    broken = pipeline(
        folder,
        "{use: files.ReadCsv, with: {path: x.csv}}",
        "{use: files.WriteJsonLines, from: source, with: {path: y.jsonl}}",
        other="{use: files.WriteParquet, from: source, with: {path: no/such/folder/z}}",
    )
    with pytest.raises(PipelineError, match="no folder for 'no/such/folder/z'"):
        broken.run()
    assert (folder / "y.jsonl").read_text() == "before\n"
    assert not list(folder.glob(".*"))


def test_a_missing_file_names_the_component_and_the_working_folder(folder: Path) -> None:
    missing = pipeline(folder, "{use: files.ReadLines, with: {path: gone.txt}}", "{use: console.Print, from: source}")
    with pytest.raises(PipelineError, match=rf"'source'.*there is no file 'gone.txt' \(working folder: {folder}\)"):
        missing.run()


@pytest.mark.anyio
async def test_a_followed_file_until_the_pipeline_is_drained(folder: Path) -> None:
    path = folder / "x.log"
    path.write_text("one\n")
    tailing = pipeline(
        folder,
        "{use: files.ReadLines, with: {path: x.log, follow: true, poll: 0.01}}",
        "{use: files.WriteJsonLines, from: source, with: {path: y.jsonl}}",
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tailing.run_async)
        with anyio.fail_after(20):
            while not any(part.stat().st_size for part in folder.glob(".y.jsonl.*")):
                await anyio.sleep(0.01)
            with path.open("a") as more:
                more.write("two\n")
            while not any(part.stat().st_size == len('"one"\n"two"\n') for part in folder.glob(".y.jsonl.*")):
                await anyio.sleep(0.01)
        tailing.drain()
    assert (folder / "y.jsonl").read_text() == '"one"\n"two"\n'


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_example_in_the_documentation_is_a_pipeline(folder: Path, component: Any) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", component.__doc__, re.DOTALL)
    (folder / "crm.py").write_text(MODELS.replace("Order", "Person"))
    path = folder / "example.yaml"
    path.write_text(re.sub(r"^ {4}", "", example, flags=re.MULTILINE))
    Pipeline.from_yaml(path)
    assert component.__name__ in example


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_field_is_described(component: Any) -> None:
    fields = component.config_model().model_fields
    assert fields
    assert all(field.description for field in fields.values())
