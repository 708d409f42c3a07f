"""mypy and pyright catch a wrong payload or field type in a custom component, and nothing that is right."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INTERFACE = HERE / "interface.py"


def wrong_lines() -> set[int]:
    return {number for number, line in enumerate(INTERFACE.read_text().splitlines(), 1) if line.endswith("# wrong")}


def test_mypy_reports_exactly_what_is_wrong(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed; `make check` installs it")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), str(INTERFACE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent.parent,
    )
    found = {int(match[1]) for match in re.finditer(r"interface\.py:(\d+): error", done.stdout)}
    assert found == wrong_lines(), done.stdout + done.stderr


def test_pyright_reports_exactly_what_is_wrong() -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed; `make check` installs it")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(INTERFACE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent.parent,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    report = json.loads(done.stdout)
    found = {each["range"]["start"]["line"] + 1 for each in report["generalDiagnostics"] if each["severity"] == "error"}
    assert found == wrong_lines(), done.stdout
