"""What several tests of packs use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packs.http_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
