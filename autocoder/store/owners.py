"""Which pipelines are being run on a database right now: told by the locks of the living, not by leases that may linger."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import sqlalchemy as sa

from autocoder.database import Database
from autocoder.database_file import lock_files
from autocoder.store.ownership import OwnedElsewhereError
from autocoder.store.schema import read_schema
from autocoder.store.tables import VERSION_TABLE, regions


async def owners(database: Database) -> list[str]:
    """The pipelines that running instances own, by name."""
    schema = await read_schema(database)
    names: list[str] = []
    if schema.revisions and VERSION_TABLE in schema.tables:
        async with database.reading() as connection:
            names = sorted(set((await connection.execute(sa.select(regions.c.pipeline))).scalars()))
    if database.path is not None:
        return file_owners(Path(database.path), names)
    keys = {_key(name): name for name in names}
    async with database.reading() as connection:
        held = await connection.execute(
            sa.text(
                "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks "
                "WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
        return sorted(keys[key] for key in held.scalars() if key in keys)


def file_owners(path: Path, names: list[str]) -> list[str]:
    """The same for a database file, by the lock files beside it; a pipeline that is not among `names` is told by its file."""
    files = {f"{path.name}.{hashlib.sha256(name.encode()).hexdigest()[:12]}.lock": name for name in names}
    return sorted(files.get(each.name, each.name) for each in lock_files(path) if _is_locked(each))


def _key(pipeline: str) -> int:
    return int.from_bytes(hashlib.sha256(pipeline.encode()).digest()[:8], "big", signed=True)


def _is_locked(file: Path) -> bool:
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


async def refuse_owned(database: Database) -> None:
    """Raises OwnedElsewhereError while an instance runs a pipeline on this database."""
    running = await owners(database)
    if running:
        raise OwnedElsewhereError(
            f"the database {database.url} is in use by the pipeline{'s' if len(running) > 1 else ''} "
            f"{', '.join(running)}; stop what runs there (SIGTERM drains it), and try again"
        )
