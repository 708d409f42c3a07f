"""`autocoder plan`: what a pipeline compiles to."""

from __future__ import annotations

import click

from autocoder.cli.loading import open_session
from autocoder.cli.options import common_options, json_option, pipeline_options
from autocoder.cli.reporting import State, give, give_json
from autocoder.plan import plan_of


@click.command("plan")
@click.argument("pipeline", type=click.Path(allow_dash=True))
@pipeline_options
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, pipeline: str, environment: str | None, allowed: tuple[str, ...]) -> None:
    """Show what a pipeline compiles to.

    Regions (what commits together), tasks (components that run inside one another's loop share one), ports with the types
    they carry, error policies, and channels. PIPELINE is a YAML file, - for stdin, or the name of a pipeline of a pack.
    """
    plan = plan_of(open_session(environment, allowed=allowed).pipeline(pipeline).compile())
    if ctx.ensure_object(State).json:
        give_json(plan.data())
    else:
        give(plan.text())
