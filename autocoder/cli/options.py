"""Options that several commands share. Imports nothing but click, since the help of the whole program needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from autocoder.cli.reporting import State

F = TypeVar("F", bound=Callable[..., Any])
PIPELINE: Final = click.Path(allow_dash=True, readable=False)
"""The argument PIPELINE: completed like a file, and judged by what reads it, for it may be the name of one in a pack."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option in the program's state, wherever on the command line it stands."""
    if value and parameter.name is not None:
        setattr(ctx.ensure_object(State), parameter.name, value)


def common_options(command: F) -> F:
    """`--log-level` and `--debug`, before the command or behind it."""
    level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        expose_value=False,
        callback=_remember,
        help="What is logged to stderr, at least.",
    )
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
    )
    return level(debug(command))


def json_option(command: F) -> F:
    """`--json`, kept in the state, so that an error is told as JSON too."""
    return click.option(
        "--json",
        "json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help='Print JSON to stdout; an error becomes {"error": ...}.',
    )(command)


def pipeline_options(command: F) -> F:
    """What decides how a pipeline is loaded: `--env` and `--allow`."""
    env = click.option(
        "--env",
        "environment",
        metavar="NAME",
        help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
    )
    allow = click.option(
        "--allow",
        "allowed",
        multiple=True,
        metavar="PREFIX",
        help="A module prefix that `use: module:Class` may import besides the project's own modules; may be repeated.",
    )
    return env(allow(command))
