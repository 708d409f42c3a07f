"""The settings of an environment: the database, logging, and what changes in pipelines.

They come, each beating the one before, from the defaults, `config/<environment>.yaml` in the project folder,
environment variables (`AUTOCODER_DATABASE__URL`), and explicit arguments. pydantic-settings merges them and judges them
once, so a mistake is reported where it was made, and all of them together.

A pack may have a section of its own: an entry point of the group `autocoder.settings`, called as the section, names its
pydantic model. It is imported only where something is set in that section.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, InstanceOf, SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from autocoder.database_settings import (
    MODEL_CONFIG,
    WORKING_FOLDER,
    DatabaseSettings,
    SqliteSettings,
    check_database_url,
)
from autocoder.errors import Place, Problem, did_you_mean
from autocoder.importing import project_folder
from autocoder.masking import Redactor, url_secrets
from autocoder.reading import NAME, Reader
from autocoder.settings_sources import DELIMITER, PREFIX, DocumentSource, Origin, VariablesSource
from autocoder.validation import Subject, explain, written_secrets
from autocoder.yaml_document import MappingNode, from_python, mapping, read_yaml, show

__all__ = ["DatabaseSettings", "LoggingSettings", "Settings", "check_database_url", "load_settings"]

ENVIRONMENT_VARIABLE: Final = "AUTOCODER_ENV"
DEVELOPMENT: Final = "development"
SECTIONS: Final = ("database", "logging", "pipelines")
SETTINGS_GROUP: Final = "autocoder.settings"
# Sources are made by a class method that knows nothing of the instance, so what they read from is handed over here.
_ORIGIN: Final[ContextVar[Origin | None]] = ContextVar("_ORIGIN", default=None)


Section = TypeVar("Section", bound=BaseModel)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class LoggingSettings(BaseModel):
    """What is logged to stderr, and how."""

    model_config = MODEL_CONFIG

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"


class Settings(BaseSettings):
    """The settings that hold; `load_settings` finds them and explains what is wrong with them.

    `pipelines` are overrides by the name of the pipeline, for `load_pipeline`; `secrets` must never be shown; `file` is
    None where the environment has none. Made directly, they are the defaults and what is given, for the process's
    variables are not looked at; raises pydantic's ValidationError.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
    )

    database: DatabaseSettings = Field(default_factory=SqliteSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    pipelines: dict[str, InstanceOf[MappingNode]] = Field(default_factory=dict, repr=False)
    environment: str = DEVELOPMENT
    secrets: frozenset[str] = Field(default=frozenset(), repr=False)
    file: Path | None = None

    def __init__(self, origin: Origin | None = None, folder: Path | None = None, **values: Any) -> None:
        """`values` beat what `origin` holds; relative paths count from `folder`, or else from the working folder."""
        handed_over = _ORIGIN.set(origin), WORKING_FOLDER.set(folder)
        try:
            super().__init__(**values)
        finally:
            _ORIGIN.reset(handed_over[0])
            WORKING_FOLDER.reset(handed_over[1])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values beat variables, and these the document; the process's own variables are left out."""
        origin = _ORIGIN.get()
        if origin is None:
            return (init_settings,)
        sections = (*SECTIONS, *(each.name for each in _sections_of_packs()))
        return init_settings, VariablesSource(settings_cls, origin), DocumentSource(settings_cls, origin, sections)

    def section(self, name: str, model: type[Section]) -> Section:
        """A pack's own section, its defaults where nothing is set."""
        found = getattr(self, name, None)
        return found if isinstance(found, model) else model()


def models_of_sections() -> dict[str, type[BaseModel]]:
    """What each section of the settings is judged by, but `pipelines`; those of installed packs included."""
    packs = {each.name: each.load() for each in _sections_of_packs()}
    return {"logging": LoggingSettings, **packs}


def _sections_of_packs() -> list[EntryPoint]:
    return [each for each in entry_points(group=SETTINGS_GROUP) if each.name not in Settings.model_fields]


def _settings_for(document: MappingNode, environ: Mapping[str, str]) -> type[Settings]:
    """The settings with the sections of those packs for which something is set."""
    variables = [name.upper() for name in environ]
    fields: dict[str, Any] = {}
    for each in _sections_of_packs():
        begins = f"{PREFIX}{each.name}{DELIMITER}".upper()
        if document.find(each.name) is not None or any(name.startswith(begins) for name in variables):
            model = each.load()
            fields[each.name] = (model, Field(default_factory=model))
    return create_model("Settings", __base__=Settings, **fields) if fields else Settings


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
    reader = Reader()
    document = mapping(place, []) if file is None else _read(reader, file, place)
    if document is None:
        return None, reader.problems
    given = dict(explicit or {})
    origin = Origin(environ, document, reader, [from_python(given, Place("arguments"))])
    failure: ValidationError | None = None
    settings: Settings | None = None
    model = _settings_for(document, environ)
    try:
        settings = model(origin, folder, **{**given, "environment": name, "file": file})
    except ValidationError as error:
        failure = error
    tree = origin.tree()
    hidden = {*origin.secrets, *written_secrets(tree, model)}
    if failure is not None:
        reader.problems.extend(explain(failure, Subject(model, tree, tree.place, "", frozenset(hidden))))
    if settings is None or reader.problems:
        redact = Redactor(hidden)
        return None, [each.redacted(redact) for each in dict.fromkeys(reader.problems)]
    passwords = url_secrets(settings.database.url.get_secret_value()) | _secrets_of_packs(settings)
    return settings.model_copy(update={"secrets": frozenset(origin.secrets | passwords)}), []


def _secrets_of_packs(settings: Settings) -> frozenset[str]:
    """What the sections of packs hold in masking types; of URLs the passwords, too, which alone may turn up in errors."""
    values = (getattr(settings, name) for name in type(settings).model_fields if name not in Settings.model_fields)
    written = [each.get_secret_value() for section in values for _, each in section if isinstance(each, SecretStr)]
    return frozenset(written).union(*(url_secrets(each) for each in written if "://" in each))


def _read(reader: Reader, file: Path, place: Place) -> MappingNode | None:
    """The document of a file, empty where that holds nothing but comments; None where it is of no use."""
    root, problems = read_yaml(file, place.file)
    reader.problems.extend(each for each in problems if each.what != "is empty")
    if root is None:
        return None if reader.problems else mapping(place, [])
    if isinstance(root, MappingNode):
        return root
    reader.refuse(root.place, "settings must be a mapping", show(root), f"its keys: {', '.join(SECTIONS)}")
    return None


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def _find_file(name: str, folder: Path, chosen_by: str) -> tuple[Path | None, list[Problem]]:
    configs = project_folder(folder) / "config"
    file = configs / f"{name}.yaml"
    if NAME.fullmatch(name) and (
        file.exists() or file.is_symlink()
    ):  # one that cannot be read is told, not passed over
        return file, []
    if name == DEVELOPMENT:
        return None, []
    existing = sorted({DEVELOPMENT, *(each.stem for each in configs.glob("*.yaml"))})
    cure = f"{did_you_mean(name, existing, plural='environments')}; or write {_shown(file, folder)}"
    return None, [Problem(Place(chosen_by), "there is no such environment", repr(name), cure)]
