"""JSON as a row has it: carried as its text, and read where somebody looks into it.

A result may have megabytes. Most who pass one on look at nothing of it, and read it takes twice its length again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


class StoredJson(Mapping[str, Any]):
    """A JSON object by its text, which a database has found to be one."""

    __slots__ = ("_read", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._read: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """All of it, read once. It is not to be changed."""
        if self._read is None:
            self._read = json.loads(self.text)
        return self._read

    def __getitem__(self, key: str) -> Any:
        return self.read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())


def size_of(value: Mapping[str, Any] | None) -> int:
    """How long it is as JSON, without reading it."""
    if value is None:
        return 0
    return len(value.text) if isinstance(value, StoredJson) else len(json.dumps(value))


def read(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same in types that every writer of JSON knows."""
    return value.read() if isinstance(value, StoredJson) else dict(value)
