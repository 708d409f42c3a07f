"""`autocoder run`: one run of a pipeline, watched."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio
import click

from autocoder.cli.loading import Session, open_session
from autocoder.cli.options import PIPELINE, common_options, json_option, pipeline_options
from autocoder.cli.progress import is_live, plain_line, watch
from autocoder.cli.reporting import State, give_json, say, table
from autocoder.cli.strays import stray_overrides
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UsageError, count
from autocoder.pipeline import Pipeline
from autocoder.summary import RunSummary


@click.command("run")
@click.argument("pipeline", type=PIPELINE)
@pipeline_options
@click.option(
    "--database",
    metavar="URL",
    help="sqlite:///path or postgresql://user@host/name, instead of the settings' database.",
)
@click.option("--in-memory", is_flag=True, help="Keep nothing: no positions, no state, no dead letters.")
@click.option("--restart", is_flag=True, help="Forget where the sources stopped, and read them from the beginning.")
@click.option(
    "--wait", is_flag=True, help="Wait while another instance runs this pipeline, instead of leaving with 69."
)
@json_option
@common_options
@click.pass_context
def command(ctx: click.Context, /, pipeline: str, **options: Any) -> None:
    """Run a pipeline to the end of its input.

    A run goes on where the last one stopped: everything it does is kept in the database, epoch by epoch. After a crash, or a
    kill -9, run the same command again.

    PIPELINE is a YAML file, - for stdin, or the name of a pipeline that a pack ships. The first SIGINT (Ctrl-C) or SIGTERM
    stops reading and finishes what was read, with exit code 0; the second stops by force. A summary goes to stderr, or
    with --json to stdout.
    """
    if options["in_memory"] and (options["restart"] or options["wait"]):
        raise UsageError("a run that keeps nothing has nothing to restart from or to wait for; leave --in-memory out")
    session = open_session(options["environment"], allowed=options["allowed"], database=options["database"])
    loaded = session.pipeline(pipeline)
    for stray in stray_overrides(session, [loaded.name]):
        say(f"warning: {stray}")
    database = database_of(session, loaded, in_memory=options["in_memory"])
    keep = {"keep": not options["in_memory"], "restart": options["restart"], "wait": options["wait"]}
    summary = anyio.run(partial(run_watched, **keep), loaded, database)
    if ctx.ensure_object(State).json:
        give_json(summary_data(summary))
    else:
        say("\n".join(summary_lines(summary)))
        if not options["in_memory"] and summary.did_nothing and not summary.drained:
            say("nothing new since the last run; --restart reads the sources from the beginning")


def database_of(session: Session, pipeline: Pipeline, *, in_memory: bool) -> DatabaseOptions | None:
    """The database to open: that of the settings; none for a run in memory, unless a sink writes to it."""
    needed = any(node.needs_database for node in pipeline.compile().nodes.values())
    return None if in_memory and not needed else session.settings.database.options()


async def run_watched(
    pipeline: Pipeline,
    database: str | DatabaseOptions | None,
    *,
    keep: bool = True,
    restart: bool = False,
    wait: bool = False,
) -> RunSummary:
    """The run, with the watcher beside it; what stopped the pipeline comes out alone, not in a group.

    With `keep=False` the database only takes the rows of sinks: a run of its own, with no memory of the last one.
    """
    failure: Exception | None = None
    summary: RunSummary | None = None
    live = is_live()
    if live:
        from autocoder.cli.live import live_line  # noqa: PLC0415  Rich is heavy, and of no use but on a terminal
    with live_line() if live else nullcontext(plain_line) as show:
        async with anyio.create_task_group() as tasks:

            async def watcher() -> None:
                await watch(lambda: pipeline.progress, show, live=live)

            tasks.start_soon(watcher)
            try:
                summary = await pipeline.run_async(
                    database=database, keep=keep, restart=restart, wait=wait, signals=True
                )
            except Exception as error:
                failure = error
            tasks.cancel_scope.cancel()
    if summary is None:
        raise failure or AssertionError("a run gives a summary or raises")
    return summary


def summary_data(summary: RunSummary) -> dict[str, object]:
    """A summary in JSON's types; `duration` is in seconds, the rest counts messages."""
    return {
        "pipeline": summary.pipeline,
        "duration": round(summary.duration, 6),
        "drained": summary.drained,
        "messages_in": summary.messages_in,
        "messages_out": summary.messages_out,
        "dead_letters": summary.dead_letters,
        "components": {
            name: {
                "kind": each.kind,
                "in": each.taken,
                "out": each.given,
                "dropped": each.dropped,
                "dead_letters": each.dead_letters,
                "retried": each.retried,
            }
            for name, each in summary.components.items()
        },
    }


def summary_lines(summary: RunSummary) -> list[str]:
    """The summary as a table, and what it comes to."""
    rows = [
        (
            name,
            each.kind,
            *(f"{number:,}" for number in (each.taken, each.given, each.dropped, each.dead_letters, each.retried)),
        )
        for name, each in summary.components.items()
    ]
    header = ("component", "kind", "in", "out", "dropped", "dead letters", "retried")
    ended = "stopped as asked" if summary.drained else "done"
    total = (
        f"{summary.pipeline}: {ended} in {summary.duration:.2f} s; {summary.messages_in:,} in, "
        f"{summary.messages_out:,} out, {count(summary.dead_letters, 'dead letter')}"
    )
    return [*table(header, rows, words=2), total]
