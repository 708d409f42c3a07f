"""What a person can do about a database that cannot be opened or written, judged by what it said."""

from __future__ import annotations

import socket
import sqlite3
from typing import Final

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from autocoder.database_faults import NoTurnError, UnknownOutcomeError, cause_of, is_damage, sqlstate

_BY_STATE: Final = {
    "28P01": "check the user and the password",
    "28000": "check the user, and whether the server lets it in from here (pg_hba.conf)",
    "3D000": "check the name of the database, or create it (CREATE DATABASE)",
    "3F000": "create a schema for its tables (CREATE SCHEMA), or name one in search_path",
    "25006": "name the server that takes writes, not its standby",
    "42501": "let the user do that (GRANT CREATE ON SCHEMA public, or as the server's administrator)",
    "53100": "make room on the server's disk",
    "53300": "wait until other programs have left, or raise the server's max_connections",
    "55P03": "another program holds it; wait until that is done",
    "57P03": "wait until the server has started",
}
_DAMAGED: Final = "it is damaged; move it away and bring back a copy with `autocoder db restore`"
_BY_WORD: Final = {
    "locked": "another program holds it; wait until that is done",
    "readonly": "let this user write it and its folder (chmod, chown), or give another with --database",
    "full": "make room on the disk",
    "permission": "let this user read and write it and its folder (chmod, chown), or give another with --database",
}


def cure_for(error: BaseException) -> str:
    """The cure for an error of a driver; a general one where nothing better is known."""
    return known_cure(error) or "check the address and the permissions, or give another with --database"


def known_cure(error: BaseException) -> str | None:
    """The cure for an error of a driver; None where it is not known to be a matter for a person."""
    cause, state = cause_of(error), sqlstate(error)
    if isinstance(error, UnknownOutcomeError):
        return "look whether it is there before you do it again"
    if state in _BY_STATE:
        return _BY_STATE[state]
    if isinstance(cause, socket.gaierror):
        return "check the name of the host"
    if isinstance(cause, ConnectionRefusedError | TimeoutError):
        return "check the address, and that the server is running"
    if isinstance(cause, PoolTimeoutError | NoTurnError):
        return "let fewer things happen at once, or raise pool_size or pool_timeout"
    if is_damage(error):
        return _DAMAGED
    if isinstance(cause, sqlite3.Error):
        return next((cure for word, cure in _BY_WORD.items() if word in str(cause)), None)
    return None
