"""What the flags say of an id: the same everywhere, and a larger percentage only adds."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from autocoder_components.assessments.moving import Home, MovingFlags, WatchedFlags, bucket, home_by
from hypothesis import given
from hypothesis import strategies as st

from autocoder import ConfigurationError

IDS = [f"assessment-{number}" for number in range(5000)]


def test_buckets_are_the_same_in_every_process_and_version() -> None:
    known = {"": 1652, "a": 2250, "assessment-1": 2332, "ü\ud800": 8334}
    assert {each: bucket(each) for each in known} == known
    program = (
        "from autocoder_components.assessments.moving import bucket\n"
        "print([bucket(f'assessment-{number}') for number in range(5000)])"
    )
    for seed in ("1", "2"):
        environ = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=True)
        assert found.stdout.strip() == str([bucket(each) for each in IDS])


@given(st.text(min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_what_has_moved_stays_when_the_percentage_grows(assessment_id: str, one: float, other: float) -> None:
    less, more = (home_by(MovingFlags(percentage=each), assessment_id) for each in sorted((one, other)))
    assert less is Home.LEGACY or more is Home.STORE
    assert home_by(MovingFlags(percentage=0), assessment_id) is Home.LEGACY
    assert home_by(MovingFlags(percentage=100), assessment_id) is Home.STORE
    assert home_by(MovingFlags(store=False), assessment_id) is Home.LEGACY


@pytest.mark.parametrize("percentage", [0.5, 10, 50, 90])
def test_so_many_percent_move(percentage: float) -> None:
    moved = sum(home_by(MovingFlags(percentage=percentage), each) is Home.STORE for each in IDS)
    assert moved / len(IDS) * 100 == pytest.approx(percentage, abs=2.5)


class Watch:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_flags_of_a_file_hold_as_soon_as_they_are_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "pyproject.toml").touch()
    file = tmp_path / "config" / "staging.yaml"
    file.parent.mkdir()

    def write(text: str) -> None:
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    write("assessments: {moving: {percentage: 25}}")
    watch = Watch()
    flags = WatchedFlags("staging", folder=tmp_path, clock=watch)
    assert flags() == MovingFlags(percentage=25)
    write("assessments: {moving: {percentage: 25, store: false}}")
    assert flags().store, "it looks once a second"
    watch.now = 1
    assert flags() == MovingFlags(percentage=25, store=False)
    assert "the flags of the move are now" in caplog.text
    for second, wrong in enumerate(("assessments: {moving: {store: perhaps}}", "assessments: ["), 2):
        watch.now = second
        write(wrong)
        assert flags() == MovingFlags(percentage=25, store=False)
    file.unlink()
    for watch.now in (5, 6, 7):
        assert not flags().store
    warned = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warned) == 3 and "assessments.moving.store: must be true or false" in warned[0].message
    monkeypatch.setenv("AUTOCODER_ASSESSMENTS__MOVING__COMPARE", "true")
    write("")
    watch.now = 8
    assert flags() == MovingFlags(compare=True)
    with pytest.raises(ConfigurationError):
        WatchedFlags("nowhere", folder=tmp_path)
