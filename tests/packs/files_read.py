"""Sources of the pack `files` read by hand, to the end or from a position."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from typing_extensions import TypedDict

from autocoder import Batch, Rejected, Source

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


async def batches(source: Source[Any], resume: Any = None) -> list[Batch[Any]]:
    """Everything that a source gives from a position that has been through JSON."""
    await source.open()
    try:
        return [batch async for batch in source.read(json.loads(json.dumps(resume)))]  # type: ignore[union-attr]
    finally:
        await source.close()


async def payloads(source: Source[Any], resume: Any = None) -> list[Any]:
    return [payload for batch in await batches(source, resume) for payload in batch.payloads]


async def rejections(source: Source[Any]) -> list[Rejected]:
    return [rejected for batch in await batches(source) for rejected in batch.rejected]


def seen(batch: Batch[Any]) -> tuple[Any, ...]:
    return (
        list(batch.payloads),
        [(each.raw, str(each.error), each.place) for each in batch.rejected],
        json.dumps(batch.resume),
    )


async def assert_resumes(make: Callable[[], Source[Any]]) -> list[Batch[Any]]:
    """From every position the remaining batches come, the same ones, and nothing twice."""
    whole = await batches(make())
    for index, batch in enumerate(whole):
        assert list(map(seen, await batches(make(), batch.resume))) == list(map(seen, whole[index + 1 :]))
    return whole


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@dataclass
class Order:
    number: int
    when: date | None = None


class Person(BaseModel):
    name: str
    age: int = 7


class Pet(TypedDict):
    name: str
