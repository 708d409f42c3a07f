"""What an environment sets for the service: by file and variable, judged at its place, its secrets never shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from autocoder_components.assessments.lifecycle.states import Policy
from autocoder_components.assessments.settings import MovingFlags, ServiceSettings, service_settings

from autocoder import Settings, load_settings

SECTION = """\
assessments:
  redis: redis://:hunter22@localhost:6379/0
  replica: postgresql://reader:s3cr3tword@replica/name
  replica_lag: 1m
  moving: {percentage: 12.5, legacy_fallback: true}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "config").mkdir()
    return tmp_path


def load(project: Path, text: str, **environ: str) -> tuple[Settings | None, list[str]]:
    (project / "config" / "staging.yaml").write_text(text)
    found, problems = load_settings("staging", environ=environ, folder=project)
    return found, [str(each) for each in problems]


def test_a_file_a_variable_above_it_and_the_defaults(project: Path) -> None:
    found, problems = load(project, SECTION, AUTOCODER_ASSESSMENTS__MOVING__STORE="false")
    assert found is not None and problems == []
    section = service_settings(found)
    assert section.replica_lag == 60
    assert section.moving == MovingFlags(store=False, percentage=12.5, legacy_fallback=True)
    bare, problems = load(project, "")
    assert bare is not None and service_settings(bare) == ServiceSettings()
    only_a_variable, problems = load(project, "", AUTOCODER_ASSESSMENTS__MOVING__COMPARE="true")
    assert only_a_variable is not None and service_settings(only_a_variable).moving.compare, problems


def test_secrets_are_masked_and_known_to_be_secret(project: Path) -> None:
    found, _ = load(project, SECTION)
    assert found is not None
    assert "hunter22" not in repr(found) and "s3cr3tword" not in repr(found)
    assert {"hunter22", "s3cr3tword"} <= found.secrets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "assessments: {moving: {percentage: 101}}",
            "config/staging.yaml:1:36: assessments.moving.percentage: must be",
        ),
        (
            "assessments: {moving: {percentage: -1}}",
            "assessments.moving.percentage: must be greater than or equal to 0",
        ),
        ("assessments: {moving: {percentage: .nan}}", "assessments.moving.percentage: must be"),
        ("assessments: {moving: {store: perhaps}}", "assessments.moving.store: must be true or false"),
        ("assessments: {moving: {fallback: true}}", "assessments.moving has no field 'fallback'"),
        ("assessments: {redis: 'http://:hunter22@x'}", "assessments.redis: must begin with redis://"),
        ("assessments: {replica: 'mysql://u:hunter22@x/y'}", "assessments.replica: must begin with sqlite:///"),
        ("assessments: {replica_lag: 0s}", "assessments.replica_lag: must be greater than 0"),
        ("assessments: {timeout: 0}", "assessments.timeout: must be greater than or equal to 0.01"),
        ("assessments: {timeout: 2d}", "assessments.timeout: must be less than or equal to 86400"),
        ("assessments: {max_retries: -1}", "assessments.max_retries: must be greater than or equal to 0"),
        ("asessments: {}", "the settings has no key 'asessments'; did you mean 'assessments'"),
    ],
)
def test_a_mistake_is_told_at_its_place_without_its_secret(project: Path, text: str, said: str) -> None:
    found, (problem,) = load(project, text)
    assert found is None
    assert said in problem and "hunter22" not in problem


def test_a_variable_that_is_misspelt_is_told(project: Path) -> None:
    _, (problem,) = load(project, "", AUTOCODER_ASSESSMENTS__MOVING__STOR="false")
    assert "AUTOCODER_ASSESSMENTS__MOVING__STOR" in problem and "AUTOCODER_ASSESSMENTS__MOVING__STORE" in problem


CONFIGS = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("name", ["development", "staging", "production"])
def test_what_the_files_of_this_repository_show_as_comments_is_valid(project: Path, name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text()
    begin = text.index("\n# assessments:\n")
    shown = re.sub(r"^# ?", "", text[begin:].strip(), flags=re.MULTILINE)
    found, problems = load(project, shown, REDIS_PASSWORD="x", ASSESSMENTS_TOKEN="x" * 16)
    assert found is not None, problems
    section = service_settings(found)
    if name == "production":
        assert section.moving == MovingFlags(), "it says that these are the defaults"
        assert section.redis is not None and section.replica is not None
        assert (section.redis_prefix, section.replica_lag) == (
            ServiceSettings().redis_prefix,
            ServiceSettings().replica_lag,
        )
        assert section.policy() == ServiceSettings().policy() == Policy()
    else:
        assert section.moving != MovingFlags()
