"""What a sink hands to the committer: an SQL statement and the rows it is executed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.sql import Executable


@dataclass(frozen=True, slots=True)
class Statement:
    """`execute(statement, rows)` inside the epoch's transaction; without rows the statement is executed once.

    A DDL statement that must come first (CREATE TABLE IF NOT EXISTS) is a Statement like any other.
    """

    statement: Executable
    rows: Sequence[Mapping[str, Any]] = ()
