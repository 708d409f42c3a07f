"""What the tools of a server were at the last scan: kept in the pipeline's database, so that it outlives every run.

State of a component was rejected for it: an assessment by hand is a run of its own that keeps no state, and a component with
state asks one server at a time. The table is one of the migrations; where it is missing, in a database in which nothing but
such runs has been, it is made like those of the results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from autocoder import Sink, Statement, UsageError, patiently, pipeline_database
from autocoder_components.assessments.deep.definitions import Digests, Tool, digest_of
from autocoder_components.assessments.lifecycle.tables import assessment_tools
from autocoder_components.assessments.model import Request, Target
from autocoder_components.assessments.reports.text import visible

Definitions = dict[str, Digests]
"""The hashes of the tools of one server by their names; of two with one name the last."""
_LOCK: Final = 6145739088
"""Of the advisory lock under which the table is made on PostgreSQL: two that make it at once would collide."""
_definitions: Final = TypeAdapter(Definitions)
INLINE: Final = "inline:"
"""How the keys of servers begin that stand in no file."""


@dataclass(frozen=True, slots=True)
class SeenTools:
    """What the tools of one server are now, to be remembered. `definitions` is JSON: hashes by name."""

    server_key: str
    assessment_id: str
    definitions: str


@dataclass(frozen=True, slots=True)
class Drift:
    """What is otherwise than at the last scan: (name, the parts that changed, the hash of what it is now), and names."""

    changed: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def key_of(target: Target) -> str:
    """What makes a server the same one in two scans: its file and its place there by name; inline, the text as well."""
    is_inline = target.candidate is not None
    whose = ["inline", target.file, target.sha256] if is_inline else ["file", target.path]
    parts = "\0".join([*whose, target.place.pointer, target.server or ""])
    return (INLINE if is_inline else "") + hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def definitions_of(tools: Sequence[Tool]) -> Definitions:
    """The hashes to remember."""
    return {tool.name: tool.digests for tool in tools}


def seen(target: Target, request: Request, definitions: Definitions) -> SeenTools:
    """What is to be remembered of a server."""
    return SeenTools(
        key_of(target), visible(request.assessment_id), _definitions.dump_json(definitions, ensure_ascii=True).decode()
    )


def drift_between(before: Definitions, now: Definitions) -> Drift:
    """What changed from one scan to the next, in the order of the names."""
    changed = []
    for name in sorted(before.keys() & now.keys()):
        old, new = before[name], now[name]
        parts = tuple(
            part for part in ("description", "schema", "annotations") if getattr(old, part) != getattr(new, part)
        )
        if parts:
            changed.append((name, parts, digest_of([new.description, new.schema, new.annotations])))
    return Drift(tuple(changed), tuple(sorted(now.keys() - before.keys())), tuple(sorted(before.keys() - now.keys())))


async def remembered(target: Target, request: Request) -> tuple[Definitions | None, str | None]:
    """What the tools were at the last scan, None at the first one; and why that is not known, where it is not.

    An assessment that is made again after a crash is compared with what its first attempt was compared with.
    """
    try:
        database = pipeline_database()
    except UsageError:
        return None, "there is no database that remembers the last scan"

    async def found() -> Any:
        async with database.reading() as connection:
            if not await connection.run_sync(lambda each: sa.inspect(each).has_table(assessment_tools.name)):
                return None
            rows = await connection.execute(
                sa.select(assessment_tools).where(assessment_tools.c.server_key == key_of(target))
            )
            return rows.one_or_none()

    row = await patiently(database, "read the tools of the last scan", found)
    if row is None:
        return None, None
    kept = row.previous if row.assessment_id == visible(request.assessment_id) else row.definitions
    try:
        return (None if kept is None else _definitions.validate_json(kept)), None
    except ValidationError:
        return None, "what is stored of the last scan cannot be read"


async def forget_inline_tools(connection: AsyncConnection, assessment_ids: Sequence[str]) -> None:
    """Forget the tools of servers that stood in deleted assessments alone; a file is there to be scanned again.

    A text that is given inline again and again is remembered from one of its assessments to the next.
    """
    mine = assessment_tools.c.assessment_id.in_([visible(each) for each in assessment_ids])
    await connection.execute(sa.delete(assessment_tools).where(assessment_tools.c.server_key.startswith(INLINE), mine))


class RememberTools(Sink[SeenTools]):
    """Keep the hashes of each server's tools in the pipeline's own database, for the next deep scan to compare with.

    The table `assessment_tools` is made where it is missing. No word of a definition is kept.

    ```yaml
    tools: {use: assessments.RememberTools, from: deep.tools}
    ```
    """

    async def open(self) -> None:
        database = pipeline_database()
        self._postgres = not database.is_sqlite

        async def exists() -> bool:
            async with database.reading() as connection:
                return await connection.run_sync(lambda each: sa.inspect(each).has_table(assessment_tools.name))

        self._made = await patiently(database, "look for the table of the tools", exists)

    def statements(self, batch: Sequence[SeenTools], /) -> Iterator[Statement]:
        if not self._made:
            if self._postgres:
                yield Statement(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            yield Statement(CreateTable(assessment_tools, if_not_exists=True))
            self._made = True
        rows: dict[str, dict[str, Any]] = {}
        for each in batch:
            rows[each.server_key] = {
                "server_key": each.server_key,
                "assessment_id": each.assessment_id,
                "definitions": each.definitions,
                "previous": None,
            }
        yield Statement(_upsert(postgres=self._postgres), list(rows.values()))


def _upsert(*, postgres: bool) -> sa.Executable:
    insert = (postgresql_insert if postgres else sqlite_insert)(assessment_tools)
    mine = assessment_tools.c.assessment_id == insert.excluded.assessment_id
    return insert.on_conflict_do_update(
        index_elements=["server_key"],
        set_={
            "previous": sa.case((mine, assessment_tools.c.previous), else_=assessment_tools.c.definitions),
            "definitions": insert.excluded.definitions,
            "assessment_id": insert.excluded.assessment_id,
        },
    )
