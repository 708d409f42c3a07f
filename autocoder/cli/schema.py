"""`autocoder schema`: the JSON Schema of pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import give, say, write_file
from autocoder.registry import Registry
from autocoder.schema import pipeline_schema


@click.command("schema")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@json_option
@common_options
def command(output: Path | None) -> None:
    """Print the JSON Schema of pipelines, for editors.

    It knows the installed components, so that an editor completes and checks their fields. The first line of a pipeline
    leads an editor to it: `# yaml-language-server: $schema=pipeline.schema.json`.
    """
    registry = Registry.installed()
    text = schema_text(registry)
    for problem in registry.problems():
        say(f"left out: {problem}")
    if output is None:
        give(text)
    else:
        write_file(output, text + "\n")
        say(f"written to {output}")


def schema_text(registry: Registry) -> str:
    """The schema as JSON."""
    return json.dumps(pipeline_schema(registry), indent=2, ensure_ascii=False)
