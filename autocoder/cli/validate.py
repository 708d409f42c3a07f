"""`autocoder validate`: everything wrong with pipelines, at once."""

from __future__ import annotations

from typing import Any

import click

from autocoder.cli.loading import Session, open_session
from autocoder.cli.options import common_options, json_option, pipeline_options
from autocoder.cli.reporting import State, count, give_json, problem_data, say
from autocoder.errors import AutocoderError, ConfigurationError, Place, Problem

INVALID = ConfigurationError.exit_code


@click.command("validate")
@click.argument("pipelines", nargs=-1, required=True, metavar="PIPELINE...", type=click.Path(allow_dash=True))
@pipeline_options
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, pipelines: tuple[str, ...], environment: str | None, allowed: tuple[str, ...]) -> None:
    """Find everything wrong with pipelines, without running them.

    Each problem is one line on stderr, `file:line:column: what; what was found; the cure`; the exit code is then 78.
    """
    session = open_session(environment, allowed=allowed)
    results = {name: _judge(session, name) for name in pipelines}
    problems = [each for _, found in results.values() for each in found]
    if ctx.ensure_object(State).json:
        give_json({"valid": not problems, "pipelines": [_data(name, *found) for name, found in results.items()]})
    for problem in problems:
        say(str(problem))
    for name, (pipeline, found) in results.items():
        if not found:
            say(f"{name}: pipeline {pipeline!r} is valid")
    if problems:
        broken = sum(1 for _, found in results.values() if found)
        say(f"{count(len(problems), 'problem')} in {broken} of {count(len(results), 'pipeline')}")
        ctx.exit(INVALID)


def _judge(session: Session, name: str) -> tuple[str, tuple[Problem, ...]]:
    """The name that a pipeline gives itself, and its problems."""
    try:
        return session.pipeline(name).name, ()
    except ConfigurationError as error:
        return "", error.problems
    except AutocoderError as error:  # it does not exist, say: no reason to leave out the others
        return "", (Problem(Place(name), str(error)),)


def _data(name: str, pipeline: str, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "source": name,
        "pipeline": pipeline or None,
        "valid": not problems,
        "problems": [problem_data(each) for each in problems],
    }
