"""`autocoder init`: a project that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from autocoder.cli.options import common_options, json_option
from autocoder.cli.project import SCHEMA, project_files
from autocoder.cli.reporting import State, give_json, say, write_file
from autocoder.cli.schema import schema_text
from autocoder.errors import UsageError
from autocoder.reading import NAME
from autocoder.registry import Registry


@click.command("init")
@click.argument("folder", required=False, default=Path(), type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="The name of the project and of its pipeline (default: that of the folder).")
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, /, folder: Path, name: str | None) -> None:
    """Create a project that runs.

    In FOLDER (default: the working folder) come a pipeline, a component of your own with a test, an input file, settings,
    and a schema for the editor. Files that are there already are never overwritten.
    """
    chosen = _name_of(folder) if name is None else name
    if not NAME.fullmatch(chosen):
        raise UsageError(
            f"{chosen!r} is no name for a pipeline; use letters, digits, _ and -, a letter first: --name NAME"
        )
    files = {folder / path: text for path, text in project_files(chosen).items()}
    files[folder / SCHEMA] = schema_text(Registry.installed()) + "\n"
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there:
        raise UsageError(f"nothing was written: there is already {', '.join(there)}; name another folder")
    for path, text in files.items():
        _make_folder(path.parent)
        write_file(path, text)
    if ctx.ensure_object(State).json:
        give_json({"name": chosen, "folder": str(folder), "files": [str(path) for path in files]})
        return
    say(f"created the project {chosen}:")
    for path in files:
        say(f"  {path}")
    say("next:")
    for line in (
        *([f"cd {shlex.quote(str(folder))}"] if folder != Path() else []),
        "autocoder run pipeline.yaml",
        "pytest",
    ):
        say(f"  {line}")


def _name_of(folder: Path) -> str:
    """A name from that of the folder: what cannot stand in one becomes a hyphen."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-")
    return name if NAME.fullmatch(name) else "orders"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made: {error.strerror or error}") from error
