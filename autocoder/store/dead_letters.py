"""Dead letters: messages whose attempts are exhausted, waiting for a person as rows at the port where they failed.

Whatever is done to one is a single statement, guarded by how the row stood when it was read: of two replays (or edits, or
a replay and a discard) at the same time one takes effect, and the other is told that it came too late.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from autocoder.database import Database
from autocoder.durations import later
from autocoder.expression import Condition, ExpressionError
from autocoder.store.columns import now
from autocoder.store.failpoints import reached
from autocoder.store.identity import message_id, seq_in
from autocoder.store.patience import patiently
from autocoder.store.tables import port_messages

PAGE: Final = 500
MOST_HISTORY: Final = 20
"""So many earlier failures of a message are kept; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read. `data` is the payload as JSON text, None where it could not be kept.

    `attempts` counts those since the last replay, `replayed` the replays; `details` hold what is known beyond the error,
    `history` the failures before the replays, `notes` what people did to it.
    """

    seq: int
    pipeline: str
    component: str
    port: str
    data: str | None
    attempts: int
    replayed: int
    error_type: str
    error: str
    details: dict[str, Any]
    notes: str | None
    created_at: datetime
    failed_at: datetime

    @property
    def id(self) -> UUID:
        return message_id(self.seq, self.pipeline, self.component, self.port, self.created_at)

    @property
    def payload(self) -> Any:
        """The payload in JSON's types; text that is no JSON (edited by hand, say) is given as it is."""
        try:
            return None if self.data is None else json.loads(self.data)
        except ValueError:
            return self.data

    @property
    def history(self) -> list[dict[str, Any]]:
        """Earlier failures, the oldest first."""
        found = self.details.get("history")
        return list(found) if isinstance(found, list) else []

    def age(self, moment: datetime) -> float:
        """Seconds since it failed."""
        return max(0.0, (moment - self.failed_at).total_seconds())

    def variables(self, moment: datetime) -> dict[str, Any]:
        """What a predicate sees."""
        return {
            "payload": self.payload,
            "error_type": self.error_type,
            "error": self.error,
            "pipeline": self.pipeline,
            "component": self.component,
            "port": self.port,
            "attempts": self.attempts,
            "replayed": self.replayed,
            "age": self.age(moment),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; ages in seconds. Nothing said selects all."""

    pipeline: str | None = None
    components: tuple[str, ...] = ()
    error_types: tuple[str, ...] = ()
    older_than: float | None = None
    newer_than: float | None = None
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """How many dead letters of one kind there are, and when the oldest and the newest failed."""

    pipeline: str
    component: str
    error_type: str
    count: int
    oldest: datetime
    newest: datetime


@dataclass(slots=True)
class Unjudged:
    """The dead letters over which a predicate could not be evaluated: they are not selected."""

    count: int = 0
    reasons: set[str] = field(default_factory=set)


class DeadLetters:
    """The dead letters of a database, of all its pipelines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading --------------------------------------------------------------------------------------------------

    async def find(self, identity: UUID) -> Letter | None:
        """The dead letter of an id; None where it is none (any more), or the id is of another database."""
        seq = seq_in(identity)
        if seq is None:
            return None
        async with self._database.reading() as connection:
            found = (await connection.execute(_LETTERS.where(port_messages.c.seq == seq))).one_or_none()
        letter = None if found is None else _letter(found)
        return letter if letter is not None and letter.id == identity else None

    @staticmethod
    def position(identity: UUID) -> int:
        """Where the dead letters behind this one begin, for `matching`; also when it is none any more."""
        return seq_in(identity) or 0

    async def status(self, identity: UUID) -> str | None:
        """How the message of an id stands, dead letter or not; None where this database has none."""
        table = port_messages.c
        query = sa.select(table.pipeline, table.target_component, table.port_name, table.created_at, table.status)
        async with self._database.reading() as connection:
            found = (await connection.execute(query.where(table.seq == seq_in(identity)))).one_or_none()
        if found is None:
            return None
        *facts, status = found
        return str(status) if message_id(seq_in(identity) or 0, *facts) == identity else None

    async def matching(
        self, selection: Selection, *, after: int = 0, limit: int | None = None, unjudged: Unjudged | None = None
    ) -> AsyncIterator[list[Letter]]:
        """The dead letters that are there now, in the order of their ids, page by page; those behind seq `after`.

        What becomes one while this goes on is not looked at (a replay that fails again cannot keep a sweep going).
        """
        moment = now()
        async with self._database.reading() as connection:
            last = (await connection.execute(_LAST)).scalar_one() or 0
        left = limit
        while left is None or left > 0:
            query = _selected(_LETTERS, selection, moment).where(port_messages.c.seq.between(after + 1, last))
            async with self._database.reading() as connection:
                page = [_letter(each) for each in await connection.execute(query.limit(PAGE))]
            if not page:
                return
            after = page[-1].seq
            chosen = [each for each in page if _meets(each, selection.where, moment, unjudged)][:left]
            if left is not None:
                left -= len(chosen)
            if chosen:
                yield chosen

    async def groups(self, selection: Selection, *, unjudged: Unjudged | None = None) -> list[Group]:
        """How many there are by pipeline, component and error type, the most frequent first."""
        if selection.where is None:
            found = await self._counted(selection)
        else:
            found = _grouped([each async for page in self.matching(selection, unjudged=unjudged) for each in page])
        return sorted(found, key=lambda each: (-each.count, each.pipeline, each.component, each.error_type))

    async def _counted(self, selection: Selection) -> list[Group]:
        table = port_messages.c
        kinds = (table.pipeline, table.target_component, table.error_type)
        query = sa.select(*kinds, sa.func.count(), sa.func.min(_FAILED_AT), sa.func.max(_FAILED_AT))
        async with self._database.reading() as connection:
            rows = await connection.execute(
                _selected(query.where(table.status == "dead_letter"), selection, now()).order_by(None).group_by(*kinds)
            )
            return [Group(*row) for row in rows]

    # -- writing --------------------------------------------------------------------------------------------------

    async def replay(self, letters: Sequence[Letter]) -> list[Letter]:
        """Put dead letters back to their ports, their attempts at zero; returns those that were still there.

        The pipeline takes them while it runs, or when it runs next; one that fails again returns to the same row. All in one
        transaction. A letter without payload cannot be replayed, and must not be given.
        """

        def values(letter: Letter) -> dict[str, Any]:
            failure = {
                "error_type": letter.error_type,
                "error": letter.error,
                "attempts": letter.attempts,
                "failed_at": letter.failed_at.isoformat(),
            }
            history = [*letter.history, failure][-MOST_HISTORY:]
            return {
                "status": "pending",
                "parked": True,
                "retry_count": 0,
                "next_retry_at": None,
                "replayed": letter.replayed + 1,
                "error_type": None,
                "error_message": None,
                "error_details": json.dumps({**letter.details, "history": history}),
            }

        if any(letter.data is None for letter in letters):
            raise ValueError("a dead letter without payload cannot be replayed")
        return await self._change(letters, values)

    async def discard(self, letters: Sequence[Letter], *, who: str, why: str | None) -> list[Letter]:
        """Resolve dead letters without replaying them; returns those that were still there. The rows stay as completed
        ones with a note of who did it, when and why, until retention removes them."""
        moment = now()
        note = {"by": who, "at": moment.isoformat(), **({} if why is None else {"why": why})}

        def values(letter: Letter) -> dict[str, Any]:
            notes = json.dumps({**_object(letter.notes), "resolved": note})
            return {"status": "completed", "completed_at": moment, "message_metadata": notes}

        return await self._change(letters, values)

    async def edit(self, letter: Letter, data: str, *, who: str) -> bool:
        """Replace the payload by other JSON text; returns whether it was still there, and not edited meanwhile."""
        notes = _object(letter.notes)
        edits = [*notes.get("edited", []), {"by": who, "at": now().isoformat()}]
        changed = {"message_data": data, "message_metadata": json.dumps({**notes, "edited": edits})}
        return bool(await self._change([letter], lambda _: changed))

    async def _change(self, letters: Iterable[Letter], values: Callable[[Letter], dict[str, Any]]) -> list[Letter]:
        table, meant = port_messages.c, list(letters)

        async def attempt() -> list[Letter]:
            changed: list[Letter] = []
            async with self._database.transaction() as connection:
                for letter in meant:
                    unchanged = sa.and_(
                        table.seq == letter.seq,
                        table.status == "dead_letter",
                        table.replayed == letter.replayed,
                        sa.cast(table.message_metadata, sa.Text).is_not_distinct_from(sa.cast(letter.notes, sa.Text)),
                    )
                    done = await connection.execute(sa.update(port_messages).where(unchanged).values(values(letter)))
                    if done.rowcount:
                        changed.append(letter)
                reached("replay.changed")
            return changed

        attempts = self._database.options.retry_attempts
        return await patiently(self._database, "change dead letters", attempt, attempts=attempts)


_FAILED_AT: Final = sa.func.coalesce(port_messages.c.processed_at, port_messages.c.created_at)
_LAST: Final = sa.select(sa.func.max(port_messages.c.seq)).where(port_messages.c.status == "dead_letter")
_LETTERS: Final = (
    sa.select(
        port_messages.c.seq,
        port_messages.c.pipeline,
        port_messages.c.target_component,
        port_messages.c.port_name,
        port_messages.c.message_data,
        port_messages.c.retry_count,
        port_messages.c.replayed,
        port_messages.c.error_type,
        port_messages.c.error_message,
        port_messages.c.error_details,
        port_messages.c.message_metadata,
        port_messages.c.created_at,
        _FAILED_AT,
    )
    .where(port_messages.c.status == "dead_letter")
    .order_by(port_messages.c.seq)
)


def _letter(row: Any) -> Letter:
    seq, pipeline, component, port, data, attempts, replayed, kind, error, details, notes, created, failed = row
    return Letter(
        *(seq, pipeline, component, port, data, attempts, replayed, kind or "", error or ""),
        _object(details),
        notes,
        created,
        failed,
    )


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object; empty where the text is something else."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _selected(query: sa.Select[Any], selection: Selection, moment: datetime) -> sa.Select[Any]:
    table = port_messages.c
    if selection.pipeline is not None:
        query = query.where(table.pipeline == selection.pipeline)
    if selection.components:
        query = query.where(table.target_component.in_(selection.components))
    if selection.error_types:
        query = query.where(table.error_type.in_(selection.error_types))
    if selection.older_than is not None:
        query = query.where(later(moment, -selection.older_than) > _FAILED_AT)
    if selection.newer_than is not None:
        query = query.where(later(moment, -selection.newer_than) <= _FAILED_AT)
    return query


def _meets(letter: Letter, where: Condition | None, moment: datetime, unjudged: Unjudged | None) -> bool:
    if where is None:
        return True
    try:
        return where.test_over(letter.variables(moment))
    except ExpressionError as error:
        if unjudged is not None:
            unjudged.count += 1
            unjudged.reasons.add(str(error))
        return False


def _grouped(letters: Iterable[Letter]) -> list[Group]:
    kinds: dict[tuple[str, str, str], list[datetime]] = {}
    for each in letters:
        kinds.setdefault((each.pipeline, each.component, each.error_type), []).append(each.failed_at)
    return [Group(*kind, len(moments), min(moments), max(moments)) for kind, moments in kinds.items()]
