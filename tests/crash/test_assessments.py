"""A sample of what `make crash` does to the lifecycle of assessments; in a process of its own, as the other samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.assessments_bugs import BUGS
from tests.crash.test_sample import NOTHING, crash

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_each_assessment_has_one_verdict_whoever_was_killed(tmp_path: Path, backend: str) -> None:
    figures = crash(tmp_path, *NOTHING, "--database", backend, "--assessments", "2", "assessments")
    assert figures["totals"][backend]["violated"] == 0
    kinds = {each["topology"] for each in figures["topologies"]}
    assert kinds == {"service", "workers"}
    assert figures["totals"][backend]["kills"] > 0


def test_broken_rules_are_seen(tmp_path: Path) -> None:
    figures = crash(tmp_path, *NOTHING, "--bugs", "1", "--database", "sqlite", "--assessments", "0", "assessments")
    assert len(figures["seeded_bugs"]) == len(BUGS)
    assert [each["name"] for each in figures["seeded_bugs"] if not each["by"]] == []
