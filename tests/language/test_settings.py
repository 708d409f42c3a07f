"""The settings of an environment: files, variables, arguments, and their mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from autocoder.database_options import DatabaseOptions
from autocoder.database_settings import PostgresqlSettings, SqliteSettings
from autocoder.errors import Problem
from autocoder.loading import load_pipeline
from autocoder.registry import Registry
from autocoder.settings import Settings, check_database_url, load_settings

CONFIGS = Path(__file__).parents[2] / "config"
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes configuration files of a project: `write(development="...")`."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "config").mkdir()

    def writer(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / "config" / f"{name}.yaml").write_text(text)

    return writer


def settings(folder: Path, environment: str | None = None, **environ: str) -> Settings:
    found, problems = load_settings(environment, environ=environ, folder=folder)
    assert found is not None and not problems, problems
    return found


def wrong(folder: Path, environment: str | None = None, **environ: str) -> list[str]:
    found, problems = load_settings(environment, environ=environ, folder=folder)
    assert found is None
    return [str(each) for each in problems]


def url(found: Settings) -> str:
    return found.database.url.get_secret_value()


def test_without_any_of_it(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.environment, found.file, dict(found.pipelines)) == ("development", None, {})
    assert url(found) == f"sqlite:///{tmp_path}/.autocoder/autocoder.db"
    assert (found.logging.level, found.logging.format) == ("info", "text")


def test_the_order_of_precedence(tmp_path: Path, write: Write) -> None:
    write(staging="database: {url: 'sqlite:///file.db'}\nlogging: {level: debug}\n")
    assert url(settings(tmp_path, "staging")) == f"sqlite:///{tmp_path}/file.db"
    variables = {"AUTOCODER_DATABASE__URL": "postgresql://h/n", "AUTOCODER_ENV": "staging"}
    found = settings(tmp_path, **variables)
    assert url(found) == "postgresql://h/n" and found.logging.level == "debug" and found.environment == "staging"
    explicit = {"database": {"url": "sqlite:////abs.db"}}
    given, _ = load_settings(environ=variables, folder=tmp_path, explicit=explicit)
    assert given is not None and url(given) == "sqlite:////abs.db"
    write(testing="")
    assert settings(tmp_path, "testing", **variables).environment == "testing"


def test_pydantic_settings_asks_the_sources_in_the_order_of_precedence(tmp_path: Path, write: Write) -> None:
    assert issubclass(Settings, BaseSettings) and isinstance(settings(tmp_path), BaseSettings)
    write(
        development="database: {backend: postgresql, host: file, port: 1, name: file, retry: {attempts: 2, cap: 9}}\n"
        "logging: {level: debug, format: json}\n"
    )
    variables = {
        "AUTOCODER_DATABASE__HOST": "variable",
        "AUTOCODER_DATABASE__PORT": "2",
        "AUTOCODER_DATABASE__RETRY__ATTEMPTS": "3",
        "AUTOCODER_LOGGING__LEVEL": "ERROR",
    }
    found, problems = load_settings(environ=variables, folder=tmp_path, explicit={"database": {"host": "explicit"}})
    assert found is not None and problems == []
    assert url(found) == "postgresql://explicit:2/file"
    assert (found.database.retry.attempts, found.database.retry.cap) == (3, 9)
    assert (found.logging.level, found.logging.format) == ("error", "json")


def test_only_the_variables_that_are_given_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCODER_LOGGING__LEVEL", "debug")
    assert settings(tmp_path).logging.level == Settings().logging.level == "info"
    assert settings(tmp_path, autocoder_logging__level="debug").logging.level == "info"


def test_a_stronger_source_s_mistake_stands_at_its_place(tmp_path: Path, write: Write) -> None:
    write(development="database: {retry: {attempts: none}}\nlogging: {level: info, format: x}\n")
    variables = {"AUTOCODER_LOGGING__LEVEL": "loud", "AUTOCODER_DATABASE__RETRY__ATTEMPTS": "0"}
    found, problems = load_settings(environ=variables, folder=tmp_path, explicit={"database": {"retry": {"cap": 0}}})
    assert found is None and sorted(str(each).split(":")[0] for each in problems) == [
        "arguments",
        "config/development.yaml",
        "environment variable AUTOCODER_DATABASE__RETRY__ATTEMPTS",
        "environment variable AUTOCODER_LOGGING__LEVEL",
    ]


def test_what_only_loading_decides_cannot_be_set(tmp_path: Path, write: Write) -> None:
    write(development="environment: x\nfile: y\nsecrets: [z]\n")
    assert [each.partition("; ")[0] for each in wrong(tmp_path)] == [
        f"config/development.yaml:{line}:1: the settings has no key '{key}'"
        for line, key in enumerate(("environment", "file", "secrets"), 1)
    ]
    assert settings_are_default(tmp_path / "elsewhere", AUTOCODER_ENVIRONMENT="x", AUTOCODER_SECRETS="y")


def settings_are_default(folder: Path, **environ: str) -> bool:
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    found = settings(folder, **environ)
    return (found.environment, found.secrets, found.file) == ("development", frozenset(), None)


def test_the_project_folder_holds_the_files_and_paths_count_from_the_working_folder(
    tmp_path: Path, write: Write
) -> None:
    write(development="database: {url: 'sqlite:///x.db'}\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert url(settings(below)) == f"sqlite:///{below}/x.db"


def test_variables_in_files(tmp_path: Path, write: Write) -> None:
    write(production="database: {url: '${DB:?the database}'}\nlogging: {level: '${LEVEL:-WARNING}'}\n")
    found = settings(tmp_path, "production", DB="postgresql://u:p%2Fw@h/n")
    assert found.logging.level == "warning" and found.secrets == {"p%2Fw", "p/w"}
    assert wrong(tmp_path, "production") == [
        "config/production.yaml:1:17: the variable DB is not set: the database; set DB"
    ]
    assert url(settings(tmp_path, "production", AUTOCODER_DATABASE__URL="postgresql://h/n")) == "postgresql://h/n"


def test_the_password_is_never_shown(tmp_path: Path, write: Write) -> None:
    found = settings(tmp_path, AUTOCODER_DATABASE__URL="postgresql://user:hunter22@h/n")
    assert found.database.shown == "postgresql://user:***@h/n"
    assert "hunter22" not in repr(found) and "hunter22" not in str(found)
    write(development="database: {url: 'mysql://user:hunter22@h/n', urll: 'x:hunter22@y'}\n")
    messages = wrong(tmp_path)
    assert len(messages) == 2 and "hunter22" not in "".join(messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("databse: {}\n", "1:1: the settings has no key 'databse'; did you mean 'database'?"),
        ("database: {ulr: x}\n", "1:12: database has no field 'ulr'; did you mean 'url'?"),
        ("database: 3\n", "1:11: database: must be a mapping; found 3"),
        (
            "logging: {level: loud}\n",
            "1:18: logging.level: must be 'debug', 'info', 'warning' or 'error'; found 'loud'",
        ),
        ("logging: {format: jsn}\n", "found 'jsn'; did you mean 'json'?"),
        ("logging: {level: info}\nlogging: {level: debug}\n", "2:1: the key 'logging' stands here twice"),
        ("- a\n", "1:1: settings must be a mapping; found a list"),
        ("pipelines: 3\n", "1:12: pipelines must be a mapping from names to overrides; found 3"),
        ("pipelines: {p: {component: {}}}\n", "1:17: the overrides of a pipeline has no key 'component'"),
        ("pipelines: {p: {components: {a: {use: x}}}}\n", "1:34: the overrides of 'a' has no key 'use'"),
        ("pipelines: {p q: {}}\n", "1:13: a name is made of"),
        ("database: {url: ${URL}}\n", "in quotes"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, write: Write, text: str, message: str) -> None:
    write(development=text)
    found = wrong(tmp_path)
    assert any(message in each and each.startswith("config/development.yaml:") for each in found), found


def test_every_mistake_at_once(tmp_path: Path, write: Write) -> None:
    write(development="databse: {}\nlogging: {level: loud, format: '${NO}'}\npipelines: {p: {x: 1}}\n")
    assert len(wrong(tmp_path, AUTOCODER_DATABSE__URL="x", AUTOCODER_DATABASE__URL="y")) == 6


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("AUTOCODER_DATABSE__URL", "did you mean 'AUTOCODER_DATABASE__URL'?"),
        ("AUTOCODER_LOGGING__LEVL", "did you mean 'AUTOCODER_LOGGING__LEVEL'"),
        ("AUTOCODER_PIPELINES__X", "AUTOCODER_LOGGING__LEVEL"),
        ("AUTOCODER_DATABASE__URL__X", "did you mean 'AUTOCODER_DATABASE__URL'?"),
        ("AUTOCODER_DATABASE__RETRY", "AUTOCODER_DATABASE__RETRY__"),
        ("AUTOCODER_DATABASE__SSLMODE", "did you mean 'AUTOCODER_DATABASE__SSL_MODE'?"),
    ],
)
def test_unknown_variables(tmp_path: Path, name: str, cure: str) -> None:
    (message,) = wrong(tmp_path, **{name: "s3cret"})
    assert message.startswith(f"environment variable {name}: is no setting; ") and cure in message
    assert "s3cret" not in message


def test_variables_with_another_meaning_are_left_alone(tmp_path: Path) -> None:
    assert settings(tmp_path, AUTOCODER_ALLOW="x", AUTOCODER_DATABASE_URL="y", OTHER__NAME="z")


@pytest.mark.parametrize("name", ["prod", "../production", "production.yaml", ""])
def test_an_unknown_environment_lists_the_existing(tmp_path: Path, write: Write, name: str) -> None:
    write(production="", qa="")
    (tmp_path / "production.yaml").write_text("")
    if not name:  # as good as not given
        assert settings(tmp_path, name).environment == "development"
        return
    (message,) = wrong(tmp_path, name)
    assert message.startswith(f"--env: there is no such environment; found {name!r}") and "production" in message
    assert wrong(tmp_path, AUTOCODER_ENV="prd")[0].startswith("AUTOCODER_ENV: ")


def test_any_file_is_an_environment(tmp_path: Path, write: Write) -> None:
    write(qa="# nothing but a comment\n")
    assert settings(tmp_path, "qa").environment == "qa"
    write(qa="database:\n#  url: x\nlogging:\npipelines:\n")
    assert settings(tmp_path, "qa").logging.level == "info"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://u@h/n", "not supported: mysql; positions, state and rows are committed in one transaction"),
        ("postgres://h/n", "not supported: postgres.*write postgresql://"),
        ("postgresql+psycopg2://h/n", "names the driver psycopg2"),
        ("postgresql://h", "names no database"),
        ("postgresql://h:port/n", "cannot be read"),
        ("sqlite://", "in memory"), ("sqlite:///", "in memory"), ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("sqlite://x.db", "needs three slashes before the path; write sqlite:///x.db"),
        ("x.db", "is no database URL"), ("", "is no database URL"),
        ("postgresql://u:p@w@h/n", "an @ is %40"),
    ],
)  # fmt: skip
def test_refused_urls(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_database_url(text, Path("/work"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:///x.db", "sqlite:////home/x.db"), ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
        ("sqlite:///a/../x y.db?timeout=3", "sqlite:////home/a/../x y.db?timeout=3"),
        ("sqlite+aiosqlite:///x.db", "sqlite:////home/x.db"),
        ("postgresql+asyncpg://u:p@h:5432/n?ssl=require", "postgresql://u:p@h:5432/n?ssl=require"),
        ("postgresql:///n?host=/run/pg", "postgresql:///n?host=/run/pg"),
    ],
)  # fmt: skip
def test_accepted_urls(text: str, expected: str) -> None:
    assert check_database_url(text, Path("/home")) == expected


def test_overrides_keep_their_places_and_secrets(project: Path, write: Write) -> None:
    write(
        staging="pipelines:\n  p:\n    components:\n      a:\n        with:\n          upto: 0\n"
        "          headers: {x: 'Bearer ${A_TOKEN}'}\n"
    )
    found = settings(project, "staging", A_TOKEN="abcdef-secret")
    (project / "p.yaml").write_text("pipeline: p\ncomponents:\n  a: {use: parts:Numbers, with: {upto: 3}}\n")

    def load() -> tuple[Any, list[Problem]]:
        overrides = found.pipelines["p"]
        return load_pipeline(project / "p.yaml", registry=Registry(), environ={}, overrides=overrides)

    _, (problem,) = load()
    assert str(problem) == "config/staging.yaml:6:17: a: upto: must be greater than 0; found 0"
    file = project / "config" / "staging.yaml"
    file.write_text(file.read_text().replace("upto: 0", "upto: 5"))
    found = settings(project, "staging", A_TOKEN="abcdef-secret")
    declared, problems = load()
    assert problems == [] and declared.components[0].component.upto == 5
    assert "abcdef-secret" in declared.secrets and "abcdef-secret" not in repr(found)


@pytest.mark.parametrize("name", ["development", "testing", "staging", "production"])
def test_the_files_of_this_repository_load(name: str) -> None:
    found, problems = load_settings(
        name, environ={"AUTOCODER_DATABASE_URL": "postgresql://user:pass@host/name"}, folder=CONFIGS.parent
    )
    assert problems == [] and found is not None and found.file == CONFIGS / f"{name}.yaml"
    if name in ("staging", "production"):
        _, problems = load_settings(name, environ={}, folder=CONFIGS.parent)
        assert len(problems) == 1 and "AUTOCODER_DATABASE_URL is not set" in str(problems[0])


@pytest.mark.parametrize("name", ["development", "testing", "staging", "production"])
def test_their_commented_examples_load_as_well(tmp_path: Path, write: Write, name: str) -> None:
    keys = "|".join({*SqliteSettings.model_fields, *PostgresqlSettings.model_fields})
    text, count = re.subn(rf"^  # (({keys}): .*)$", r"  \1", (CONFIGS / f"{name}.yaml").read_text(), flags=re.MULTILINE)
    assert count > 1
    if "\n  backend: " in text:
        text = re.sub(r"^  url: .*\n", "", text, flags=re.MULTILINE)
    write(**{name: text})
    found = settings(tmp_path, name, AUTOCODER_DATABASE_URL="postgresql://h/n", DB_HOST="h", DB_PASSWORD="p/w")
    assert found.database.backend == ("sqlite" if name in ("development", "testing") else "postgresql")
    if name in ("development", "production"):  # they say that these are the defaults
        options = found.database.options()
        expected = DatabaseOptions(options.url, ssl_mode=options.ssl_mode, ssl_root_cert=options.ssl_root_cert)
        assert options == expected


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_settings_that_are_no_file_are_told_and_not_passed_over(tmp_path: Path, write: Write, environment: str) -> None:
    write()
    file = tmp_path / "config" / f"{environment}.yaml"
    file.mkdir()
    assert wrong(tmp_path, environment) == [f"config/{environment}.yaml: this is a folder; name the YAML file in it"]
    file.rmdir()
    file.symlink_to(file)
    (told,) = wrong(tmp_path, environment)
    assert told.startswith(f"config/{environment}.yaml: cannot be read: ")
