"""The settings of a server arrive where they work: at the connection, at the pool, in TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.database_faults import NoConnectionError
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError
from autocoder.settings import load_settings
from tests.faults.proxy import proxied
from tests.faults.servers import Server

pytestmark = pytest.mark.anyio
PRODUCTION = """
database:
  backend: postgresql
  host: ${DB_HOST}
  port: ${DB_PORT:-5432}
  name: ${DB_NAME}
  user: ${DB_USER:-postgres}
  password: ${DB_PASSWORD}
  pool_size: 2
  pool_timeout: 100ms
  connect_timeout: 5s
  statement_timeout: 12s
  lock_timeout: 3500ms
  idle_in_transaction_timeout: 2m
  retry: {attempts: 1, backoff: 10ms, cap: 20ms}
  lease: 4s
"""


def options_of(folder: Path, **environ: str) -> DatabaseOptions:
    """What the production environment comes to."""
    (folder / "pyproject.toml").touch()
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "production.yaml").write_text(PRODUCTION)
    found, problems = load_settings("production", environ={"DB_PASSWORD": "p/w%", **environ}, folder=folder)
    assert problems == [] and found is not None
    return found.database.options()


async def shown(database: Database, name: str) -> str:
    async with database.reading() as connection:
        return str((await connection.execute(sa.text(f"SHOW {name}"))).scalar_one())


async def test_every_option_of_an_environment_reaches_the_server(server: Server, postgres: str, tmp_path: Path) -> None:
    name = str(sa.make_url(postgres).database)
    async with proxied(server.socket) as proxy:
        options = options_of(tmp_path, DB_HOST="127.0.0.1", DB_PORT=str(proxy.port), DB_NAME=name)
        assert (options.lease, options.retry_attempts, options.retry_backoff, options.retry_cap) == (4, 1, 0.01, 0.02)
        async with open_database(options) as database:
            assert await shown(database, "statement_timeout") == "12s"
            assert await shown(database, "lock_timeout") == "3500ms"
            assert await shown(database, "idle_in_transaction_session_timeout") == "2min"
            pool: Any = database.engine.pool
            assert pool.size() == 2 and "Pool size: 2" in pool.status()
            async with AsyncExitStack() as held:
                for _ in range(2):
                    await held.enter_async_context(database.reading())
                with pytest.raises(NoConnectionError, match=r"0\.1 s \(pool_timeout; pool_size is 2\)"):
                    await held.enter_async_context(database.reading())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that signs itself, its key, and another one that signs nothing here."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "other"):
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run([program, *request, *files], cwd=folder, check=True, capture_output=True)
    return folder


async def test_tls_is_required_and_its_certificate_judged(server: Server, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    async with proxied(server.socket, context) as proxy:

        async def reached(host: str, mode: str, issuer: str | None) -> bool:
            certificate = None if issuer is None else str(certificates / issuer)
            url = f"postgresql://postgres@{host}:{proxy.port}/postgres"
            options = DatabaseOptions(url, ssl_mode=mode, ssl_root_cert=certificate, retry_attempts=1)
            try:
                async with open_database(options):
                    return True
            except UnreachableError as error:
                assert "certificate" in str(error)
                return False

        assert await reached("localhost", "require", None)
        assert await reached("localhost", "verify-full", "server.pem")
        assert await reached("127.0.0.1", "verify-ca", "server.pem")
        assert not await reached("127.0.0.1", "verify-full", "server.pem")
        assert not await reached("localhost", "verify-ca", "other.pem")
        assert not await reached("localhost", "verify-full", None)
