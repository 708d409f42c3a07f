"""A few examples of the state machine for every run of the tests (`python -m tests.crash.machine 200` tries more)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(900)
def test_whatever_happens_in_whatever_order() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.machine", "5"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
