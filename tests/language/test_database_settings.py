"""The `database` section: its address as a URL or in parts, the options of each backend, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from autocoder.database import open_database
from autocoder.database_engines import parse_url
from autocoder.database_options import DatabaseOptions, masked_url
from autocoder.database_settings import PostgresqlSettings, SqliteSettings
from autocoder.settings import Settings, load_settings

Load = Callable[..., Settings]
Wrong = Callable[..., list[str]]
SERVER = "backend: postgresql, host: h, name: n"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "config").mkdir()

    def loaded(section: str, explicit: dict[str, Any] | None = None, **environ: str) -> Any:
        (tmp_path / "config" / "development.yaml").write_text(f"database: {{{section}}}\n")
        return load_settings(environ=environ, folder=tmp_path, explicit={"database": explicit} if explicit else None)

    return loaded


@pytest.fixture
def load(written: Callable[..., Any]) -> Load:
    """The settings of a `database` section, which must be right."""

    def loaded(*given: Any, **environ: str) -> Settings:
        found, problems = written(*given, **environ)
        assert found is not None and problems == []
        return found

    return loaded


@pytest.fixture
def wrong(written: Callable[..., Any]) -> Wrong:
    """What is wrong with a `database` section, each without the place in the file."""

    def refused(*given: Any, **environ: str) -> list[str]:
        found, problems = written(*given, **environ)
        assert found is None
        return [str(each).partition(": ")[2] for each in sorted(problems, key=lambda each: each.place)]

    return refused


def test_everything_that_can_be_said_of_a_server(load: Load, tmp_path: Path) -> None:
    found = load(
        "backend: postgresql, host: '${DB_HOST}', port: '${DB_PORT:-5433}', name: app, user: writer, "
        "password: '${DB_PASSWORD}', pool_size: '7', pool_timeout: 1m, connect_timeout: 500ms, statement_timeout: 2m, "
        "lock_timeout: 3, idle_in_transaction_timeout: 0, synchronous_commit: on, "
        "retry: {attempts: 2, backoff: 50ms, cap: 1s}, "
        "ssl_mode: verify-full, ssl_root_cert: certs/root.pem",
        DB_HOST="db.example",
        DB_PASSWORD="p@s/s w%",
    )
    assert isinstance(found.database, PostgresqlSettings)
    assert found.database.options() == DatabaseOptions(
        "postgresql://writer:p%40s%2Fs%20w%25@db.example:5433/app",
        pool_size=7,
        pool_timeout=60.0,
        retry_attempts=2,
        retry_backoff=0.05,
        retry_cap=1.0,
        connect_timeout=0.5,
        statement_timeout=120.0,
        lock_timeout=3.0,
        idle_in_transaction_timeout=0.0,
        synchronous_commit="on",
        ssl_mode="verify-full",
        ssl_root_cert=f"{tmp_path}/certs/root.pem",
    )
    assert found.secrets == {"p@s/s w%", "p%40s%2Fs%20w%25"}
    parsed = parse_url(found.database.options().url)
    assert (parsed.password, parsed.host, parsed.port) == ("p@s/s w%", "db.example", 5433)


def test_everything_that_can_be_said_of_a_file(load: Load, tmp_path: Path) -> None:
    found = load("backend: sqlite, path: 'a?b %41.db', busy_timeout: 2500ms, pool_size: 3")
    assert isinstance(found.database, SqliteSettings)
    options = found.database.options()
    assert options == DatabaseOptions(options.url, busy_timeout=2.5, pool_size=3)
    assert parse_url(options.url).database == f"{tmp_path}/a?b %41.db"


def test_a_folder_with_special_characters_is_meant_as_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "100%41?"
    folder.mkdir()
    found, _ = load_settings(environ={}, folder=folder, explicit={"database": {"url": "sqlite:///x.db"}})
    assert found is not None and parse_url(found.database.options().url).database == f"{folder}/x.db"


def test_defaults_are_those_of_the_options(load: Load) -> None:
    for section in ("url: 'postgresql://h/n'", "url: 'sqlite:////x.db'"):
        options = load(section).database.options()
        assert options == DatabaseOptions(options.url)


def test_an_address_is_chosen_as_a_url_or_in_parts(load: Load) -> None:
    assert "url" in load("url: 'postgresql://h/n'").database.model_fields_set
    assert "url" in load(SERVER).database.model_fields_set
    assert "url" not in load("pool_size: 3").database.model_fields_set


@pytest.mark.anyio
async def test_the_parts_of_a_socket_reach_a_server(load: Load, postgres_url: str) -> None:
    given = parse_url(postgres_url)
    (_, arguments) = asyncpg_dialect().create_connect_args(given)
    host, user = arguments["host"], arguments["user"]
    section = (
        f"backend: postgresql, host: '{host}', name: '{given.database}', user: '{user}', password: '${{PASSWORD}}'"
    )
    options = load(section, PASSWORD=given.password or "none").database.options()
    if not host.startswith("/"):
        pytest.skip("the server that was given listens on no socket")
    async with open_database(options.url) as database, database.reading() as connection:
        assert (await connection.exec_driver_sql("SELECT current_user")).scalar() == user


@pytest.mark.parametrize(
    ("host", "expected"),
    [("::1", "postgresql://[::1]:5432/n"), ("/run/pg", "postgresql:///n?host=/run/pg&port=5432")],
)
def test_unusual_hosts(load: Load, host: str, expected: str) -> None:
    assert load(f"backend: postgresql, host: '{host}', name: n").database.options().url == expected


@pytest.mark.parametrize(
    ("section", "messages"),
    [
        ("backend: mysql, host: h, ssl_mode: 3", ["database.backend: is not supported: positions, state and rows"]),
        ("backend: postgres", ["database.backend: is not supported: .*; write postgresql; found 'postgres'"]),
        ("backend: [x]", ["database.backend: must be sqlite or postgresql"]),
        ("host: h, name: n", [r"database.backend is missing; write backend: ... \(sqlite or postgresql\)"]),
        ("backend: postgresql", ["database.(host|name) is missing", "database.(host|name) is missing"]),
        ("backend: postgresql, host: , name: n", ["database.host: must be text; found nothing"]),
        (f"{SERVER}, port: http", ["database.port: must be a whole number; found 'http'"]),
        (f"{SERVER}, port: 65536", ["database.port: must be less than or equal to 65535"]),
        ("url: 'postgresql://h/n', host: g", ["database.host: stands beside url, .*; leave one of them out"]),
        ("url: 'postgresql://h/n', path: g", ["database.path: stands beside url, .*; leave one of them out"]),
        ("backend: sqlite, path: ':memory:'", ["database.path: is a database in memory"]),
        ("backend: sqlite, path: ''", ["database.path: is a database in memory"]),
        ("backend: sqlite, path: x, host: h", ["database.host: is no option of SQLite: it is a file; write path"]),
        (f"{SERVER}, path: x", ["database.path: is no option of PostgreSQL: it is a server; write host and name"]),
        (f"{SERVER}, busy_timeout: 1", ["database.busy_timeout: is no option of PostgreSQL: .* write lock_timeout"]),
        ("lock_timeout: 1s", ["database.lock_timeout: is no option of SQLite: .* write busy_timeout; found '1s'"]),
        ("url: 'sqlite:////x', ssl_mode: require", ["database.ssl_mode: is no option of SQLite"]),
        (f"{SERVER}, ssl_mode: verify", ["database.ssl_mode: must be 'disable', 'require', 'verify-ca' or"]),
        (f"{SERVER}, ssl_root_cert: x", ["database.ssl_root_cert: has no effect unless ssl_mode is verify-ca or"]),
        ("url: 'postgresql://h/n?ssl=require', ssl_mode: require", ["database.ssl_mode: stands in the url, too"]),
        (f"{SERVER}, statement_timeout: 0.5ms", ["database.statement_timeout: must be 0 or at least 1ms"]),
        (f"{SERVER}, statement_timeout: 30d", ["database.statement_timeout: must be less than or equal to 2147483"]),
        (f"{SERVER}, connect_timeout: 0", ["database.connect_timeout: must be greater than 0"]),
        (f"{SERVER}, synchronous_commit: off", ["database.synchronous_commit: must not be off: .* write local or on"]),
        (f"{SERVER}, synchronous_commit: always", ["database.synchronous_commit: must be 'local', 'remote_write'"]),
        ("synchronous_commit: on", ["database.synchronous_commit: is no option of SQLite"]),
        ("pool_timeout: soon", ["database.pool_timeout: must be a duration such as"]),
        ("pool_size: 0", ["database.pool_size: must be greater than or equal to 1"]),
        ("retry: 3", ["database.retry: must be a mapping; found 3"]),
        ("retry: {attempts: 0}", ["database.retry.attempts: must be greater than or equal to 1"]),
        ("retry: {attemps: 3}", ["database.retry has no field 'attemps'; did you mean 'attempts'"]),
        ("retry: {backoff: 2s, cap: 1s}", ["database.retry.cap: must not be shorter than backoff"]),
        ("ssl_mod: require", ["database has no field 'ssl_mod'; did you mean 'ssl_mode'"]),
        (
            f"{SERVER}, port: x, busy_timeout: 1, pool_size: y, retry: {{cap: 0, x: 1}}",
            ["database.port", "database.busy_timeout", "database.pool_size", "database.retry.cap", "database.retry has"],
        ),
    ],
)  # fmt: skip
def test_every_mistake_is_refused_at_its_key(wrong: Wrong, section: str, messages: list[str]) -> None:
    found = wrong(section)
    assert len(found) == len(messages), found
    for said, message in zip(found, messages, strict=True):
        assert re.match(message, said), said


def test_a_stronger_source_s_address_replaces_the_weaker_one(load: Load, wrong: Wrong, tmp_path: Path) -> None:
    server = f"{SERVER}, password: '${{NOT_SET}}', ssl_mode: require, pool_size: 3"
    options = load(server, {"url": "sqlite:///x.db"}, AUTOCODER_DATABASE__HOST="other").database.options()
    assert options == DatabaseOptions(f"sqlite:///{tmp_path}/x.db", pool_size=3)
    in_parts = {"AUTOCODER_DATABASE__BACKEND": "sqlite", "AUTOCODER_DATABASE__PATH": "y.db"}
    assert load("url: 'postgresql://h/n', lock_timeout: 1", **in_parts).database.options().url.endswith("/y.db")
    (message,) = wrong("url: 'postgresql://h/n'", AUTOCODER_DATABASE__PASSWORD="hunter22")
    assert message.startswith("database.password: stands beside url") and "hunter22" not in message
    (message,) = wrong("url: 'sqlite:///x.db'", AUTOCODER_DATABASE__SSL_MODE="require")
    assert "is no option of SQLite" in message


def test_a_variable_that_is_not_set_is_the_only_complaint(wrong: Wrong) -> None:
    for section in (
        "backend: '${NO}', host: h, ssl_mode: require",
        "backend: postgresql, host: '${NO}', name: n",
        "url: '${NO}', ssl_mode: require",
        f"{SERVER}, port: '${{NO}}'",
        f"{SERVER}, password: '${{NO}}'",
    ):
        (message,) = wrong(section)
        assert message.startswith("the variable NO is not set")


def test_made_directly_a_section_is_judged_the_same() -> None:
    options = Settings(database={"backend": "postgresql", "host": "h", "name": "n", "password": "hunter22"})
    assert "hunter22" not in repr(options) and "hunter22" in options.database.options().url
    with pytest.raises(ValidationError) as caught:
        Settings(database={"backend": "sqlite", "path": "x", "password": "hunter22", "pool_size": 0})
    assert {each["loc"] for each in caught.value.errors()} == {("database", "password"), ("database", "pool_size")}
    assert "hunter22" not in str(caught.value)


@given(
    user=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
    password=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=4),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
)
def test_any_text_can_be_a_part(user: str, password: str, name: str) -> None:
    section = {"backend": "postgresql", "host": "h", "name": name, "user": user, "password": password}
    options = Settings(database=section).database.options()
    parsed = parse_url(options.url)
    assert (parsed.username, parsed.password, parsed.host, parsed.database) == (user, password, "h", name)
    assert f":{parsed.password}@" not in repr(options) and ":***@h" in repr(options) and options.shown in repr(options)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter22@h/n", "postgresql://u:***@h/n"),
        ("postgresql://u:hun ter22@h/n", "postgresql://u:***@h/n"),
        ("postgresql://u@h/n?password=hunter22&ssl=require", "postgresql://u@h/n?password=***&ssl=require"),
        ("postgresql:///n?host=/run/pg", "postgresql:///n?host=/run/pg"),
        ("sqlite:////a:b@c/x.db?timeout=3", "sqlite:////a:b@c/x.db?timeout=3"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == DatabaseOptions(url).shown == shown
    assert f"url='{shown}'" in repr(DatabaseOptions(url))
