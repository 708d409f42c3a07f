"""The ids by which users know messages: UUIDs, derived from the row and not stored.

A random UUID as key would cost most of the speed of the table (the integer key orders a channel and is what commits go
by), and a UUID beside it a second index. So the id is made of the row: its seq, and a check of what never changes in it
(pipeline, component, port, moment of creation). The seq can be read back from it, and the check tells an id of another
database, which a per-store random number would do as well, but would get lost or doubled when a database is copied
message by message.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

_VERSION: Final = 8 << 76
_VARIANT: Final = 2 << 62
_CHECK_BITS: Final = 62
_MOST: Final = 1 << 60


def message_id(seq: int, pipeline: str, component: str, port: str, created_at: datetime) -> UUID:
    """The id of a message row: a UUIDv8 that sorts as the rows do. The same on both databases."""
    if not 0 < seq < _MOST:
        raise ValueError(f"seq {seq} is outside of what an id can hold")
    moment = created_at.astimezone(UTC).isoformat(timespec="microseconds")
    facts = json.dumps([pipeline, component, port, moment]).encode()
    check = int.from_bytes(hashlib.blake2b(facts, digest_size=8).digest(), "big") >> (64 - _CHECK_BITS)
    return UUID(int=(seq >> 12) << 80 | _VERSION | (seq & 0xFFF) << 64 | _VARIANT | check)


def seq_in(identity: UUID) -> int | None:
    """The seq of the row that an id may mean; None where it is the id of no message."""
    if identity.int >> 76 & 0xF != 8 or identity.int >> 62 & 0x3 != 2:
        return None
    return (identity.int >> 80) << 12 | identity.int >> 64 & 0xFFF or None
