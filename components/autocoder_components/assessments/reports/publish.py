"""Put a report where it belongs, whole or not at all. Knows nothing of what is in it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from autocoder import AutocoderError

_CURES = {
    errno.ENOSPC: "free some space on that disk, or choose a path on another one",
    errno.EDQUOT: "free some of your disk quota, or choose a path on another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose a path on another disk",
    errno.EACCES: "make the folder writable for this user, or choose another path",
    errno.EPERM: "make the folder writable for this user, or choose another path",
    errno.EROFS: "choose a path on a disk that can be written",
    errno.ENOENT: "make the folder first (mkdir -p)",
    errno.ENOTDIR: "a part of the path is a file: choose a path whose folders are folders",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class PublishError(AutocoderError, OSError):
    """The file could not be written; the message names the path, the trouble and the cure.

    An OSError, so that it stops a pipeline: a full disk is the fault of no single assessment.
    """

    def __init__(self, path: Path, trouble: str, cure: str) -> None:
        super().__init__(f"{path} was not written: {trouble}; {cure}")
        self.path = path


def publish(path: str | Path, content: str | bytes | Iterable[bytes]) -> None:
    """Write `content` (text as UTF-8) to `path` so that a reader finds the old file or the whole new one, never a part.

    Written under a temporary name in the same folder, flushed to disk, renamed, and the folder flushed. On any
    failure, an interruption while writing included, what stood under `path` is untouched and no temporary file is left;
    only a process killed outright can leave one (`.autocoder-*.partial`), which nothing reads. A symbolic link is
    followed. The mode of a replaced file is kept; a new one gets what the umask allows. Raises PublishError for what
    the operating system refuses.

    Blocks: call it in a worker thread from async code. A thread is not interrupted by cancellation, so that leaves no
    part of a file either.
    """
    final = Path(os.path.realpath(path))
    try:
        mode = _mode_to_keep(final)
        partial = final.with_name(f".autocoder-{secrets.token_hex(8)}.partial")
        try:
            _write(partial, content, mode)
            partial.replace(final)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
            raise
        _flush_folder(final.parent)
    except PublishError:
        raise
    except OSError as error:
        raise PublishError(final, error.strerror or str(error), cure_of(error)) from error


def cure_of(error: OSError) -> str:
    """What helps against an error of the operating system while writing a file."""
    return _CURES.get(error.errno or 0, "choose another path")


def _mode_to_keep(final: Path) -> int | None:
    try:
        found = final.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise PublishError(final, "it is a folder", "name a file in it")
    if not stat.S_ISREG(found):
        # A rename would replace the device itself: /dev/null would become a report.
        raise PublishError(final, "it is a device or a pipe", "name a regular file, or redirect standard output")
    return stat.S_IMODE(found)


def _write(partial: Path, content: str | bytes | Iterable[bytes], mode: int | None) -> None:
    if isinstance(content, str):
        content = content.encode()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        for chunk in (content,) if isinstance(content, bytes) else content:
            file.write(chunk)
        file.flush()
        os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
