"""An older event system as an application might have one: a file of jobs, workers, and events when a job ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, status TEXT NOT NULL, released INTEGER NOT NULL DEFAULT 0,
    result TEXT, error TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS done (id TEXT NOT NULL);
"""
NAMES = ("serverName", "assessmentType", "options", "source", "priority")


class OlderSystem:
    """Its state is in a file, so that it survives a kill, and several processes may be it."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._file.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {TABLES}")
        self._listeners: list[Callable[[str], None]] = []
        self.created: list[str] = []
        self.is_away = False
        self.is_mute = False

    def close(self) -> None:
        self._file.close()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    # -- what the router asks for

    async def create_assessment(self, request: Mapping[str, Any]) -> None:
        self._answer()
        self.created.append(request["id"])
        written = json.dumps(request, sort_keys=True)
        self.add(request["id"], written, "requested")
        if self._row(request["id"])["request"] != written:
            raise ValueError(f"{request['id']} is another request")

    async def get_state(self, assessment_id: str) -> Mapping[str, Any] | None:
        self._answer()
        row = self._row(assessment_id)
        return None if row is None else self._exported(row)

    async def cancel_assessment(self, assessment_id: str, reason: str | None) -> None:
        self._answer()
        self._set(assessment_id, "canceled", error=reason)

    def on_ended(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- what a move asks for

    async def release(self, assessment_id: str) -> Mapping[str, Any] | None:
        """Give up what has not ended, for ever; how it stands then."""
        self._file.execute(
            "UPDATE jobs SET released = 1 WHERE id = ? AND status IN ('requested', 'running')", (assessment_id,)
        )
        row = self._row(assessment_id)
        return None if row is None else self._exported(row)

    def export(self) -> Iterator[str]:
        """Every job, as a line."""
        self._file.row_factory = sqlite3.Row
        for row in self._file.execute("SELECT * FROM jobs WHERE NOT released ORDER BY id").fetchall():
            yield json.dumps(self._exported(row))

    # -- its life

    def add(self, assessment_id: str, request: str, status: str, **values: Any) -> None:
        moment = datetime.now(UTC).isoformat()
        self._file.execute(
            "INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
            (assessment_id, request, status, values.get("result"), values.get("error"), moment, moment),
        )

    def complete(self, assessment_id: str, **result: Any) -> None:
        """Its worker has a verdict."""
        self._set(assessment_id, "done", result=json.dumps(result))

    def work(self, most: int) -> int:
        """Its workers take what waits, and complete it; how many."""
        query = "SELECT id FROM jobs WHERE status = 'requested' AND NOT released LIMIT ?"
        ids = [each for (each,) in self._plain(query, (most,))]
        for each in ids:
            self.complete(each, overallScore=100)
        return len(ids)

    def done(self) -> list[str]:
        """What its workers completed, once for each time they did."""
        return [each for (each,) in self._plain("SELECT id FROM done")]

    def _set(self, assessment_id: str, status: str, **values: Any) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        changed = self._file.execute(
            "UPDATE jobs SET status = ?, result = ?, error = ?, updated_at = ? "
            "WHERE id = ? AND NOT released AND status IN ('requested', 'running')",
            (status, values.get("result"), values.get("error"), datetime.now(UTC).isoformat(), assessment_id),
        )
        if changed.rowcount and status == "done":
            self._file.execute("INSERT INTO done VALUES (?)", (assessment_id,))
        self._file.execute("COMMIT")
        for each in () if self.is_mute else tuple(self._listeners):
            each(assessment_id)

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionRefusedError("the older system is away")

    def _plain(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        self._file.row_factory = None
        return self._file.execute(query, values).fetchall()

    def _row(self, assessment_id: str) -> Any:
        self._file.row_factory = sqlite3.Row
        return self._file.execute("SELECT * FROM jobs WHERE id = ?", (assessment_id,)).fetchone()

    def _exported(self, row: Any) -> dict[str, Any]:
        request = json.loads(row["request"])
        exported = {
            "assessmentId": row["id"],
            "state": row["status"],
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
            **{name: request[name] for name in NAMES if name in request},
        }
        if row["result"] is not None:
            exported["resultData"] = json.loads(row["result"])
        if row["error"] is not None:
            exported["errorMessage"] = row["error"]
        return exported
