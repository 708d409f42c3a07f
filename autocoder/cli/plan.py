"""`autocoder plan`: what a pipeline compiles to."""

from __future__ import annotations

import click

from autocoder.cli.loading import open_session
from autocoder.cli.options import PIPELINE, common_options, json_option, pipeline_options
from autocoder.cli.reporting import State, give, give_json
from autocoder.plan import plan_of


@click.command("plan")
@click.argument("pipeline", type=PIPELINE)
@pipeline_options
@click.option("--in-memory", is_flag=True, help="Show the guarantees of a run that keeps nothing.")
@json_option
@common_options
@click.pass_context
def command(
    ctx: click.Context, pipeline: str, environment: str | None, allowed: tuple[str, ...], in_memory: bool
) -> None:
    """Show what a pipeline compiles to.

    Regions (what commits together), tasks (components that run inside one another's loop share one), ports with the types
    they carry, error policies, channels, and for each path from source to sink the guarantee that it has, with what would have
    to change for a better one. PIPELINE is a YAML file, - for stdin, or the name of a pipeline of a pack.
    """
    plan = plan_of(open_session(environment, allowed=allowed).pipeline(pipeline).compile(), kept=not in_memory)
    if ctx.ensure_object(State).json:
        give_json(plan.data())
    else:
        give(plan.text())
