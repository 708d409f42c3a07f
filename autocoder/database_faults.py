"""Whose fault an error of a database is: the store's, which waiting mends; a declaration's; or neither.

Knows the drivers by what they raise, and imports none of them.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, OperationalError, StatementError

_DRIVERS: Final = ("asyncpg", "sqlite3")
_DAMAGE: Final = re.compile(r"malformed|not a database")
# SQLITE_IOERR_SHORT_READ: somebody has cut the file, or its log, while it was open; waiting brings nothing back.
_CUT_SHORT: Final = 522
_DECLARATION: Final = re.compile(r"readonly database")
# SQLITE_ERROR: what SQLite says of a statement that it cannot prepare. Trouble of the file or of others has codes of its own.
_WRONG_STATEMENT: Final = 1
# But for one thing: a full disk, say, ends the transaction by itself, and what follows finds none.
_NO_TRANSACTION: Final = re.compile(r"no transaction is active|within a transaction")
# Connection, rollback, resources, intervention, system; and a server that is (still) a standby.
_STORE: Final = ("08", "40", "53", "55", "57", "58")
_STANDBY: Final = "25006"
# Authorization, no such database: the server answered, and will not say anything else by being asked again.
_REFUSALS: Final = ("28", "3D", "42")
# The wrapper's own `<class 'asyncpg.exceptions...'>: `, and the value in `invalid input for query argument $1: 'x' (...)`.
_EXCEPTION_CLASS: Final = re.compile(r"^<class '[\w.]+'>: ")
_ARGUMENT: Final = re.compile(r"^(invalid input for query argument \$\d+): .*?( \([^()]*\))?$")


class NoConnectionError(ConnectionError):
    """The database gives no connection; `__cause__` says why."""


class NoTurnError(NoConnectionError):
    """Others of this process write, for too long."""


class UnknownOutcomeError(ConnectionError):
    """The connection was lost between COMMIT and its answer: the transaction may have been committed, or not."""


def is_drivers(error: BaseException) -> bool:
    """Whether a driver raised this where SQLAlchemy does not wrap it: while connecting."""
    return isinstance(error, EmulatedDBAPIException) or type(error).__module__.partition(".")[0] in _DRIVERS


def cause_of(error: BaseException) -> BaseException:
    """What the driver raised, or SQLAlchemy over a value before it came to the driver."""
    if isinstance(error, NoConnectionError | UnknownOutcomeError) and error.__cause__ is not None:
        return error.__cause__
    return error.orig if isinstance(error, StatementError) and error.orig is not None else error


def sqlstate(error: BaseException) -> str:
    """The five characters by which PostgreSQL says what is wrong; empty where there are none."""
    return str(getattr(cause_of(error), "sqlstate", None) or "")


def database_said(error: BaseException) -> str:
    """What a database said, in one line: without statement, parameters and details, for these hold payloads."""
    cause = error if isinstance(error, NoConnectionError | UnknownOutcomeError) else cause_of(error)
    line = next(iter(str(cause).splitlines()), "").strip()
    line = _EXCEPTION_CLASS.sub("", line)
    line = _ARGUMENT.sub(r"\1\2", line)
    return line or ("it does not answer" if isinstance(cause, TimeoutError) else type(cause).__name__)


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered with a refusal: authorization (class 28), no such database (3D), rights (42)."""
    return sqlstate(error)[:2] in _REFUSALS


def is_damage(error: BaseException) -> bool:
    """Whether an SQLite file, or the log beside it, is broken."""
    cause = cause_of(error)
    return getattr(cause, "sqlite_errorcode", None) == _CUT_SHORT or _DAMAGE.search(str(cause)) is not None


def is_declaration_fault(error: BaseException) -> bool:
    """Whether a statement can never succeed here: its table or column is missing, it is no SQL, rights are missing."""
    cause = cause_of(error)
    if getattr(cause, "sqlite_errorcode", None) == _WRONG_STATEMENT:
        return _NO_TRANSACTION.search(str(cause)) is None
    return sqlstate(error)[:2] in ("42", "3F", "3D", "28") or _DECLARATION.search(str(cause)) is not None


def is_store_fault(error: BaseException) -> bool:
    """Whether the store itself is in trouble (busy, disconnected, disk full, conflicting transactions), not a row."""
    if isinstance(error, NoConnectionError):
        return not (is_refusal(error) or is_damage(error))
    if is_damage(error):
        return False
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, OperationalError):
            return not is_declaration_fault(error)
        return sqlstate(error)[:2] in _STORE or sqlstate(error) == _STANDBY
    return isinstance(error, OSError)
