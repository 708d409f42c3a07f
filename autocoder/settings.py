"""The settings of an environment: the database, logging, and what changes in pipelines.

They come, each beating the one before, from the defaults, `config/<environment>.yaml` in the project folder,
environment variables (`AUTOCODER_DATABASE__URL`), and explicit arguments. All of them are laid over one another as a
tree that knows its places, and judged once: so a variable in a file that something else replaces need not be set, and
a mistake is reported where it was made. (pydantic-settings does not fit: its sources read the process's variables
rather than those given, and hand on values without the file and line that they came from.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic import ValidationInfo as Info

from autocoder.errors import Place, Problem, did_you_mean
from autocoder.importing import project_folder
from autocoder.interpolation import interpolate_tree
from autocoder.masking import Redactor
from autocoder.overrides import merge, read_overrides
from autocoder.reading import NAME, Reader
from autocoder.validation import Subject, explain, has_holes, written_secrets
from autocoder.yaml_document import Entry, MappingNode, Node, from_python, mapping, read_yaml, show, to_python

ENVIRONMENT_VARIABLE: Final = "AUTOCODER_ENV"
PREFIX: Final = "AUTOCODER_"
DEVELOPMENT: Final = "development"
DEFAULT_URL: Final = "sqlite:///.autocoder/autocoder.db"
_DRIVERS: Final = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}
_FORMS: Final = "write sqlite:///path or postgresql://user@host/name"


def check_database_url(url: str, folder: Path) -> str:
    """The URL with an absolute path, a relative one counting from `folder`; raises ValueError with the cure.

    Only what can be seen from the text is judged; whether the database answers is found out when it is opened.
    """
    scheme, separator, rest = url.strip().partition("://")
    backend, _, driver = scheme.lower().partition("+")
    if not separator:
        raise ValueError(f"is no database URL; {_FORMS}")
    if backend not in _DRIVERS:
        near = "write postgresql://" if backend == "postgres" else _FORMS
        raise ValueError(
            f"names a database that is not supported: {backend}; positions, state and rows are committed in one "
            f"transaction, which is tested on SQLite and PostgreSQL only; {near}"
        )
    if driver not in ("", _DRIVERS[backend]):
        raise ValueError(f"names the driver {driver}, but autocoder brings its own; write {backend}://")
    return _sqlite_url(rest, folder) if backend == "sqlite" else _postgresql_url(rest)


def _sqlite_url(rest: str, folder: Path) -> str:
    path, mark, query = rest.partition("?")
    if path in ("", "/", "/:memory:") or path.startswith("/file:") or "mode=memory" in query:
        raise ValueError(
            "is a database in memory, which is lost with the process; put the path of a file after three slashes, "
            "or run without a database to keep nothing"
        )
    if not path.startswith("/"):
        raise ValueError(f"needs three slashes before the path; write sqlite:///{path}")
    return f"sqlite:///{(folder / path[1:]).absolute()}{mark}{query}"


def _postgresql_url(rest: str) -> str:
    try:
        parts = urlsplit(f"postgresql://{rest}")
        parts.port  # noqa: B018  a bad port is found when asked for
    except ValueError:
        raise ValueError(
            "cannot be read; write postgresql://user@host:5432/name, with % escapes in the password"
        ) from None
    if parts.path in ("", "/"):
        raise ValueError("names no database; write postgresql://user@host/name")
    return f"postgresql://{rest}"


def _database_url(value: SecretStr, info: Info) -> SecretStr:
    folder = (info.context or {}).get("folder") or Path.cwd()
    return SecretStr(check_database_url(value.get_secret_value(), folder))


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_CONFIG: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class DatabaseSettings(BaseModel):
    """Where pipelines keep positions, state, durable channels and dead letters."""

    model_config = _CONFIG

    url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        default=SecretStr(DEFAULT_URL), description="sqlite:///path or postgresql://user@host/name"
    )

    @property
    def shown(self) -> str:
        """The URL without its password, for people."""
        return Redactor()(self.url.get_secret_value())


class LoggingSettings(BaseModel):
    """What is logged to stderr, and how."""

    model_config = _CONFIG

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"


class _Values(BaseModel):
    model_config = _CONFIG

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that hold. `pipelines` are overrides by the name of the pipeline, for `load_pipeline`."""

    environment: str = DEVELOPMENT
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    pipelines: Mapping[str, Node] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    file: Path | None = None


def load_settings(
    environment: str | None = None,
    *,
    environ: Mapping[str, str],
    folder: Path | None = None,
    explicit: Mapping[str, Any] | None = None,
) -> tuple[Settings | None, list[Problem]]:
    """The settings of an environment, and everything wrong with them (then None).

    `environment` beats `AUTOCODER_ENV`; without both it is development, which needs no file. `folder` is the working
    folder; `explicit` are values from the command line, such as `{"database": {"url": ...}}`.
    """
    folder = (folder or Path.cwd()).absolute()
    name = environment or environ.get(ENVIRONMENT_VARIABLE) or DEVELOPMENT
    file, problems = _find_file(name, folder, ENVIRONMENT_VARIABLE if environment is None else "--env")
    if problems:
        return None, problems
    place = Place(_shown(file, folder) if file is not None else f"environment {name}")
    root: Node | None = None
    if file is not None:
        root, problems = read_yaml(file, place.file)
        problems = [each for each in problems if each.what != "is empty"]  # a file of comments changes nothing
        if root is None and problems:
            return None, problems
    reader = Reader(problems)
    if root is not None and not isinstance(root, MappingNode):
        reader.refuse(root.place, "settings must be a mapping", show(root), "its keys: database, logging, pipelines")
        return None, problems
    layers = [root or mapping(place, []), *_from_environ(reader, environ)]
    if explicit:
        layers.append(from_python(explicit, Place("arguments")))
    merged = layers[0]
    for layer in layers[1:]:
        merged = merge(merged, layer)
    return _judge(reader, merged, environ, name=name, folder=folder, file=file)


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def _find_file(name: str, folder: Path, chosen_by: str) -> tuple[Path | None, list[Problem]]:
    configs = project_folder(folder) / "config"
    file = configs / f"{name}.yaml"
    if NAME.fullmatch(name) and file.is_file():
        return file, []
    if name == DEVELOPMENT:
        return None, []
    existing = sorted({DEVELOPMENT, *(each.stem for each in configs.glob("*.yaml"))})
    cure = f"{did_you_mean(name, existing, plural='environments')}; or write {_shown(file, folder)}"
    return None, [Problem(Place(chosen_by), "there is no such environment", repr(name), cure)]


def _from_environ(reader: Reader, environ: Mapping[str, str]) -> list[Node]:
    """A tree for each variable such as `AUTOCODER_DATABASE__URL`; those without `__` mean something else."""
    found: list[Node] = []
    known = [
        f"{PREFIX}{section}__{key}".upper()
        for section, field_ in _Values.model_fields.items()
        for key in _fields_of(field_.annotation)
    ]
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or "__" not in name:
            continue
        place = Place(f"environment variable {name}")
        if name not in known:
            reader.refuse(place, "is no setting", cure=did_you_mean(name, known))
            continue
        section, key = name.removeprefix(PREFIX).lower().split("__")
        found.append(from_python({section: {key: value}}, place))
    return found


def _fields_of(model: Any) -> list[str]:
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _judge(
    reader: Reader, merged: Node, environ: Mapping[str, str], *, name: str, folder: Path, file: Path | None
) -> tuple[Settings | None, list[Problem]]:
    filled = interpolate_tree(merged, environ)
    reader.problems.extend(filled.problems)
    assert isinstance(filled.node, MappingNode)  # noqa: S101  layers of mappings
    known = [*_Values.model_fields, "pipelines"]
    entries = reader.keys(filled.node, known, "the settings")
    pipelines = _pipelines(reader, entries.pop("pipelines", None))
    # A section that is empty (its lines commented out) is a section left out.
    written = [each for each in entries.values() if to_python(each.value) is not None or has_holes(each.value)]
    node = mapping(filled.node.place, written)
    hidden = {*filled.secrets, *written_secrets(filled.node, _Values)}
    try:
        # The default of the database is judged like a written one: its path counts from the same folder.
        values = _Values.model_validate({"database": {}, **to_python(node)}, context={"folder": folder})
    except ValidationError as error:
        subject = Subject(_Values, node, node.place, "", frozenset(hidden))
        reader.problems.extend(explain(error, subject))
        values = None
    redact = Redactor(hidden)
    if values is None or reader.problems:
        return None, [each.redacted(redact) for each in dict.fromkeys(reader.problems)]
    secrets = filled.secrets | _passwords(values.database.url.get_secret_value())
    return Settings(name, values.database, values.logging, pipelines, secrets, file), []


def _passwords(url: str) -> frozenset[str]:
    """The password of a URL, as it is written there and as it is meant."""
    password = urlsplit(url).password
    return frozenset({password, unquote(password)} if password else ())


def _pipelines(reader: Reader, entry: Entry | None) -> dict[str, Node]:
    if entry is None or to_python(entry.value) is None:
        return {}
    if not isinstance(entry.value, MappingNode):
        reader.refuse(entry.value.place, "pipelines must be a mapping from names to overrides", show(entry.value))
        return {}
    return {each.key: read_overrides(reader, each.value) for each in entry.value if reader.name(each)}
