"""How a database is opened and used, as plain values: knows nothing of where settings come from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from urllib.parse import unquote

from autocoder.masking import MASK, is_secret_name


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """Everything that opening a database needs. Its repr masks every password of the URL.

    Times are in seconds. An option of the other backend keeps its default and means nothing.

    - `url`: what SQLAlchemy reads, without a driver: `sqlite:////absolute/path`, `postgresql://user:password@host/name`.
    - `pool_size`: the most connections held open; on SQLite those that read, beside the one that writes.
    - `pool_timeout`: the longest wait for a connection of the pool.
    - `retry_attempts` (PostgreSQL): how often opening is tried at the start, the first time included. In mid run a commit is
      tried until it succeeds: nothing is lost by waiting.
    - `retry_backoff`, `retry_cap`: the wait before the second try, doubled before each further one, up to the cap.
    - `lease`: how long an instance owns its pipeline without renewing that, which it does three times as often. It is how
      long another one waits at most for the place of one that hangs; the place of one that has died is free at once.
    - `keep_messages`, `keep_metrics`: how long completed messages and metrics are kept before retention deletes them.
    - `keep_checkpoints`: how many checkpoints with an expiry stay of each pipeline, the newest, even when they have expired.
    - `connect_timeout` (PostgreSQL): the longest time that making a connection may take.
    - `statement_timeout`, `lock_timeout`, `idle_in_transaction_timeout` (PostgreSQL): 0 is no limit, else 1 ms or more.
    - `synchronous_commit` (PostgreSQL): when COMMIT answers: local, remote_write, on or remote_apply, as the server knows
      them. None leaves it to the server, but for `off`, under which a crash of the server loses what was acknowledged:
      there it is `on`.
    - `busy_timeout` (SQLite): the longest wait for the lock on the file; 0 is none.
    - `ssl_mode` (PostgreSQL): disable, require, verify-ca or verify-full; None leaves it to the driver and the URL.
    - `ssl_root_cert` (PostgreSQL): the absolute path of the certificates that the server's is judged by; None: the
      system's.
    """

    url: str
    pool_size: int = 5
    pool_timeout: float = 30.0
    retry_attempts: int = 5
    retry_backoff: float = 0.1
    retry_cap: float = 5.0
    lease: float = 15.0
    keep_messages: float = 604_800.0
    keep_metrics: float = 2_592_000.0
    keep_checkpoints: int = 10
    connect_timeout: float = 10.0
    statement_timeout: float = 60.0
    lock_timeout: float = 10.0
    idle_in_transaction_timeout: float = 15.0
    synchronous_commit: str | None = None
    busy_timeout: float = 10.0
    ssl_mode: str | None = None
    ssl_root_cert: str | None = None

    @property
    def backend(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.partition("://")[0].partition("+")[0]

    @property
    def shown(self) -> str:
        """The URL without its passwords, for people."""
        return masked_url(self.url)

    def __repr__(self) -> str:
        options = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.name != "url")
        return f"DatabaseOptions(url={self.shown!r}, {', '.join(options)})"


def masked_url(url: str) -> str:
    """A database URL without its passwords: the user's, and those among its options (`?password=...`)."""
    scheme, separator, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    holder, at, host = authority.rpartition("@")
    user, colon, _ = holder.partition(":")
    path, mark, query = tail.partition("?")
    shown = "&".join(_masked_option(each) for each in query.split("&"))
    return f"{scheme}{separator}{user}{colon}{MASK if colon else ''}{at}{host}{slash}{path}{mark}{shown}"


def _masked_option(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}={MASK}" if equals and value and is_secret_name(unquote(name)) else option
