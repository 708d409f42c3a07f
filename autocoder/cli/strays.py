"""Finds overrides of an environment that no pipeline has any use for: a name that was misspelt, say.

They are a warning and no error. An environment's file is shared by all pipelines of a project, and nobody can list all of
these: some come from stdin, are built in Python, stand in another folder or in a pack that only production has. So a name
counts as stray only where every pipeline file below the project was looked at and none has it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from autocoder.cli.loading import Session
from autocoder.errors import Problem, did_you_mean
from autocoder.importing import project_folder
from autocoder.yaml_document import MAX_BYTES

MOST_FILES: Final = 10_000
"""Files and folders that are looked at, at most; in a larger project no name counts as stray."""
_SKIPPED: Final = frozenset({"node_modules", "build", "dist"})
_NAMED: Final = re.compile(r"""(?:^|[{,\s])["']?pipeline["']?\s*:\s*["']?([A-Za-z_][A-Za-z0-9_-]*|\$\{)""")


def stray_overrides(session: Session, loaded: Iterable[str]) -> list[Problem]:
    """The overrides whose name is neither one of the pipelines `loaded` nor that of any pipeline file in reach."""
    known = set(filter(None, loaded))  # one that cannot be read has none
    strays = session.settings.pipelines.keys() - known
    if not strays:
        return []
    for looked, file in enumerate(_reach(session)):
        names = _names_in(file) if file.suffix in (".yaml", ".yml") else set()
        if looked == MOST_FILES or "${" in names:  # a variable says how it is called, so it may be any of them
            return []
        known |= names
        strays -= names
    return [
        Problem(
            overrides.place,
            f"no pipeline in reach is called {name!r}, so these overrides change nothing",
            cure=did_you_mean(name, known, plural="pipelines"),
        )
        for name, overrides in session.settings.pipelines.items()
        if name in strays
    ]


def _reach(session: Session) -> Iterator[Path]:
    """The pipelines of packs, and every file below the project folder, hidden folders left out."""
    yield from session.registry.pipelines().values()
    for folder, below, files in os.walk(project_folder(Path.cwd())):
        below[:] = [each for each in below if not each.startswith(".") and each not in _SKIPPED]
        yield from (Path(folder, each) for each in files)


def _names_in(file: Path) -> set[str]:
    """The words in a file that may be the name of a pipeline; nothing is parsed, so there may be too many."""
    try:
        with file.open("rb") as stream:
            return set(_NAMED.findall(stream.read(MAX_BYTES).decode("utf-8", "replace")))
    except OSError:
        return set()
