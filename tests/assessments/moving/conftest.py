"""A store, an older system, and a router between them whose flags the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.moving import AssessmentRouter, MovingFlags

from autocoder import Database
from tests.assessments.lifecycle.conftest import url
from tests.assessments.moving.older import OlderSystem

__all__ = ["url"]


class Flags:
    """Flags that the test sets; nothing goes to the store until it does."""

    def __init__(self) -> None:
        self.now = MovingFlags(percentage=0)

    def __call__(self) -> MovingFlags:
        return self.now

    def set(self, **values: Any) -> None:
        self.now = MovingFlags(**values)


@pytest.fixture
def flags() -> Flags:
    return Flags()


@pytest.fixture
def older(tmp_path: Path) -> Iterator[OlderSystem]:
    made = OlderSystem(tmp_path / "older.db")
    yield made
    made.close()


@pytest.fixture
async def store(database: Database) -> AsyncIterator[AssessmentStore]:
    made = AssessmentStore(database)
    yield made
    await made.close()


@pytest.fixture
def router(store: AssessmentStore, older: OlderSystem, flags: Flags) -> AssessmentRouter:
    return AssessmentRouter(store, older, flags)
