"""Imports run downward, and packs use public names alone: the contracts of `lint-imports` hold, and each can be broken."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code and of its contracts."""
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed; `make check` installs it")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "autocoder", tmp_path / "autocoder", ignore=ignored)
    shutil.copytree(ROOT / "components", tmp_path / "components", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(checkout: Path) -> list[str]:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "components")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (" BROKEN" not in done.stdout), done.stdout + done.stderr
    assert done.stdout.count(" KEPT") + done.stdout.count(" BROKEN") == 4, done.stdout + done.stderr
    return [line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN")]


def test_every_contract_holds(checkout: Path) -> None:
    assert broken_contracts(checkout) == []


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("autocoder/codec.py", "from autocoder.port import In", "Imports run downward, floor by floor"),
        ("autocoder/store/columns.py", "from autocoder.compile import *", "Imports run downward, floor by floor"),
        ("autocoder/unplaced.py", "", "Imports run downward, floor by floor"),
        ("autocoder/plan.py", "import autocoder_components.flow", "The framework never imports a pack"),
        (
            "components/autocoder_components/flow/pacing.py",
            "from autocoder.reading import Reader",
            "Packs use only the public names of the framework",
        ),
        (
            "components/autocoder_components/console/__init__.py",
            "import autocoder_components.flow",
            "Packs know nothing of each other",
        ),
    ],
)
def test_an_import_that_goes_astray_is_found(checkout: Path, file: str, line: str, contract: str) -> None:
    with (checkout / file).open("a") as code:
        code.write(f"\n{line}\n")
    assert contract in broken_contracts(checkout)
