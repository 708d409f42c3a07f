"""`autocoder db`: the database itself: its schema, backups, and what may be deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import click
from sqlalchemy.exc import DBAPIError

from autocoder.cli.loading import open_session
from autocoder.cli.options import common_options, json_option
from autocoder.cli.reporting import State, give, give_json, say, table
from autocoder.database import Database, open_database
from autocoder.errors import AutocoderError, UnreachableError, count
from autocoder.settings import Settings
from autocoder.store import migrate
from autocoder.store.backup import back_up, check_copy, check_dump, is_dump, opened_copy, restore
from autocoder.store.opening import refuse_absent
from autocoder.store.retention import Retention, clean_up
from autocoder.store.schema import read_schema, refusal, trouble
from autocoder.store.verify import violations

F = TypeVar("F", bound=Callable[..., Any])
Work = TypeVar("Work", bound=Callable[..., Coroutine[Any, Any, None]])


class DatabaseCheckError(AutocoderError):
    """`check` or `verify` found something; each finding stands on a line of its own before this."""


def database_options(command: F) -> F:
    """`--database`, `--env`, and what every command takes."""
    database = click.option(
        "--database", metavar="URL", help="sqlite:///path or postgresql://user@host/name, instead of the settings'."
    )
    environment = click.option(
        "--env",
        "environment",
        metavar="NAME",
        help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
    )
    return database(environment(json_option(common_options(command))))


def subcommand(name: str, **how: Any) -> Callable[[Work], Work]:
    """Make a command of the group out of an asynchronous function: of its context, the settings, and its own parameters.

    `how` are settings of its parser.
    """

    def register(work: Work) -> Work:
        @click.pass_context
        def call(ctx: click.Context, /, *, database: str | None, environment: str | None, **own: Any) -> None:
            settings = open_session(environment, database=database).settings
            anyio.run(partial(work, ctx, settings, **own))

        call.__doc__ = work.__doc__
        made: Any = database_options(call)
        made.__click_params__ += getattr(work, "__click_params__", [])
        command.command(name, context_settings=how)(made)
        return work

    return register


@asynccontextmanager
async def _opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Database]:
    """The database of the settings; one in a file that is not there is made only by what is meant to make it."""
    options = settings.database.options()
    if not create:
        await refuse_absent(options)
    async with open_database(options) as database:
        try:
            yield database
        except DBAPIError as error:
            raise trouble(database, error) from error


def _as_json(ctx: click.Context) -> bool:
    return ctx.ensure_object(State).json


@click.group("db")
@common_options
def command() -> None:
    """Look after the database: schema, backups, what may be deleted.

    A run makes and (in an SQLite file) upgrades its database by itself, after a backup copy beside it. On PostgreSQL an
    upgrade is yours to start.
    """


@subcommand("upgrade")
@click.argument("revision", default=migrate.HEADS)
async def upgrade(ctx: click.Context, settings: Settings, /, revision: str) -> None:
    """Bring the schema up to REVISION (default: the newest), all steps or none; makes it where there is none.

    An SQLite file is copied first. No pipeline may be running on the database.
    """
    await _change(ctx, migrate.upgrade, revision, settings)


def _agreed(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    if not value:
        raise click.UsageError("a downgrade loses data; back them up (`autocoder db backup`) and say --yes", ctx)
    return value


@subcommand("downgrade", ignore_unknown_options=True)  # or it would take -1 for an option
@click.argument("revision")
@click.option(
    "--yes", is_flag=True, expose_value=False, callback=_agreed, help="Lose what the older schema has no place for."
)
async def downgrade(ctx: click.Context, settings: Settings, /, revision: str) -> None:
    """Take the schema down to REVISION (-1 is one step, base is nothing at all), all steps or none.

    Data that the older schema has no place for are lost: back them up first. An SQLite file is copied by itself.
    """
    await _change(ctx, migrate.downgrade, revision, settings)


async def _change(ctx: click.Context, change: Any, revision: str, settings: Settings) -> None:
    async with _opened(settings, create=change is migrate.upgrade) as database:
        done: migrate.Change = await change(database, revision)
    before, behind = (", ".join(sorted(each)) or "nothing" for each in (done.before, done.behind))
    if _as_json(ctx):
        give_json(
            {
                "before": sorted(done.before),
                "now": sorted(done.behind),
                "backup": None if done.backup is None else str(done.backup),
            }
        )
        return
    if done.backup is not None:
        say(f"a copy of what it was: {done.backup}")
    say(f"{database.url}: {f'{before} already' if before == behind else f'from {before} to {behind}'}")


@subcommand("current")
async def current(ctx: click.Context, settings: Settings, /) -> None:
    """Print the revision that the database has, and how it stands to this version."""
    async with _opened(settings) as database:
        schema = await read_schema(database)
    found, standing = sorted(schema.revisions or ()), schema.standing()
    if _as_json(ctx):
        give_json({"revisions": found, "newest": sorted(migrate.heads()), "standing": standing})
    else:
        give(f"{', '.join(found) or 'none'} ({standing})")


@subcommand("history")
async def history(ctx: click.Context, settings: Settings, /) -> None:
    """List the revisions that this version knows, oldest first, and when the database got them."""
    async with _opened(settings) as database:
        steps = await migrate.history(database)
    if _as_json(ctx):
        give_json(
            [
                {
                    "revision": each.revision,
                    "before": list(each.before),
                    "branch": each.branch,
                    "description": each.description,
                    "applied": each.applied,
                    "applied_at": None if each.applied_at is None else each.applied_at.isoformat(),
                }
                for each in steps
            ]
        )
        return
    rows = [
        (
            each.revision,
            each.branch,
            f"{each.applied_at:%Y-%m-%d %H:%M}" if each.applied_at else "yes" if each.applied else "no",
            each.description,
        )
        for each in steps
    ]
    give("\n".join(table(("revision", "branch", "applied", "what it does"), rows)))


@subcommand("check")
async def check(ctx: click.Context, settings: Settings, /) -> None:
    """Compare the schema with what this version needs; exit code 0 where they are the same, else 78."""
    async with _opened(settings) as database:
        schema = await read_schema(database)
        standing = schema.standing()
        if standing == "empty":
            raise UnreachableError(f"the database {database.url} is empty; `autocoder db upgrade` makes the tables")
        if standing != "current":
            raise refusal(database, schema)
        found = await migrate.differences(database)
    _findings(ctx, found, f"{database.url}: the schema is as this version needs it", exit_code=78)


def _findings(ctx: click.Context, found: list[str], well: str, *, exit_code: int) -> None:
    if _as_json(ctx) and not found:
        give_json({"findings": []})
    elif not found:
        say(well)
    if found:
        if not _as_json(ctx):
            give("\n".join(found))
        failure = DatabaseCheckError(f"{count(len(found), 'finding')}: {'; '.join(found[:10])}")
        failure.exit_code = exit_code
        raise failure


@subcommand("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
async def backup(ctx: click.Context, settings: Settings, /, file: Path) -> None:
    """Write a backup to FILE, while pipelines go on.

    A FILE whose name ends in .jsonl.gz becomes a dump of the tables of autocoder and its packs, in one consistent snapshot,
    which either database can restore. Any other name becomes a copy of the whole SQLite file. For PostgreSQL as a whole,
    with the tables of sinks, pg_dump is the tool.
    """
    async with _opened(settings) as database:
        size = await back_up(database, file)
    if _as_json(ctx):
        give_json({"file": str(file), "bytes": size})
    else:
        say(f"{file}: {count(size, 'byte')}")


@subcommand("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--force", is_flag=True, help="Put it in the place of what the database holds.")
async def restore_backup(ctx: click.Context, settings: Settings, /, file: Path, force: bool) -> None:
    """Bring back the backup in FILE. No pipeline may be running on the database; an SQLite file is copied first."""
    async with _opened(settings, create=True) as database:
        before = await restore(database, file, force=force)
    if _as_json(ctx):
        give_json({"file": str(file), "backup": None if before is None else str(before)})
        return
    if before is not None:
        say(f"a copy of what it was: {before}")
    say(f"{database.url}: restored from {file}")


@subcommand("verify")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
async def verify(ctx: click.Context, settings: Settings, /, file: Path | None) -> None:
    """Look for damage in the database, or in the backup FILE; exit code 1 where there is some.

    The file's pages and indexes, seals of a dump, and the rules that rows must keep. It reads everything.
    """
    found, shown = await _verify(file, settings)
    _findings(ctx, found, f"{shown}: nothing wrong", exit_code=1)


async def _verify(file: Path | None, settings: Settings) -> tuple[list[str], str]:
    if file is not None and is_dump(file):
        rows = await anyio.to_thread.run_sync(check_dump, file)
        return [], f"{file} ({count(sum(rows.values()), 'row')})"
    if file is not None:
        await anyio.to_thread.run_sync(check_copy, file)
        async with opened_copy(file) as connection:
            return await violations(connection, is_sqlite=True), str(file)
    async with _opened(settings) as database:
        schema = await read_schema(database)
        if schema.standing() != "current":
            raise refusal(database, schema)
        async with database.reading() as connection:
            return await violations(connection, is_sqlite=database.is_sqlite), database.url


@subcommand("cleanup")
@click.option("--dry-run", is_flag=True, help="Only count.")
async def cleanup(ctx: click.Context, settings: Settings, /, dry_run: bool) -> None:
    """Delete what is past its time, as a running pipeline does every hour: completed messages, metrics, expired checkpoints.

    How long they are kept say keep_messages (7d), keep_metrics (30d) and keep_checkpoints (10) of the database's settings.
    Dead letters, messages that wait and named checkpoints stay.
    """
    async with _opened(settings) as database:
        schema = await read_schema(database)
        if schema.standing() != "current":
            raise refusal(database, schema)
        deleted = await clean_up(database, Retention.of(database.options), dry_run=dry_run)
    if _as_json(ctx):
        give_json({"dry_run": dry_run, "deleted": dict(deleted)})
        return
    verb = "would be deleted" if dry_run else "deleted"
    say(f"{verb}: {', '.join(f'{number:,} of {name}' for name, number in deleted.items())}")
