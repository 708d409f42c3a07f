"""The PostgreSQL that other tests lean on is a real one."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


@pytest.mark.anyio
async def test_the_server_is_there_and_keeps_what_it_is_told(postgres_url: str) -> None:
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TEMPORARY TABLE kept (word text) ON COMMIT DROP"))
        await connection.execute(text("INSERT INTO kept VALUES ('yes')"))
        assert (await connection.execute(text("SELECT word FROM kept"))).scalar_one() == "yes"
        assert (await connection.execute(text("SHOW server_version_num"))).scalar_one() >= "140000"
    await engine.dispose()
