"""Does what a run needs of its store again and again while that is in trouble: nothing is lost by waiting."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio
from sqlalchemy.exc import DBAPIError

from autocoder.database import Database
from autocoder.database_cures import known_cure
from autocoder.database_faults import UnknownOutcomeError, database_said, is_store_fault
from autocoder.store.failpoints import reached
from autocoder.store.schema import trouble


class HasDatabase(Protocol):
    """Whose methods may be patient."""

    @property
    def database(self) -> Database: ...


P = ParamSpec("P")
R = TypeVar("R")
Reader = TypeVar("Reader", bound=HasDatabase)
logger: Final = logging.getLogger("autocoder.pipeline")
_random: Final = random.Random()  # noqa: S311  jitter is no secret


async def patiently(
    database: Database, what: str, work: Callable[[], Awaitable[R]], *, attempts: int | None = None
) -> R:
    """The result of `work`, which is called again (with backoff and jitter) for as long as the store is in trouble.

    `what` says what the store cannot do meanwhile: "commit", "read". Raises UnreachableError where only a person can help
    (a damaged file, a password that is not accepted any more) or `attempts` were in vain, and what `work` raises that is no
    trouble of the store. With `attempts`, what may have been committed is not done again: it is not known to be repeatable.
    """
    pause, made = database.options.retry_backoff, 0
    while True:
        try:
            return await work()
        except (DBAPIError, OSError) as error:
            made += 1
            if not is_store_fault(error) and known_cure(error) is None:
                raise
            in_vain = attempts is not None and (made >= attempts or isinstance(error, UnknownOutcomeError))
            if in_vain or not is_store_fault(error):
                raise trouble(database, error) from error
            reached(f"{what.partition(' ')[0]}.failed")
            logger.warning("the store cannot %s: %s; trying again in %.1f s", what, database_said(error), pause)
        await anyio.sleep(_random.uniform(pause / 2, pause))
        pause = min(database.options.retry_cap, 2 * pause)


def patient(method: Callable[Concatenate[Reader, P], Awaitable[R]]) -> Callable[Concatenate[Reader, P], Awaitable[R]]:
    """A method that reads, done patiently."""

    @wraps(method)
    async def reading(self: Reader, /, *given: P.args, **named: P.kwargs) -> R:
        return await patiently(self.database, "read", lambda: method(self, *given, **named))

    return reading
