"""Finds and loads the pipeline that a command names, with the settings of the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from autocoder.cli.logs import configure_logging
from autocoder.cli.reporting import State
from autocoder.errors import ConfigurationError, Place, Problem, UsageError, did_you_mean
from autocoder.loading import declared_name
from autocoder.overrides import merge
from autocoder.pipeline import Pipeline
from autocoder.registry import Registry
from autocoder.settings import Settings, load_settings
from autocoder.yaml_document import Node, from_python, parse_yaml, read_yaml

STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Session:
    """What the loading of pipelines depends on: settings, packs, and the modules that are allowed."""

    settings: Settings
    registry: Registry
    allowed: tuple[str, ...] = ()

    def pipeline(self, name: str, changes: Mapping[str, Any] | None = None) -> Pipeline:
        """The pipeline of a file, of stdin or of a pack; raises ConfigurationError with every problem at once.

        `changes` have the form of an environment's overrides and are laid over these: what the command line says.
        """
        source = find_pipeline(name, self.registry)

        def overrides(declared: str) -> Node | None:
            own = self.settings.pipelines.get(declared)
            if changes is None:
                return own
            said = from_python(changes, Place("command line"))
            return said if own is None else merge(own, said)

        pipeline = Pipeline.from_yaml(source, registry=self.registry, allowed=self.allowed, overrides=overrides)
        click.get_current_context().ensure_object(State).secrets |= pipeline.declaration.secrets
        return pipeline


def open_session(
    environment: str | None = None, *, allowed: Sequence[str] = (), database: str | None = None
) -> Session:
    """The session of this command; also sets up logging. Raises ConfigurationError for settings that are wrong."""
    session, problems = settings_and_problems(environment, allowed=allowed, database=database)
    if problems:
        raise ConfigurationError(problems)
    return session


def settings_and_problems(
    environment: str | None = None, *, allowed: Sequence[str] = (), database: str | None = None
) -> tuple[Session, list[Problem]]:
    """As `open_session`, for what judges pipelines all the same: where settings are wrong the session has the defaults."""
    state = click.get_current_context().ensure_object(State)
    explicit: dict[str, Any] = {}
    if database is not None:
        explicit["database"] = {"url": database}
    if state.log_level is not None:
        explicit["logging"] = {"level": state.log_level}
    settings, problems = load_settings(environment, environ=os.environ, explicit=explicit)
    if settings is None:
        settings = Settings()
    state.secrets |= settings.secrets
    configure_logging(settings.logging.level, settings.logging.format, state.secrets)
    return Session(settings, Registry.installed(), tuple(allowed)), problems


def find_pipeline(name: str, registry: Registry) -> Path | str:
    """Where a pipeline stands: a file, or the text itself from stdin; raises UsageError with the nearest names."""
    if name == STDIN:
        return sys.stdin.read()
    path = Path(name)
    try:
        is_folder, is_there, is_link = path.is_dir(), path.exists(), path.is_symlink()
    except OSError:  # reading it says why: a folder that may not be entered, a name too long
        return path
    if is_folder:
        cure = f"name a pipeline file in it{_examples(path)}"
        raise ConfigurationError([Problem(Place(name), "this is a folder, not a pipeline", cure=cure)])
    if is_there:
        return path
    if is_link:
        what, to = "this is a link, and there is no file where it leads", repr(str(path.readlink()))
        cure = "point it at a pipeline file, or name that file itself"
        raise ConfigurationError([Problem(Place(name), what, to, cure)])
    shipped = registry.pipelines()
    if name in shipped:
        return shipped[name]
    same = [each for each in shipped if each.partition(".")[2] == name]
    if len(same) == 1:
        return shipped[same[0]]
    if same:
        raise UsageError(f"several packs ship a pipeline {name!r}; name one: {', '.join(same)}")
    files = [str(each) for pattern in ("*.yaml", "*.yml") for each in sorted(path.parent.glob(pattern))]
    cure = did_you_mean(name, [*files, *shipped], plural="pipelines")
    raise ConfigurationError(
        [Problem(Place(name), "there is no such file, and no pack ships a pipeline of this name", cure=cure)]
    )


def _examples(folder: Path) -> str:
    found = sorted(str(each) for each in folder.glob("*.yaml"))[:5]
    return f": {', '.join(found)}" if found else ""


def name_in(source: Path | str) -> str:
    """The name that a pipeline gives itself, empty where there is none: the loader says what is wrong."""
    root = (read_yaml(source) if isinstance(source, Path) else parse_yaml(source, STDIN))[0]
    return declared_name(root, os.environ) if root is not None else ""
