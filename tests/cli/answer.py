"""What the tests of the command line share in words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]
Start = Callable[..., subprocess.Popen[str]]
Write = Callable[[str, str], Path]
