"""Where configuration files may be: this machine's user-level places, and a bounded walk below a folder. Reads no content."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autocoder_components.assessments.clients import DIALECTS
from autocoder_components.assessments.dialects import GENERIC, dialect_of

SKIPPED_FOLDERS = frozenset(
    {
        *(".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", ".tox", ".nox", ".mypy_cache"),
        *(".pytest_cache", ".ruff_cache", "site-packages", ".cache", ".npm", ".pnpm-store", ".yarn", ".gradle"),
        *(".m2", ".cargo", ".rustup", ".next", ".nuxt", ".terraform", "bower_components", ".Trash"),
    }
)
NAMES = frozenset(
    location.path.rsplit("/", 1)[-1]
    for dialect in DIALECTS
    for location in dialect.locations
    if location.path.rsplit("/", 1)[-1] not in {"settings.json", "config.json", "default.json", "*.json"}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A path worth reading; `scope` is `user`, `project` or `given`; `problem` says why it cannot be read."""

    path: Path
    scope: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """How much of a folder is looked at: entries in all, however deep."""

    max_entries: int = 200_000


DEFAULT_WALK = WalkLimits()


def is_configuration(path: Path) -> bool:
    """Whether a client would read a file of that path as (part of) its configuration."""
    if path.name in NAMES or path.suffix == ".code-workspace":
        return True
    return path.suffix in {".json", ".jsonc", ".json5"} and dialect_of(str(path))[0] is not GENERIC


def user_locations(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> tuple[Path, ...]:
    """Every place where a known client keeps a user's or the machine's configuration, existing or not.

    Windows' APPDATA, macOS' Application Support and XDG_CONFIG_HOME are the `config` bases of their platforms; the
    latter two are both looked at wherever they are set, as clients disagree. `*` is expanded.
    """
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or Path.home())
    bases = [Path(environment[name]) for name in ("XDG_CONFIG_HOME", "APPDATA") if environment.get(name)]
    bases.append(home / ".config")
    if platform == "darwin":
        bases.append(home / "Library" / "Application Support")
    if platform == "win32" and not environment.get("APPDATA"):
        bases.append(home / "AppData" / "Roaming")
    roots = {"home": [home], "config": list(dict.fromkeys(bases)), "system": [Path("/")], "project": []}
    found: dict[Path, None] = {}
    for dialect in DIALECTS:
        for location in dialect.locations:
            for root in roots[location.base]:
                for path in _expand(root, location.path.lstrip("/")):
                    found.setdefault(path)
    return tuple(found)


def _expand(root: Path, path: str) -> Iterator[Path]:
    if "*" not in path:
        yield root / path
        return
    try:
        yield from sorted(root.glob(path))
    except OSError:
        return


def walk(root: Path, scope: str, limits: WalkLimits = DEFAULT_WALK) -> Iterator[Found]:
    """The configuration files below `root` in a stable order.

    Folders of dependencies and caches are passed over, links to folders are not followed (so there is no loop and no
    way out of the tree), and a walk that meets its limit says so as a problem instead of ending silently.
    """
    waiting = [root]
    seen = 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(folder, scope, f"the folder cannot be listed: {error.strerror or error}")
            continue
        seen += len(listed)
        if seen > limits.max_entries:
            problem = f"more than {limits.max_entries} files and folders here; name a narrower folder"
            yield Found(root, scope, problem)
            return
        below = []
        for entry in listed:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if is_configuration(path) and "." in path.name[1:]:
                    yield Found(path, scope, "a folder with the name of a configuration file")
                if entry.name not in SKIPPED_FOLDERS:
                    below.append(path)
            elif is_configuration(path):
                yield Found(path, scope)
        waiting.extend(reversed(below))
