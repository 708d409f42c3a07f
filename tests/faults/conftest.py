"""The scenes of faults: a server of their own, on which nothing else depends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.servers import Server, own_server
from tests.store.fresh import fresh_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL that tests may restart; it runs again when they have ended."""
    with own_server() as made:
        yield made


@pytest.fixture
async def postgres(server: Server) -> AsyncIterator[str]:
    """An empty database on it."""
    async with fresh_postgres(server.driver_url) as made:
        yield made
