"""Looks at an SQLite file before SQLite does: opening one that is damaged may already change it.

Knows nothing of tables. An empty file is taken for a new database, since a start that was killed leaves one; not so
where files lie beside it that only a database in use has, for then it is one that lost its contents.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from autocoder.errors import UnreachableError, describe

APPLICATION_ID: Final = 0x4175_746F  # "Auto", in the header of the files that we made
_HEADER: Final = b"SQLite format 3\0"
MOST_BEGUN: Final = 100
"""So many others may begin the log of a new file in front of this one."""


def check_file(path: Path) -> None:
    """Make the folder of a database file and look at the file; raises UnreachableError with the cure, changes nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, f"its folder cannot be made: {describe(error)}", "give another with --database") from error
    if path.is_dir():
        raise _refused(path, "it is a folder", f"name a file, such as {path / 'autocoder.db'}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _refused(
            path,
            f"the folder {path.parent} is read-only for this user, and a journal must lie beside the database",
            "allow writing there (chmod, chown), or give another file with --database",
        )
    if not path.exists():
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise _refused(
            path,
            "this user may not read and write it",
            "allow that (chmod, chown), or give another file with --database",
        )
    _check_header(path)


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except OSError as error:
        raise _refused(path, describe(error), "give another file with --database") from error
    if not header:
        left = _left_behind(path)
        if left:
            raise _refused(
                path,
                f"it is empty, though {left[0].name} beside it shows that it was a database: its contents were lost",
                f"move {path.name} and what lies beside it away; then bring back a copy with `autocoder db restore`, "
                f"or begin anew",
            )
    elif header != _HEADER:
        raise _refused(
            path,
            "it is not an SQLite database, or its beginning was damaged",
            "give another file with --database, or move it away and bring back a copy with `autocoder db restore`",
        )


def _left_behind(path: Path) -> list[Path]:
    """What only a database that was in use has beside it: a journal with something in it, the lock file of a pipeline."""
    journal = Path(f"{path}-wal")
    journals = [journal] if journal.exists() and journal.stat().st_size else []
    return [*journals, *lock_files(path)]


def _is_lock(file: Path, path: Path) -> bool:
    return file.name.startswith(f"{path.name}.") and file.suffix == ".lock"


def lock_files(path: Path) -> list[Path]:
    """The files by whose locks running pipelines own themselves in the database at a path."""
    return sorted(each for each in path.parent.iterdir() if _is_lock(each, path))


def _refused(path: Path, why: str, cure: str) -> UnreachableError:
    return UnreachableError(f"the database {path} cannot be used: {why}; {cure}")


def keep_journal(connection: Any, _record: Any) -> None:
    """Mark a new file as ours, and let ours keep a write-ahead log; the file of another program stays as it is."""
    cursor = connection.cursor()

    def asked(pragma: str) -> int:
        cursor.execute(f"PRAGMA {pragma}")
        return int(cursor.fetchone()[0])

    new = asked("page_count") == 0
    if new:
        cursor.execute(f"PRAGMA application_id={APPLICATION_ID}")
    if new or asked("application_id") == APPLICATION_ID:
        _begin_log(cursor)
    cursor.close()


def _begin_log(cursor: Any) -> None:
    """Have the file keep a write-ahead log.

    Of several that begin it at once in a new file, SQLite refuses all but one at once, whatever `busy_timeout` says; what
    does wait for the others, as long as that says, is the beginning of a transaction.
    """
    for _ in range(MOST_BEGUN):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")
