"""`autocoder checkpoint`: what a pipeline keeps, and savepoints of it to go back to."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import click

from autocoder.cli.dlq_options import DurationType, TextType
from autocoder.cli.loading import Session, find_pipeline, name_in, open_session
from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import State, give, give_json, say, table
from autocoder.database import Database
from autocoder.durations import later
from autocoder.errors import UsageError, count, did_you_mean
from autocoder.store.columns import now
from autocoder.store.inbox import known_pipelines
from autocoder.store.opening import open_store
from autocoder.store.savepoints import Content, Savepoint, Savepoints, list_savepoints

NOT_UNDONE = (
    "what sinks have written is not undone, and is written again: under the same keys, but by a sink that only appends a "
    "second time"
)


def _options(command: Any) -> Any:
    """Whose savepoints: `--pipeline`, `--database` and `--env`."""
    options = (
        click.option(
            "--pipeline", metavar="PIPELINE", help="A YAML file, or a name. Not needed where only one has run here."
        ),
        click.option(
            "--database",
            metavar="URL",
            help="sqlite:///path or postgresql://user@host/name, instead of the settings' database.",
        ),
        click.option(
            "--env",
            "environment",
            metavar="NAME",
            help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
        ),
        json_option,
        common_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _yes(command: Any) -> Any:
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


@click.group("checkpoint")
@common_options
def command() -> None:
    """Save what a pipeline keeps, and go back to it.

    A savepoint holds the state of all components, the positions of sources and the messages that wait, as of one moment; it
    can be taken while the pipeline runs.
    """


@command.command("list")
@_options
@click.pass_context
def list_all(ctx: click.Context, /, **options: Any) -> None:
    """List savepoints, the oldest first; without --pipeline those of all pipelines."""
    anyio.run(_list, options, ctx.ensure_object(State).json)


async def _list(options: dict[str, Any], as_json: bool) -> None:
    session = _session(options)
    async with open_store(session.settings.database.options()) as database:
        name = None if options["pipeline"] is None else await _pipeline(session, database, options["pipeline"])
        found = await list_savepoints(database, name)
    if as_json:
        give_json({"savepoints": [_data(each) for each in found]})
    elif found:
        header = ("name", "pipeline", "taken", "expires", "positions", "values", "messages")
        give("\n".join(table(header, [_row(each) for each in found], words=4)))
    if not found:
        say("no savepoints; `autocoder checkpoint save NAME` takes one")


@command.command("show")
@click.argument("name", type=TextType(), required=False)
@_options
@click.pass_context
def show(ctx: click.Context, /, name: str | None, **options: Any) -> None:
    """Show what a savepoint holds; without NAME what the pipeline would go on from now."""
    anyio.run(_show, name, options, ctx.ensure_object(State).json)


async def _show(name: str | None, options: dict[str, Any], as_json: bool) -> None:
    session = _session(options)
    async with open_store(session.settings.database.options()) as database:
        savepoints = Savepoints(database, await _pipeline(session, database, options["pipeline"]))
        savepoint = await savepoints.find(name) if name else None
        content = await savepoints.content(name or "")
    if as_json:
        give_json({"savepoint": None if savepoint is None else _data(savepoint), **_content_data(content)})
    else:
        give("\n".join(_content_lines(savepoint, content)))


@command.command("save")
@click.argument("name", type=TextType())
@click.option(
    "--expires",
    type=DurationType(),
    metavar="DURATION",
    help="Let retention delete it after so long: 7d, 12h; the newest 10 stay (keep_checkpoints).",
)
@_options
@click.pass_context
def save(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Take a savepoint, also while the pipeline runs."""
    anyio.run(_save, name, options, ctx.ensure_object(State).json)


async def _save(name: str, options: dict[str, Any], as_json: bool) -> None:
    session = _session(options)
    async with open_store(session.settings.database.options()) as database:
        savepoints = Savepoints(database, await _pipeline(session, database, options["pipeline"]))
        moment = now()
        expires = None if options["expires"] is None else later(moment, options["expires"]) - moment
        saved = await savepoints.save(name, expires=expires)
    if as_json:
        give_json(_data(saved))
    say(f"saved {name!r} of pipeline {saved.pipeline!r}: {_held(saved)}")


@command.command("restore")
@click.argument("name", type=TextType())
@_yes
@_options
@click.pass_context
def restore(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Go back to a savepoint: its state, positions and waiting messages, all or nothing.

    Refused while the pipeline runs. What sources have given since is read again. What was sent from outside since is kept and
    given again. Dead letters stay, and one that was replayed since is one again. What sinks have written is not undone: it is
    written again, under the same keys; a sink that only appends has it twice.
    """
    anyio.run(_restore, name, options, ctx.ensure_object(State).json)


async def _restore(name: str, options: dict[str, Any], as_json: bool) -> None:
    session = _session(options)
    async with open_store(session.settings.database.options()) as database:
        savepoints = Savepoints(database, await _pipeline(session, database, options["pipeline"]))
        found = await savepoints.find(name)
        question = f"Replace what pipeline {found.pipeline!r} keeps by the savepoint {name!r} ({_held(found)})?"
        _ask(question, yes=options["yes"])
        restored = await savepoints.restore(name)
    if as_json:
        give_json(_data(restored))
    say(f"pipeline {restored.pipeline!r} goes on from {name!r}: {_held(restored)}")
    say(NOT_UNDONE)


@command.command("delete")
@click.argument("name", type=TextType())
@_yes
@_options
@click.pass_context
def delete(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Delete a savepoint."""
    anyio.run(_delete, name, options, ctx.ensure_object(State).json)


async def _delete(name: str, options: dict[str, Any], as_json: bool) -> None:
    session = _session(options)
    async with open_store(session.settings.database.options()) as database:
        savepoints = Savepoints(database, await _pipeline(session, database, options["pipeline"]))
        found = await savepoints.find(name)
        _ask(f"Delete the savepoint {name!r} of pipeline {found.pipeline!r} ({_held(found)})?", yes=options["yes"])
        await savepoints.delete(name)
    if as_json:
        give_json(_data(found))
    say(f"deleted {name!r} of pipeline {found.pipeline!r}")


def _session(options: dict[str, Any]) -> Session:
    """The settings that the options choose."""
    return open_session(options["environment"], database=options["database"])


async def _pipeline(session: Session, database: Database, given: str | None) -> str:
    """The name of the pipeline that is meant: of a file, of a pack, of one that has run here, or of the only one."""
    async with database.reading() as connection:
        known = await known_pipelines(connection)
    if given is None:
        if len(known) == 1:
            return known[0]
        if not known:
            raise UsageError(f"no pipeline has run on {database.url} yet; run one first")
        raise UsageError(f"several pipelines have run on {database.url}; name one with --pipeline: {', '.join(known)}")
    if given in known:
        return given
    named = _declared_name(session, given)
    if named is not None:
        if named in known:
            return named
        raise UsageError(f"pipeline {named!r} of {given} has not run on {database.url} yet; run it first")
    cure = did_you_mean(given, known, plural="pipelines")
    raise UsageError(f"no pipeline {given!r} has run on {database.url}; {cure}")


def _declared_name(session: Session, given: str) -> str | None:
    """The name of the pipeline in a file or a pack, None where there is no such file or pack."""
    if Path(given).exists() or given in session.registry.pipelines():
        return name_in(find_pipeline(given, session.registry))
    return None


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this changes what is kept, and nobody is there to ask; give --yes ({question})")
    click.confirm(question, abort=True, err=True)


def _held(savepoint: Savepoint) -> str:
    parts = (
        count(savepoint.positions, "position"),
        count(savepoint.values, "value"),
        count(savepoint.messages, "message"),
    )
    return f"{', '.join(parts[:2])} of state, {parts[2]} waiting"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _expiry(savepoint: Savepoint) -> str:
    if savepoint.expires_at is None:
        return "never"
    return "expired" if savepoint.is_expired(now()) else _moment(savepoint.expires_at)


def _row(each: Savepoint) -> tuple[str, ...]:
    numbers = (f"{number:,}" for number in (each.positions, each.values, each.messages))
    return (each.name, each.pipeline, _moment(each.created_at), _expiry(each), *numbers)


def _data(each: Savepoint) -> dict[str, Any]:
    return {
        "name": each.name,
        "pipeline": each.pipeline,
        "created_at": each.created_at.isoformat(),
        "expires_at": None if each.expires_at is None else each.expires_at.isoformat(),
        "positions": each.positions,
        "values": each.values,
        "messages": each.messages,
    }


def _content_data(content: Content) -> dict[str, Any]:
    """Positions by source; numbers of values and of waiting messages by `component.state` and `component.port`."""
    return {
        "positions": dict(content.positions),
        "state": {".".join(key): number for key, number in sorted(content.values.items())},
        "messages": {".".join(key): number for key, number in sorted(content.messages.items())},
    }


def _content_lines(savepoint: Savepoint | None, content: Content) -> list[str]:
    lines = []
    if savepoint is not None:
        taken, expires = _moment(savepoint.created_at), _expiry(savepoint)
        lines.append(f"savepoint {savepoint.name} of pipeline {savepoint.pipeline}, taken {taken}, expires {expires}")
    lines += [f"position  {source}  {position}" for source, position in sorted(content.positions.items())]
    lines += [f"state     {'.'.join(key)}  {count(number, 'value')}" for key, number in sorted(content.values.items())]
    lines += [
        f"waiting   {'.'.join(key)}  {count(number, 'message')}" for key, number in sorted(content.messages.items())
    ]
    return lines or ["nothing is kept"]
