"""Sinks of the pack `files` written to by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from autocoder import Sink


@dataclass
class Order:
    number: int
    when: date | None = None
    tags: list[str] = field(default_factory=list)
    paid: bool = False


async def written(sink: Sink[Any], *batches: Sequence[Any]) -> None:
    await sink.open()
    try:
        for batch in batches:
            await sink.write(batch)  # type: ignore[attr-defined]
            await sink.flush()
        await sink.finish()
    finally:
        await sink.close()


def entries(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())
