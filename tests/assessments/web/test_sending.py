"""How answers leave: at once."""

from __future__ import annotations

import socket

import pytest

from tests.assessments.web.conftest import Served

pytestmark = pytest.mark.anyio


async def test_no_piece_of_an_answer_waits_for_a_client_to_acknowledge_the_one_before(served: Served) -> None:
    """Head and body are two pieces: a client that keeps its connection had each answer 40 ms later."""
    assert (await served.client.get("/health")).status_code == 200
    (connection,) = served.connections
    ours = connection.transport.get_extra_info("socket")
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
