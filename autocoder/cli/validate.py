"""`autocoder validate`: everything wrong with pipelines, at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from autocoder.cli.loading import Session, settings_and_problems
from autocoder.cli.options import PIPELINE, common_options, json_option, pipeline_options
from autocoder.cli.reporting import State, give_json, problem_data, say
from autocoder.cli.strays import stray_overrides
from autocoder.errors import AutocoderError, ConfigurationError, Place, Problem, count
from autocoder.guarantees import loss_warnings

INVALID = ConfigurationError.exit_code


@click.command("validate")
@click.argument("pipelines", nargs=-1, required=True, metavar="PIPELINE...", type=PIPELINE)
@pipeline_options
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, pipelines: tuple[str, ...], environment: str | None, allowed: tuple[str, ...]) -> None:
    """Find everything wrong with pipelines, without running them.

    Each problem is one line on stderr, `file:line:column: what; what was found; the cure`; the exit code is then 78. A warning
    looks the same and changes no exit code: it says where messages may be lost, or which overrides change nothing.
    """
    session, wrong = settings_and_problems(environment, allowed=allowed)
    results = {name: _judge(session, name) for name in pipelines}
    problems = [*wrong, *(each for judged in results.values() for each in judged.problems)]
    strays = stray_overrides(session, (judged.pipeline for judged in results.values()))
    if ctx.ensure_object(State).json:
        judgements = [_data(name, judged) for name, judged in results.items()]
        told = [problem_data(each) for each in strays]
        settings = [problem_data(each) for each in wrong]
        give_json({"valid": not problems, "settings": settings, "pipelines": judgements, "warnings": told})
    for stray in strays:
        say(f"warning: {stray}")
    for problem in problems:
        say(str(problem))
    for name, judged in results.items():
        for warning in judged.warnings:
            say(f"warning: {warning}")
        if not judged.problems:
            say(f"{name}: pipeline {judged.pipeline!r} is valid")
    if problems:
        broken = sum(1 for judged in results.values() if judged.problems)
        where = ["the settings"] if wrong else []
        where += [f"{broken} of {count(len(results), 'pipeline')}"] if broken else []
        say(f"{count(len(problems), 'problem')} in {' and '.join(where)}")
        ctx.exit(INVALID)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The name that a pipeline gives itself, its problems, and what is worth knowing though it is no mistake."""

    pipeline: str
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def _judge(session: Session, name: str) -> _Judged:
    try:
        pipeline = session.pipeline(name)
        return _Judged(pipeline.name, warnings=tuple(loss_warnings(pipeline.compile())))
    except ConfigurationError as error:
        return _Judged("", error.problems)
    except AutocoderError as error:  # it does not exist, say: no reason to leave out the others
        return _Judged("", (Problem(Place(name), str(error)),))


def _data(name: str, judged: _Judged) -> dict[str, Any]:
    return {
        "source": name,
        "pipeline": judged.pipeline or None,
        "valid": not judged.problems,
        "problems": [problem_data(each) for each in judged.problems],
        "warnings": [problem_data(each) for each in judged.warnings],
    }
