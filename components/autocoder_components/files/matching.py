"""Finds the files that a path or a glob names."""

from __future__ import annotations

import glob
import stat
from pathlib import Path


def is_pattern(path: str) -> bool:
    """Whether `path` is a glob. A file of exactly that name (`data[1].csv`) is taken as it is."""
    return any(each in path for each in "*?[") and not Path(path).exists()


def matching_files(path: str) -> list[str]:
    """The regular files that `path` names now, sorted by name; empty where there are none.

    Raises IsADirectoryError or ValueError for something else than a file under a plain name.
    """
    if is_pattern(path):
        return sorted(found for found in glob.iglob(path, recursive=True) if Path(found).is_file())  # noqa: PTH207
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return []
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path!r} is a folder; name the files in it: {str(Path(path) / '*')!r}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path!r} is no regular file; a pipe or device cannot be read again after a crash")
    return [path]


def require_files(path: str) -> None:
    """Raise FileNotFoundError, saying where was looked, where `path` names no file."""
    if matching_files(path):
        return
    what = "no file matches" if is_pattern(path) else "there is no file"
    cure = "correct `path`, or wait for it with `follow: true`"
    raise FileNotFoundError(f"{what} {path!r} (working folder: {Path.cwd()}); {cure}")
