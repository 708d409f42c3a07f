"""What a run does with the database it finds: makes it, upgrades it, or refuses it and leaves it as it was."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.database_options import DatabaseOptions
from autocoder.errors import AutocoderError, UnreachableError
from autocoder.store import migrate
from autocoder.store.ownership import OwnedElsewhereError, owning
from autocoder.store.schema import SchemaError, prepare, read_schema
from autocoder.store.tables import port_messages, revisions
from tests.store.filled import contents, fill
from tests.store.fresh import fresh_postgres, fresh_sqlite

pytestmark = pytest.mark.anyio

NEWEST = frozenset({"assessments_0003"})  # the pack of this project depends on 0001
REVISION = '''
from alembic import op
import sqlalchemy as sa

revision = "pack0001"
down_revision = None
branch_labels = ("shop",)
depends_on = "0001"


def upgrade() -> None:
    """Add a table."""
    op.create_table("shop_orders", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("shop_orders")
'''


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed pack with a migration of its own: what was current is older from then on."""
    site = tmp_path / "site"
    (site / "shop_migrations").mkdir(parents=True)
    (site / "shop_migrations" / "__init__.py").touch()
    (site / "shop_migrations" / "pack0001.py").write_text(REVISION)
    info = site / "shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autocoder.migrations]\nshop = shop_migrations\n")
    caches = (migrate._locations, migrate.scripts, migrate.known)

    def forget() -> None:
        for each in caches:
            each.cache_clear()
        sys.modules.pop("shop_migrations", None)

    forget()
    monkeypatch.syspath_prepend(site)
    yield
    forget()


async def test_what_is_current_is_used_without_alembic(url: str) -> None:
    async with open_database(url) as database:
        await prepare(database)
    program = (
        "import anyio, sys\n"
        "from autocoder.database import open_database\n"
        "from autocoder.store.schema import prepare\n"
        "async def main():\n"
        "    async with open_database(sys.argv[1]) as database:\n"
        "        await prepare(database)\n"
        "anyio.run(main)\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, url], check=False).returncode == 0


async def test_what_is_current_is_left_alone(database: Database) -> None:
    await prepare(database)
    await fill(database)
    before = await contents(database)
    await prepare(database)
    assert await contents(database) == before


async def test_a_new_database_gets_the_tables_of_packs(database: Database, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("pack")
    await prepare(database)
    schema = await read_schema(database)
    assert schema.revisions == NEWEST | {"pack0001"}  # which has 0001 with it
    assert "shop_orders" in schema.tables
    assert schema.standing() == "current"


async def test_an_older_file_is_copied_and_upgraded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        await fill(database)
        before = await contents(database)
        request.getfixturevalue("pack")
        assert (await read_schema(database)).standing() == "older"
        await prepare(database)
        assert (await read_schema(database)).standing() == "current"
        assert await contents(database) == before
    (copy,) = tmp_path.glob("*.backup")
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version_num FROM autocoder_schema").fetchall() == [(each,) for each in NEWEST]
        assert old.execute("SELECT count(*) FROM port_messages").fetchone() == (4,)


async def test_an_older_server_is_refused_with_the_command(postgres_url: str, request: pytest.FixtureRequest) -> None:
    async with fresh_postgres(postgres_url) as url, open_database(url) as database:
        await prepare(database)
        request.getfixturevalue("pack")
        with pytest.raises(
            SchemaError, match=r"older schema \(.*000\d\).*autocoder db upgrade with the same"
        ) as caught:
            await prepare(database)
        assert caught.value.exit_code == 78
        await migrate.upgrade(database)
        await prepare(database)


async def test_a_newer_schema_is_refused(database: Database) -> None:
    await prepare(database)
    async with database.transaction() as connection:
        await connection.execute(sa.update(revisions).values(version_num="9999"))
    before = await contents(database)
    with pytest.raises(SchemaError, match=r"does not know \(9999\)"):
        await prepare(database)
    assert await contents(database) == before


async def test_tables_of_our_names_are_never_taken_for_ours(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text("CREATE TABLE regions (country text)"))
    with pytest.raises(SchemaError, match=r"names of autocoder's \(regions\)"):
        await prepare(database)
    assert (await read_schema(database)).tables == {"regions"}


async def test_the_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as shop:
        shop.execute("CREATE TABLE orders (id integer)")
        shop.commit()
    before = file.read_bytes()
    async with open_database(f"sqlite:///{file}") as database:
        with pytest.raises(SchemaError, match=r"another program: it has tables \(orders\).*autocoder db upgrade"):
            await prepare(database)
    assert file.read_bytes() == before
    async with open_database(f"sqlite:///{file}") as database:
        await migrate.upgrade(database)  # as the message says
        await prepare(database)
        assert {"orders", port_messages.name} <= (await read_schema(database)).tables


async def test_tables_of_others_on_a_server_are_no_obstacle(postgres_url: str) -> None:
    async with fresh_postgres(postgres_url) as url, open_database(url) as database:
        async with database.transaction() as connection:
            await connection.execute(sa.text("CREATE TABLE orders (id integer)"))
        await prepare(database)
        assert (await read_schema(database)).standing() == "current"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"hello, world" * 500, "not an SQLite database"), (b"SQLite format 3\0" + b"\xff" * 5000, "cannot be opened")],
)
async def test_what_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "notes.db"
    file.write_bytes(content)
    with pytest.raises(UnreachableError, match=said) as caught:
        async with open_database(f"sqlite:///{file}"):
            raise AssertionError
    assert caught.value.exit_code == 69
    assert file.read_bytes() == content


async def test_an_empty_file_is_a_new_database_unless_it_was_one(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.touch()
    async with open_database(f"sqlite:///{file}") as database:
        await prepare(database)
        async with owning(database, "p", ["r"], wait=False):
            pass
    file.write_bytes(b"")
    with pytest.raises(UnreachableError, match=r"is empty, though a\.db\..*\.lock beside it"):
        async with open_database(f"sqlite:///{file}"):
            raise AssertionError
    assert file.read_bytes() == b""


async def test_nothing_is_changed_under_a_running_pipeline(database: Database) -> None:
    await prepare(database)
    async with owning(database, "p", ["r"], wait=False):
        with pytest.raises(OwnedElsewhereError, match="in use by the pipeline p"):
            await migrate.downgrade(database, "base")
    await migrate.downgrade(database, "base")


@pytest.mark.parametrize(
    ("change", "cure"),
    [
        ({"database": "nowhere"}, "check the name of the database"),
        ({"host": "nowhere.invalid"}, "check the name of the host"),
        ({"username": "nobody_here"}, "check the (user|address)"),
    ],
)
async def test_a_server_that_refuses_is_named_without_the_password(
    postgres_url: str, change: dict[str, str], cure: str
) -> None:
    parsed = sa.make_url(postgres_url).set(drivername="postgresql", password="hunter22").set(**change)
    if "host" in change:
        parsed = parsed.set(query={})
    options = DatabaseOptions(parsed.render_as_string(hide_password=False), retry_attempts=2, retry_backoff=0.001)
    with pytest.raises(AutocoderError, match=cure) as caught:
        async with open_database(options):
            raise AssertionError
    assert caught.value.exit_code == 69
    assert "hunter22" not in str(caught.value)


async def test_missing_rights_are_said_with_the_cure(postgres_url: str) -> None:
    async with fresh_postgres(postgres_url) as url:
        async with open_database(url) as database:
            async with database.transaction() as connection:
                await connection.execute(sa.text("DROP ROLE IF EXISTS autocoder_weak"))
                await connection.execute(sa.text("CREATE ROLE autocoder_weak LOGIN PASSWORD 'weak-word'"))
                await connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            weak = sa.make_url(url).set(username="autocoder_weak", password="weak-word")
        async with open_database(weak.render_as_string(hide_password=False)) as database:
            with pytest.raises(UnreachableError, match=r"permission denied.*GRANT"):
                await prepare(database)
    server = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with open_database(server) as database, database.transaction() as connection:
        await connection.execute(sa.text("DROP ROLE autocoder_weak"))  # roles are the whole server's


@pytest.mark.parametrize("place", ["schema.create", "schema.created", "migration.begin", "migration.done"])
async def test_a_kill_leaves_all_of_the_schema_or_nothing(url: str, place: str) -> None:
    call = "prepare(database)" if place.startswith("schema") else "_step(database, upgrade_on, 'heads')"
    program = (
        "import anyio, sys\n"
        "from autocoder.database import open_database\n"
        "from autocoder.store.migrate import _step, upgrade_on\n"
        "from autocoder.store.schema import prepare\n"
        "async def main():\n"
        "    async with open_database(sys.argv[1]) as database:\n"
        f"        await {call}\n"
        "anyio.run(main)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, url], check=False, env={**os.environ, "AUTOCODER_FAILPOINTS": place}
    )
    assert killed.returncode == -signal.SIGKILL
    async with open_database(url) as database:
        assert (await read_schema(database)).standing() == "empty"
        await prepare(database)
        assert await migrate.differences(database) == []
