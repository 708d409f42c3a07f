"""What a database is asked, as it arrives at the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class Asked:
    """One statement with its values; `many` of them where the driver executes it once for each."""

    sql: str
    values: Any
    many: bool


@contextmanager
def asked() -> Iterator[list[Asked]]:
    """All that any engine of this process is asked meanwhile."""
    found: list[Asked] = []

    def note(connection: Any, cursor: Any, sql: str, values: Any, context: Any, many: bool) -> None:
        found.append(Asked(sql, values, many))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
