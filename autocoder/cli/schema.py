"""`autocoder schema`: the JSON Schemas of pipelines and of settings."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import give, say, write_file
from autocoder.registry import Registry
from autocoder.schema import Schema, pipeline_schema, settings_schema


@click.command("schema")
@click.option("--settings", is_flag=True, help="The schema of config/<environment>.yaml instead.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@json_option
@common_options
def command(settings: bool, output: Path | None) -> None:
    """Print the JSON Schema of pipelines, or of settings, for editors.

    It knows the installed components, so that an editor completes and checks their fields. The first line of a pipeline
    leads an editor to it: `# yaml-language-server: $schema=pipeline.schema.json`.
    """
    registry = Registry.installed()
    text = _as_json(settings_schema(registry)) if settings else schema_text(registry)
    for problem in registry.problems():
        say(f"left out: {problem}")
    if output is None:
        give(text)
    else:
        write_file(output, text + "\n")
        say(f"written to {output}")


def schema_text(registry: Registry) -> str:
    """The schema as JSON."""
    return _as_json(pipeline_schema(registry))


def _as_json(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
