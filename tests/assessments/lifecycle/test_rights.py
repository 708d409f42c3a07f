"""The service needs no more of a PostgreSQL server than to read and write rows: who owns the tables is somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import open_store
from sqlalchemy.exc import DBAPIError

from autocoder import open_database
from tests.assessments.lifecycle.shipped import serve
from tests.store.fresh import fresh_postgres

pytestmark = pytest.mark.anyio
ROLE = "autocoder_writes_rows"
GRANTED = (
    f"CREATE ROLE {ROLE} LOGIN PASSWORD 'weak-word'",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}",
    f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
)
GONE = (f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")  # roles are the whole server's


async def tell(url: str, *statements: str) -> None:
    async with open_database(url) as database, database.transaction() as connection:
        for each in statements:
            await connection.execute(sa.text(each))


@pytest.fixture
async def limited(postgres_url: str) -> AsyncIterator[str]:
    """A database with every table, and the URL of a role that may use them."""
    async with fresh_postgres(postgres_url, tables=True) as url:
        await tell(url, *GRANTED)
        try:
            weak = sa.make_url(url).set(username=ROLE, password="weak-word")
            yield weak.render_as_string(hide_password=False)
        finally:
            await tell(url, *GONE)


@pytest.mark.usefixtures("machine")  # the service writes its reports into the working folder
async def test_a_role_that_writes_rows_runs_the_service_and_looks_after_it(limited: str) -> None:
    async with open_store(limited) as store:
        worked, unwanted = await store.batch_create([{"candidates": [{"text": "{}"}]}, {}])
        await store.cancel(unwanted)
        await serve(limited)
        assert (await store.wait_for_completion(worked, 60)).state is State.COMPLETED
        await store.sweep()
        assert await store.cleanup(0, audit_days=0) == 2
        assert (await store.health()).status == "healthy"


async def test_what_the_tables_are_is_not_its_to_change(limited: str) -> None:
    for refused in ("DROP TRIGGER assessment_states_guard ON assessment_states", "DROP TABLE assessment_state_audit"):
        with pytest.raises(DBAPIError, match="must be owner"):
            await tell(limited, refused)
