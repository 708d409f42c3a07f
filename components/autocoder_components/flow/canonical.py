"""One text for equal values: what keyed state is filed under, and what sampling hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic_core import to_jsonable_python

LONGEST_KEY: Final = 200


def plain_data(payload: Any) -> Any:
    """A payload as JSON knows it: dicts, lists, strings, numbers, booleans and null; bytes become base64.

    What is kept across a restart comes back so, hence components that keep payloads of any type emit them so always.
    """
    return to_jsonable_python(payload, bytes_mode="base64", inf_nan_mode="constants")


def canonical_text(value: Any) -> str:
    """JSON with sorted keys; equal values give equal text (1 and 1.0 too), unequal ones do not ("1" and 1)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(plain_data(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_text(value: Any) -> str:
    """`canonical_text`, or a BLAKE2b hash of it where it is too long for a key (over 200 characters)."""
    text = canonical_text(value)
    return text if len(text) <= LONGEST_KEY else "blake2b:" + hash_of(text, 20).hex()


def hash_of(text: str, size: int) -> bytes:
    """A BLAKE2b hash of `size` bytes: the same on every machine and in every run, unlike Python's own."""
    return hashlib.blake2b(text.encode(), digest_size=size).digest()
