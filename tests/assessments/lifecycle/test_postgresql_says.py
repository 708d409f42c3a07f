"""What the design of the tables relies on PostgreSQL for, asked of a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from autocoder import Database, open_database
from tests.store.fresh import fresh_postgres

pytestmark = pytest.mark.anyio

REFUSED = {
    "an index is a statement of its own": "CREATE TABLE t (a integer, INDEX i (a))",
    "a named constraint says CONSTRAINT": "CREATE TABLE t (a integer, UNIQUE u (a))",
    "a type is made before a table has it": "CREATE TABLE t (a mood)",
    "an exclusion is part of a table": "CREATE CONSTRAINT c EXCLUDE USING gist (a WITH =)",
    "nothing is deleted up to a limit": "DELETE FROM pg_class LIMIT 1",
    "an index has its name alone in its schema": "CREATE TABLE t (a integer); CREATE INDEX i ON t (a); "
    "CREATE TABLE u (a integer); CREATE INDEX i ON u (a)",
    "text that is no address breaks off what casts it": "SELECT 'nobody'::inet",
    "text is no JSON by itself": "CREATE TABLE t AS SELECT 1; INSERT INTO j SELECT '{}'::text",
}


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[Database]:
    async with fresh_postgres(postgres_url) as url, open_database(url) as database:
        async with database.transaction() as connection:
            await connection.execute(sa.text("CREATE TABLE j (data jsonb NOT NULL)"))
        yield database


async def test_what_it_refuses(server: Database) -> None:
    for why, statement in REFUSED.items():
        with pytest.raises(DBAPIError):
            async with server.transaction() as connection:
                for each in statement.split(";"):
                    await connection.execute(sa.text(each))
            pytest.fail(why)


async def test_a_check_lets_null_pass(server: Database) -> None:
    async with server.transaction() as connection:
        await connection.execute(sa.text("CREATE TABLE c (a integer CHECK (a > 0))"))
        await connection.execute(sa.text("INSERT INTO c VALUES (NULL)"))


async def test_a_random_uuid_needs_no_extension(server: Database) -> None:
    async with server.reading() as connection:
        assert (await connection.execute(sa.text("SELECT gen_random_uuid()"))).scalar_one()
        assert (await connection.execute(sa.text("SELECT extname FROM pg_extension"))).scalars().all() == ["plpgsql"]


async def test_a_part_of_a_document_set_to_null_empties_the_whole(server: Database) -> None:
    async with server.reading() as connection:
        found = await connection.execute(sa.text("SELECT jsonb_set('{\"a\": 1}', '{b}', to_jsonb(NULL::text))"))
        assert found.scalar_one() is None


async def test_a_name_without_quotes_is_in_lower_case(server: Database) -> None:
    async with server.transaction() as connection:
        await connection.execute(sa.text("CREATE TYPE MoodOfTheDay AS ENUM ('good')"))
        named = await connection.execute(sa.text("SELECT typname FROM pg_type WHERE typname ILIKE 'moodoftheday'"))
        assert named.scalars().all() == ["moodoftheday"]


async def test_all_statements_of_a_transaction_have_one_time(server: Database) -> None:
    async with server.transaction() as connection:
        first = (await connection.execute(sa.text("SELECT now()"))).scalar_one()
        await connection.execute(sa.text("SELECT pg_sleep(0.01)"))
        assert (await connection.execute(sa.text("SELECT now()"))).scalar_one() == first
