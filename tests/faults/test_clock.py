"""The clock of this machine jumps back again and again: leases follow the database's, waits the monotonic one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from autocoder.database import open_database
from autocoder.database_options import DatabaseOptions
from autocoder.store.ownership import OwnedElsewhereError, owning
from autocoder.store.tables import regions
from tests.cli.jobs import database_of
from tests.faults.scene import Scene, make_tables
from tests.store.fresh import BOTH

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with database_of(request.param, request, tmp_path) as made:
        yield made


class Backwards:
    """A clock that is an hour earlier each time somebody looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return datetime.now(UTC) - timedelta(hours=self.looks)


async def test_a_clock_that_goes_backwards(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await make_tables(url)
    clock = Backwards()
    for module in ("store.committing", "store.metrics", "store.retention", "runtime.keeping"):
        monkeypatch.setattr(f"autocoder.{module}.now", clock)
    scene = Scene(url, DatabaseOptions(url, lease=10.0), "chain", caplog, messages=1500)
    async with scene.running():
        await scene.under_way()
        async with open_database(url) as other:
            with pytest.raises(OwnedElsewhereError, match="is running already"):
                async with owning(other, scene.name, ["anything"], wait=False):
                    raise AssertionError
            right = sa.literal(datetime.now(UTC), regions.c.expires_at.type)  # both databases are of this machine
            async with other.reading() as connection:
                mine = sa.select(regions.c.expires_at > right).where(regions.c.pipeline == scene.name)
                assert set((await connection.execute(mine)).scalars()) == {True}
    assert clock.looks > 10
    assert await scene.judged() == []
