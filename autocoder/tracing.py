"""The identity of a message: derived from where its input stood, so that a second run gives it the same one (I4)."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def origin_key(pipeline: str, source: str, resume: Any) -> str:
    """The identity of a batch: the source and the position before it. Its payloads are numbered from 0 behind a colon."""
    return f"{pipeline}/{source}/{json.dumps(resume, sort_keys=True, separators=(',', ':'), default=str)}"


def idempotency_key(key: str) -> str:
    """The key as a receiver gets it: 32 hexadecimal digits of a BLAKE2b hash, always the same for the same message."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
