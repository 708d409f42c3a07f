"""The identity of a message: derived from where its input stood, so that a second run gives it the same one (I4)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def origin_key(pipeline: str, source: str, resume: Any) -> str:
    """The identity of a batch: the source and the position before it. Its payloads are numbered from 0 behind a colon."""
    return f"{pipeline}/{source}/{json.dumps(resume, sort_keys=True, separators=(',', ':'), default=str)}"


def row_key(seq: int, created_at: datetime) -> str:
    """The identity of a message that came as a row: another database counts from 1 as well, but not at the same moment."""
    return f"row:{seq}@{created_at.astimezone(UTC).isoformat(timespec='microseconds')}"


def passed_key(key: str, place: str) -> str:
    """The identity of what a component makes of a message; `place` is the component, with the input of a merger."""
    return f"{key}>{place}"


def idempotency_key(pipeline: str, sink: str, key: str) -> str:
    """The key as a receiver gets it: 32 hexadecimal digits of a BLAKE2b hash, the same for the same message and sink."""
    return hashlib.blake2b(f"{pipeline}/{sink}/{key}".encode(), digest_size=16).hexdigest()
