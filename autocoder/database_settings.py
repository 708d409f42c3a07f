"""The `database` section of the settings: its address, as a URL or in parts, and how it is used.

What SQLite and PostgreSQL do not share is refused with the reason, rather than taken and left without effect. Only what
can be seen from the text is judged; whether the database answers is found out when it is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from autocoder.database_options import DatabaseOptions, masked_url
from autocoder.durations import Duration

DEFAULT_URL: Final = "sqlite:///.autocoder/autocoder.db"
WORKING_FOLDER: Final[ContextVar[Path | None]] = ContextVar("WORKING_FOLDER", default=None)
"""What relative paths count from while settings are judged; the working folder of the process where it is not set."""

MODEL_CONFIG: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)
_DRIVERS: Final = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}
_FORMS: Final = "write sqlite:///path or postgresql://user@host/name"
_DEFAULTS: Final = DatabaseOptions("")


def check_database_url(url: str, folder: Path) -> str:
    """The URL with an absolute path, a relative one counting from `folder`; raises ValueError with the cure."""
    scheme, separator, rest = url.strip().partition("://")
    backend, _, driver = scheme.lower().partition("+")
    if not separator:
        raise ValueError(f"is no database URL; {_FORMS}")
    if backend not in _DRIVERS:
        near = "write postgresql://" if backend == "postgres" else _FORMS
        raise ValueError(f"names a database that is not supported: {backend}; {_WHY_THESE}; {near}")
    if driver not in ("", _DRIVERS[backend]):
        raise ValueError(f"names the driver {driver}, but autocoder brings its own; write {backend}://")
    return _sqlite_url(rest, folder) if backend == "sqlite" else _postgresql_url(rest)


_WHY_THESE: Final = (
    "positions, state and rows are committed in one transaction, and the tables for that exist for SQLite and "
    "PostgreSQL only"
)
_IN_MEMORY: Final = (
    "is a database in memory, which is lost with the process; {cure}, or run without a database to keep nothing"
)


def _sqlite_url(rest: str, folder: Path) -> str:
    path, mark, query = rest.partition("?")
    if path in ("", "/", "/:memory:") or path.startswith("/file:") or "mode=memory" in query:
        raise ValueError(_IN_MEMORY.format(cure="put the path of a file after three slashes"))
    if not path.startswith("/"):
        raise ValueError(f"needs three slashes before the path; write sqlite:///{path}")
    path = path[1:]
    absolute = Path(path).absolute() if path.startswith("/") else Path(_escaped(str(folder))) / path
    return f"sqlite:///{absolute}{mark}{query}"


def _escaped(path: str) -> str:
    """A path such that a URL means it, and no more escaped than it must be."""
    return path.replace("%", "%25").replace("?", "%3F")


def _postgresql_url(rest: str) -> str:
    unreadable = "cannot be read; write postgresql://user@host:5432/name, with % escapes in the password"
    try:
        parts = urlsplit(f"postgresql://{rest}")
        parts.port  # noqa: B018  a bad port is found when asked for
    except ValueError:
        raise ValueError(unreadable) from None
    if parts.netloc.count("@") > 1:  # whose is the second one: what reads it next may disagree, and show a password
        raise ValueError(f"{unreadable} (an @ is %40)")
    if parts.path in ("", "/"):
        raise ValueError("names no database; write postgresql://user@host/name")
    return f"postgresql://{rest}"


def _folder() -> Path:
    return WORKING_FOLDER.get() or Path.cwd()


def _checked_url(value: SecretStr) -> SecretStr:
    return SecretStr(check_database_url(value.get_secret_value(), _folder()))


def _sqlite_path(path: str) -> str:
    if not path or path == ":memory:" or path.startswith("file:"):
        raise ValueError(_IN_MEMORY.format(cure="write the path of a file"))
    return _absolute(path)


def _absolute(path: str) -> str:
    return str((_folder() / path).absolute())


def _acknowledged(mode: Any) -> Any:
    if mode == "off":
        raise ValueError("must not be off: a crash of the server would lose what was acknowledged; write local or on")
    return mode


def _limit(seconds: float) -> float:
    if 0 < seconds < 0.001:  # a server counts in milliseconds, and would take it for no limit at all
        raise ValueError("must be 0 or at least 1ms")
    return seconds


Url = Annotated[SecretStr, AfterValidator(_checked_url)]
Wait = Annotated[Duration, Field(gt=0)]
Lease = Annotated[Duration, Field(ge=1, le=86_400)]
Limit = Annotated[Duration, Field(le=2_147_483), AfterValidator(_limit)]
SynchronousCommit = Annotated[Literal["local", "remote_write", "on", "remote_apply"], BeforeValidator(_acknowledged)]
PoolSize = Annotated[int, Field(ge=1, le=1000)]
Filled = Annotated[str, Field(min_length=1)]
_URL_FORM: Final = "sqlite:///path or postgresql://user@host/name"


def _url_of_file(data: Mapping[str, Any]) -> SecretStr:
    return SecretStr(DEFAULT_URL if data["path"] is None else f"sqlite:///{_escaped(data['path'])}")


def _url_of_server(data: Mapping[str, Any]) -> SecretStr:
    host, user, password = data["host"] or "", quote(data["user"] or "", safe=""), data["password"]
    secret = quote(password.get_secret_value(), safe="") if password is not None else ""
    holder = f"{user}{':' if secret else ''}{secret}{'@' if user or secret else ''}"
    name = quote(data["name"] or "", safe="")
    if host.startswith("/"):
        return SecretStr(f"postgresql://{holder}/{name}?host={quote(host)}&port={data['port']}")
    address = f"[{host}]" if ":" in host else quote(host, safe="")
    return SecretStr(f"postgresql://{holder}{address}:{data['port']}/{name}")


class RetrySettings(BaseModel):
    """How a transaction is tried again that the database broke off: a lost connection, a deadlock, a locked file."""

    model_config = MODEL_CONFIG

    attempts: Annotated[int, Field(ge=1, le=100)] = _DEFAULTS.retry_attempts
    backoff: Wait = _DEFAULTS.retry_backoff
    cap: Wait = _DEFAULTS.retry_cap

    @field_validator("cap")
    @classmethod
    def _not_below_backoff(cls, cap: float, info: ValidationInfo) -> float:
        if cap < info.data.get("backoff", 0):
            raise ValueError("must not be shorter than backoff, the first wait")
        return cap


class SqliteSettings(BaseModel):
    """An embedded file: `url` alone or `path`, and how it is used. `url` is always there, its path absolute."""

    model_config = MODEL_CONFIG

    backend: Literal["sqlite"] = Field(default="sqlite", description="sqlite or postgresql")
    path: Annotated[str, AfterValidator(_sqlite_path)] | None = Field(default=None, description="the file")
    url: Url = Field(default_factory=_url_of_file, description=_URL_FORM)
    pool_size: PoolSize = _DEFAULTS.pool_size
    pool_timeout: Wait = _DEFAULTS.pool_timeout
    retry: RetrySettings = Field(default_factory=RetrySettings)
    lease: Lease = _DEFAULTS.lease
    keep_messages: Wait = _DEFAULTS.keep_messages
    keep_metrics: Wait = _DEFAULTS.keep_metrics
    keep_checkpoints: Annotated[int, Field(ge=0)] = _DEFAULTS.keep_checkpoints
    busy_timeout: Limit = _DEFAULTS.busy_timeout

    @property
    def shown(self) -> str:
        """The URL, for people."""
        return masked_url(self.url.get_secret_value())

    def options(self) -> DatabaseOptions:
        """The same as plain values."""
        return _options(self)


class PostgresqlSettings(BaseModel):
    """A server: `url` alone or its parts, and how it is used. `url` is always there."""

    model_config = MODEL_CONFIG

    backend: Literal["postgresql"] = Field(default="postgresql", description="sqlite or postgresql")
    host: Filled | None = Field(default=None, description="a name, an address, or the folder of a socket")
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    name: Filled | None = Field(default=None, description="the database's name on the server")
    user: str | None = None
    password: SecretStr | None = None
    url: Url = Field(default_factory=_url_of_server, description=_URL_FORM)
    pool_size: PoolSize = _DEFAULTS.pool_size
    pool_timeout: Wait = _DEFAULTS.pool_timeout
    retry: RetrySettings = Field(default_factory=RetrySettings)
    lease: Lease = _DEFAULTS.lease
    keep_messages: Wait = _DEFAULTS.keep_messages
    keep_metrics: Wait = _DEFAULTS.keep_metrics
    keep_checkpoints: Annotated[int, Field(ge=0)] = _DEFAULTS.keep_checkpoints
    connect_timeout: Wait = _DEFAULTS.connect_timeout
    statement_timeout: Limit = _DEFAULTS.statement_timeout
    lock_timeout: Limit = _DEFAULTS.lock_timeout
    idle_in_transaction_timeout: Limit = _DEFAULTS.idle_in_transaction_timeout
    synchronous_commit: SynchronousCommit | None = Field(
        default=None, description="when COMMIT answers; by default as the server says, but on where it says off"
    )
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] | None = None
    ssl_root_cert: Annotated[str, Field(min_length=1), AfterValidator(_absolute)] | None = None

    @field_validator("ssl_mode")
    @classmethod
    def _said_once(cls, mode: str | None, info: ValidationInfo) -> str | None:
        url = info.data.get("url")
        query = urlsplit(url.get_secret_value()).query if isinstance(url, SecretStr) else ""
        if mode is not None and any(each.startswith(("ssl=", "sslmode=")) for each in query.split("&")):
            raise ValueError("stands in the url, too; leave one of them out")
        return mode

    @field_validator("ssl_root_cert")
    @classmethod
    def _is_used(cls, path: str | None, info: ValidationInfo) -> str | None:
        mode = info.data.get("ssl_mode", "verify-ca")  # a mode that is wrong itself is no reason to doubt this
        if path is not None and mode not in ("verify-ca", "verify-full"):
            raise ValueError("has no effect unless ssl_mode is verify-ca or verify-full")
        return path

    @property
    def shown(self) -> str:
        """The URL without its passwords, for people."""
        return masked_url(self.url.get_secret_value())

    def options(self) -> DatabaseOptions:
        """The same as plain values."""
        return _options(self)


def _options(settings: SqliteSettings | PostgresqlSettings) -> DatabaseOptions:
    names = {each.name for each in dataclasses.fields(DatabaseOptions)} & type(settings).model_fields.keys() - {"url"}
    retry = settings.retry
    return DatabaseOptions(
        settings.url.get_secret_value(),
        retry_attempts=retry.attempts,
        retry_backoff=retry.backoff,
        retry_cap=retry.cap,
        **{name: getattr(settings, name) for name in names},
    )


DATABASE_MODELS: Final[Mapping[str, type[SqliteSettings] | type[PostgresqlSettings]]] = {
    "sqlite": SqliteSettings,
    "postgresql": PostgresqlSettings,
}
_PARTS: Final = frozenset({"backend", "path", "host", "port", "name", "user", "password"})
_A_FILE: Final = "it is a file; write path"
_NO_SERVER: Final = "it has no server that would stop one"
_NO_NETWORK: Final = "it is a file, and nothing travels"
_WHY_NOT: Final = {
    "host": _A_FILE,
    "port": _A_FILE,
    "name": _A_FILE,
    "user": "it is a file; the operating system says who may read it",
    "password": "it is a file; the operating system says who may read it",
    "connect_timeout": "it is a file, which is opened at once",
    "statement_timeout": _NO_SERVER,
    "idle_in_transaction_timeout": _NO_SERVER,
    "lock_timeout": "it locks the whole file; write busy_timeout",
    "synchronous_commit": "every commit is on the disk before it answers",
    "ssl_mode": _NO_NETWORK,
    "ssl_root_cert": _NO_NETWORK,
    "path": "it is a server; write host and name",
    "busy_timeout": "it has no file to wait for; write lock_timeout",
}


def _foreign(backend: str) -> frozenset[str]:
    """What the other backend alone knows."""
    own = DATABASE_MODELS[backend].model_fields.keys()
    return frozenset(name for model in DATABASE_MODELS.values() for name in model.model_fields if name not in own)


def _backend_of(section: Mapping[str, Any]) -> str | None:
    """The backend that a section names, None where it names none that we know."""
    url = section.get("url")
    if url is None:
        named = section.get("backend")
    else:
        text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
        named = text.strip().partition("://")[0].partition("+")[0].lower()
    return named if isinstance(named, str) and named in DATABASE_MODELS else None


def replaced_keys(above: Mapping[str, Any]) -> frozenset[str]:
    """The keys of a weaker source's section that `above` takes the ground from, besides those that it has itself.

    A URL replaces the parts of an address, and naming the backend replaces a URL; options of the other backend go, too:
    `--database sqlite:///scratch.db` works beside a file that says how to reach a server.
    """
    gone = _PARTS if "url" in above else frozenset({"url"}) if "backend" in above else frozenset[str]()
    backend = _backend_of(above)
    return gone | _foreign(backend) if backend is not None else gone


def read_database(value: Any) -> Any:
    """The section judged by the model of its backend; every mistake at once, each at its key."""
    if isinstance(value, SqliteSettings | PostgresqlSettings):
        return value
    if not isinstance(value, Mapping):
        return SqliteSettings.model_validate(value)  # which says that it must be a mapping
    says_where = "url" in value or not _PARTS.isdisjoint(value)
    backend = _backend_of(value) if says_where else "sqlite"
    refused = {**_refused_address(value, backend), **_refused_options(value, backend)}
    # Where nobody knows the backend, what only one of them takes cannot be judged; its name may be right.
    unjudged = frozenset[str]().union(*map(_foreign, DATABASE_MODELS)) if backend is None else frozenset()
    rest = {key: each for key, each in value.items() if key not in refused and key not in unjudged - {"url"}}
    errors = [InitErrorDetails(type=said, loc=(key,), input=value.get(key)) for key, said in refused.items()]
    settings: SqliteSettings | PostgresqlSettings | None = None
    try:
        settings = DATABASE_MODELS[backend or "sqlite"].model_validate(rest)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A URL that cannot be made out of parts, for one of them is wrong, is no mistake of its own.
        derived = [each for each in found if each["loc"] == ("url",) and "url" not in value]
        errors += [_again(each) for each in found if each not in derived]
        errors = errors or [_again(each) for each in derived]
    if errors or settings is None:
        raise ValidationError.from_exception_data("database", errors, hide_input=True)
    if says_where:  # an address in parts is as much chosen as a URL
        settings.model_fields_set.add("url")
    return settings


def _refused_address(value: Mapping[str, Any], backend: str | None) -> dict[str, PydanticCustomError]:
    if "url" in value:
        said = _error("stands beside url, which says it all; leave one of them out")
        return {key: said for key in value if key in _PARTS}
    refused: dict[str, PydanticCustomError] = {}
    if backend is None:
        named = value.get("backend")
        near = "write postgresql" if named in ("postgres", "pg") else "write sqlite or postgresql"
        known = isinstance(named, str)
        refused["backend"] = (
            _MISSING
            if "backend" not in value
            else _error(f"is not supported: {_WHY_THESE}; {near}" if known else "must be sqlite or postgresql")
        )
    for key in ("host", "name") if backend == "postgresql" else ():
        if value.get(key) is None:
            refused[key] = _NO_TEXT if key in value else _MISSING
    return refused


def _refused_options(value: Mapping[str, Any], backend: str | None) -> dict[str, PydanticCustomError]:
    if backend is None:
        return {}
    shown = "SQLite" if backend == "sqlite" else "PostgreSQL"
    foreign = _foreign(backend) - (_PARTS if "url" in value else frozenset())  # those were refused already
    return {key: _error(f"is no option of {shown}: {_WHY_NOT[key]}") for key in value if key in foreign}


_MISSING: Final = PydanticCustomError("missing", "Field required")
_NO_TEXT: Final = PydanticCustomError("string_type", "Input should be a valid string")


def _error(said: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{error}", {"error": said})


def _again(error: ErrorDetails) -> InitErrorDetails:
    """An error that was raised already, to be raised again together with others."""
    said = PydanticCustomError(error["type"], error["msg"], error.get("ctx"))
    return InitErrorDetails(type=said, loc=error["loc"], input=error["input"])


DatabaseSettings = Annotated[SqliteSettings | PostgresqlSettings, BeforeValidator(read_database)]
"""Where pipelines keep positions, state, durable channels and dead letters: a model for each backend."""
