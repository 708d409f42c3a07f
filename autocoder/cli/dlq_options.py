"""What the commands for dead letters share: which of them are meant, and the database they are in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from uuid import UUID

import click

from autocoder.cli.loading import open_session
from autocoder.cli.reporting import say
from autocoder.database import Database
from autocoder.durations import parse_duration
from autocoder.errors import UsageError, count, storable
from autocoder.expression import Condition
from autocoder.masking import Redactor
from autocoder.settings import Settings
from autocoder.store.dead_letters import DeadLetters, Letter, Selection, Unjudged
from autocoder.store.opening import open_store

F = TypeVar("F", bound=Callable[..., Any])
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_PER: Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class DurationType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`30s`, `2h`, `7d`: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class TextType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A name that a database may be asked for: bytes that are no UTF-8 come from the shell as halves of surrogate pairs."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if storable(value) != value:
            self.fail(f"{storable(value)!r} holds what is no character; write it in UTF-8", param, ctx)
        return str(value)


class RateType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`10/s`, `600/m`: messages in a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = _RATE.fullmatch(value)
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no rate; write 10/s or 600/m", param, ctx)
        return float(match[1]) / _PER[match[2]]


class PredicateType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A condition in CEL."""

    name = "predicate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Condition:
        if isinstance(value, Condition):
            return value
        try:
            return Condition(value)
        except ImportError as error:
            raise UsageError(str(error)) from error
        except ValueError as error:
            self.fail(str(error), param, ctx)


def store_options(command: F) -> F:
    """`--database` and `--env`: whose dead letters."""
    database = click.option(
        "--database",
        metavar="URL",
        help="sqlite:///path or postgresql://user@host/name, instead of the settings' database.",
    )
    env = click.option(
        "--env",
        "environment",
        metavar="NAME",
        help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
    )
    return database(env(command))


def selection_options(command: F) -> F:
    """The filters; all that are given must hold."""
    options = (
        click.option("--pipeline", type=TextType(), metavar="NAME", help="Those of this pipeline."),
        click.option(
            "--component", "components", type=TextType(), multiple=True, metavar="NAME", help="Those that failed there."
        ),
        click.option(
            "--error-type",
            "error_types",
            type=TextType(),
            multiple=True,
            metavar="NAME",
            help="Those that failed with this error.",
        ),
        click.option("--older-than", type=DurationType(), metavar="DURATION", help="Those that failed before: 2h."),
        click.option("--newer-than", type=DurationType(), metavar="DURATION", help="Those that failed since: 30m."),
        click.option(
            "--where",
            type=PredicateType(),
            metavar="CEL",
            help="Those for which it is true; over payload, error_type, error, pipeline, component, port, attempts, "
            "replayed and age (seconds): \"payload.amount > 100 && error_type == 'TimeoutError'\".",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def bulk_options(command: F) -> F:
    """Ids, or filters; and what limits a bulk."""
    options = (
        click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]..."),
        selection_options,
        click.option("--all", "everything", is_flag=True, help="All that there are, where no filter is given."),
        click.option("--limit", type=click.IntRange(min=1), help="At most so many, the oldest first."),
        click.option("--dry-run", is_flag=True, help="Only say which ones it would be."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def selection_of(options: dict[str, Any]) -> Selection:
    """The filters of `selection_options`."""
    return Selection(
        options["pipeline"],
        options["components"],
        options["error_types"],
        options["older_than"],
        options["newer_than"],
        options["where"],
    )


class Opened:
    """The dead letters of the settings' database, and what keeps secrets out of what is shown of them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.letters = DeadLetters(database)
        self.redact = Redactor(settings.secrets)


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings that `store_options` choose."""
    return open_session(options["environment"], database=options["database"]).settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """Open the settings' database, which must be there, for the length of a block."""
    async with open_store(settings.database.options()) as database:
        yield Opened(database, settings)


async def chosen(
    store: Opened, options: dict[str, Any], missing: list[UUID], unjudged: Unjudged
) -> AsyncIterator[list[Letter]]:
    """The dead letters that ids or filters mean, page by page; ids that mean none go to `missing`, with a word."""
    ids, selection = options["ids"], selection_of(options)
    if ids and (selection != Selection() or options["everything"]):
        raise UsageError("give either ids or filters, not both")
    if not ids and selection == Selection() and not options["everything"]:
        raise UsageError("name the dead letters by their ids, or by filters such as --component; --all means every one")
    if not ids:
        async for page in store.letters.matching(selection, limit=options["limit"], unjudged=unjudged):
            yield page
        return
    found: dict[int, Letter] = {}
    for identity in ids:
        letter = await store.letters.find(identity)
        if letter is None:
            missing.append(identity)
            say(f"{identity}: {absent(await store.letters.status(identity))}")
        else:
            found[letter.seq] = letter
    if found:
        yield [found[seq] for seq in sorted(found)][: options["limit"]]


def absent(status: str | None) -> str:
    """Why an id means no dead letter."""
    if status is None:
        return "this database has no message of that id"
    how = {"pending": "waiting to be taken", "failed": "waiting for its next attempt", "processing": "in work"}
    return f"no dead letter any more, but {how.get(status, status)}; nothing was changed"


def tell_unjudged(unjudged: Unjudged) -> None:
    """Say which dead letters a predicate could not be evaluated over."""
    if unjudged.count:
        said = "; ".join(sorted(unjudged.reasons)[:3])
        say(f"left out, for the predicate cannot be evaluated over {count(unjudged.count, 'dead letter')}: {said}")
