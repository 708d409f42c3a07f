"""Every test of the store that asks for `url` or `database` is run on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autocoder.database import Database, open_database
from tests.store.fresh import BOTH, fresh


@pytest.fixture(params=BOTH)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A new, empty database of each kind."""
    async with fresh(request, tmp_path) as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The same, open."""
    async with open_database(url) as opened:
        yield opened
