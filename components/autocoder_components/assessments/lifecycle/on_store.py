"""What the commands on assessments have in common: the options of the store, and work done with it as whoever asks."""

from __future__ import annotations

import getpass
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import anyio
import click
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import DBAPIError

from autocoder import Duration, UnreachableError, common_options, json_option, open_session
from autocoder_components.assessments.lifecycle.states import Actor
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.reports.text import moment
from autocoder_components.assessments.settings import service_settings

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Number(click.FloatRange):
    """A number in a range: no NaN, which is neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        converted: float = super().convert(value, param, ctx)
        if math.isnan(converted):
            self.fail(f"{value!r} is no number", param, ctx)
        return converted


class Seconds(click.FloatRange):
    """A duration, as in the settings: 90, 30s, 5m, 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = _duration().validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.fail(f"{value!r}: {said}", param, ctx)
        return float(super().convert(seconds, param, ctx))


@cache
def _duration() -> TypeAdapter[float]:
    return TypeAdapter(Duration)


class When(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """An instant: ISO 8601 with an offset from UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return moment(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 2026-11-21T08:00:00+00:00", param, ctx)


def store_options(command: F) -> F:
    """What every command has: which database, and how answers are given."""
    env = click.option(
        "--env",
        "environment",
        metavar="NAME",
        help="The environment, config/NAME.yaml (default: AUTOCODER_ENV, or development).",
    )
    database = click.option("--database", metavar="URL", help="Instead of the settings' database.")
    return env(database(json_option(common_options(command))))


def on_store(options: dict[str, Any], work: Callable[[AssessmentStore], Awaitable[T]]) -> T:
    """Do something with the store of these options, as the user who runs the command."""
    session = open_session(options["environment"], database=options["database"])
    database = session.settings.database.options()

    async def doing() -> T:
        service = service_settings(session.settings)
        async with open_store(database, service=service, actor=Actor(f"cli:{_user()}")) as store:
            try:
                return await work(store)
            except DBAPIError as error:
                said = next(iter(str(error.orig).splitlines()), "no reason")
                raise UnreachableError(
                    f"the database {database.shown} broke off: {said}; nothing was changed, try again"
                ) from error

    return anyio.run(doing)


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"


def as_json() -> bool:
    """Whether this command answers with JSON."""
    return bool(click.get_current_context().obj.json)
