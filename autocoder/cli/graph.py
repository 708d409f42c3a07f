"""`autocoder graph`: a drawing of a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from autocoder.cli.loading import open_session
from autocoder.cli.options import PIPELINE, common_options, pipeline_options
from autocoder.cli.reporting import give, say, write_file
from autocoder.drawing import FORMATS, draw


@click.command("graph")
@click.argument("pipeline", type=PIPELINE)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="How to draw it (default: by the name of the output file, or mermaid).",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@pipeline_options
@common_options
def command(
    pipeline: str, form: str | None, output: Path | None, environment: str | None, allowed: tuple[str, ...]
) -> None:
    """Draw a pipeline.

    Mermaid is what Markdown viewers draw, dot is for Graphviz, json for your own program, and svg needs no other program.
    PIPELINE is a YAML file, - for stdin, or the name of a pipeline of a pack.
    """
    drawing = draw(open_session(environment, allowed=allowed).pipeline(pipeline).compile(), form or _told_by(output))
    if output is None:
        give(drawing.rstrip("\n"))
    else:
        write_file(output, drawing)
        say(f"drawn to {output}")


def _told_by(output: Path | None) -> str:
    suffix = output.suffix.lower() if output is not None else ""
    return {".svg": "svg", ".dot": "dot", ".gv": "dot", ".json": "json"}.get(suffix, "mermaid")
