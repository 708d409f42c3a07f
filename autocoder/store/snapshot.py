"""Copies of an SQLite database through SQLite's backup interface: consistent, while others go on writing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio.to_thread

from autocoder.errors import UnreachableError, describe
from autocoder.store.failpoints import reached

BUSY_SECONDS: Final = 10.0


async def copy_beside(path: Path, label: str) -> Path:
    """A copy beside the database, named by what it holds and when it was made; never overwrites one."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.{label}.{stamp}.backup")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{label}.{stamp}-{number}.backup")
    await copy(path, target)
    return target


async def copy(source: Path, target: Path) -> None:
    """Copy a database to a file that appears whole or not at all; raises UnreachableError where that fails.

    All pages in one step: in a write-ahead log that holds up no writer, and a copy in several would begin anew with each
    commit between them.
    """
    await anyio.to_thread.run_sync(_copy, source, target)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as read,
            closing(sqlite3.connect(partial)) as write,
        ):
            read.backup(write)
            write.execute("PRAGMA journal_mode=DELETE")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        reached("backup.copied")
        partial.replace(target)
        _sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise UnreachableError(
            f"a copy of {source} cannot be made at {target}: {describe(error)}; make room, or name another place"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
