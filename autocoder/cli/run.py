"""`autocoder run`: one run of a pipeline, watched."""

from __future__ import annotations

from contextlib import nullcontext

import anyio
import click

from autocoder.cli.loading import Session, open_session
from autocoder.cli.options import common_options, json_option, pipeline_options
from autocoder.cli.progress import is_live, live_line, plain_line, watch
from autocoder.cli.reporting import State, count, give_json, say, table
from autocoder.pipeline import Pipeline
from autocoder.summary import RunSummary


@click.command("run")
@click.argument("pipeline", type=click.Path(allow_dash=True))
@pipeline_options
@click.option(
    "--database",
    metavar="URL",
    help="sqlite:///path or postgresql://user@host/name, instead of the settings' database.",
)
@json_option
@common_options
@click.pass_context
def command(
    ctx: click.Context, pipeline: str, environment: str | None, allowed: tuple[str, ...], database: str | None
) -> None:
    """Run a pipeline to the end of its input.

    PIPELINE is a YAML file, - for stdin, or the name of a pipeline that a pack ships. The first SIGINT (Ctrl-C) or SIGTERM
    stops reading and finishes what was read, with exit code 0; the second stops by force. A summary goes to stderr, or
    with --json to stdout.
    """
    session = open_session(environment, allowed=allowed, database=database)
    loaded = session.pipeline(pipeline)
    summary = anyio.run(run_watched, loaded, database_of(session, loaded))
    if ctx.ensure_object(State).json:
        give_json(summary_data(summary))
    else:
        say("\n".join(summary_lines(summary)))


def database_of(session: Session, pipeline: Pipeline) -> str | None:
    """The database to open: the one that was chosen, or the default one where a component needs it; else none."""
    settings = session.settings.database
    chosen = "url" in settings.model_fields_set
    needed = any(node.needs_database for node in pipeline.compile().nodes.values())
    return settings.url.get_secret_value() if chosen or needed else None


async def run_watched(pipeline: Pipeline, database: str | None, *, keep: bool = True) -> RunSummary:
    """The run, with the watcher beside it; what stopped the pipeline comes out alone, not in a group.

    With `keep=False` the database only takes the rows of sinks: a run of its own, with no memory of the last one.
    """
    failure: Exception | None = None
    summary: RunSummary | None = None
    live = is_live()
    with live_line() if live else nullcontext(plain_line) as show:
        async with anyio.create_task_group() as tasks:

            async def watcher() -> None:
                await watch(lambda: pipeline.progress, show, live=live)

            tasks.start_soon(watcher)
            try:
                summary = await pipeline.run_async(database=database, keep=keep, signals=True)
            except Exception as error:
                failure = _alone(error)
            tasks.cancel_scope.cancel()
    if summary is None:
        raise failure or AssertionError("a run gives a summary or raises")
    return summary


def _alone(error: Exception) -> Exception:
    """An error without the groups of one that task groups on its way have put around it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


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
