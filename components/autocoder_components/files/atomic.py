"""A file that appears under its name in one step, complete and durable, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from anyio.to_thread import run_sync
from typing_extensions import TypedDict

from autocoder_components.files.streams import BLOCK_BYTES, is_compressed, open_stream

BUFFER_BYTES: Final = 1024 * 1024
_GZIP: Final = 31
_GZIP_LEVEL: Final = 6
_claimed: Final[set[Path]] = set()
_claims: Final = Lock()


class Mark(TypedDict):
    """How far a file was written when its epoch was committed: its hidden name, its inode, the bytes that are good."""

    part: str
    inode: int
    size: int


class AtomicFile:
    """Bytes for a file that is published by `publish`; until then they stand in a hidden file beside it.

    Every method blocks. `write` takes all it is given or, where it raises, nothing; `sync` makes durable what was taken,
    and `size` then is the offset up to which the hidden file is good: cut there, it is what was written so far (with gzip,
    too: each `sync` ends a member). A process that is killed leaves the hidden file, `.name.<random>.part`.
    """

    def __init__(self, path: str, *, append: bool, create_folders: bool, resume: Mark | None = None) -> None:
        self.target = _resolved(path, create_folders=create_folders)
        self.size = 0
        """Bytes in the hidden file, as far as it is good."""
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._compress = is_compressed(self.target.name)
        self._compressor: zlib._Compress | None = None
        self._replaces = append
        self._seen = _identity(self.target)
        _claim(self.target)
        self.part = self.target.with_name(f".{self.target.name}.{secrets.token_hex(6)}.part")
        self._before: int | None = None
        """Bytes of the published file that this one begins with, copied when there is something to add."""
        try:
            if resume:
                self._resume(resume)
                return
            self._file = _create(self.part, like=self.target)
            if append and self._seen is not None:
                self._copy()
        except BaseException:
            self._discard()
            raise

    def _resume(self, mark: Mark) -> None:
        """Go on where an earlier run had committed: in its hidden file, or behind what it published."""
        left = self.target.with_name(mark["part"])
        size = mark["size"]
        if left.is_file() and left.stat().st_size >= size:
            self.part = left
            self._file = self.part.open("r+b", buffering=0)
            os.ftruncate(self._file.fileno(), size)
            self._file.seek(size)
            self.size = size
        elif self._seen is not None and self._seen[0] == mark["inode"] and self._seen[1] >= size:
            self._file = _create(self.part, like=self.target)
            self._before, self._replaces = size, True
        else:
            raise ValueError(
                f"{str(self.target)!r} is not as this pipeline left it (removed, or written by someone else), so it cannot "
                f"go on in it; --restart writes it anew"
            )

    def mark(self) -> Mark:
        """Where a later run goes on, once this is committed; call it after `sync`."""
        if self._before is not None:  # nothing was added to what is published
            return Mark(part=self.part.name, inode=self.target.stat().st_ino, size=self._before)
        return Mark(part=self.part.name, inode=os.fstat(self._file.fileno()).st_ino, size=self.size)

    def _begin(self) -> None:
        """There is something to add: begin with what is published."""
        size, self._before = self._before or 0, None
        with self.target.open("rb") as old:
            while self.size < size and (block := old.read(min(BUFFER_BYTES, size - self.size))):
                self._put_raw(block)

    def _copy(self) -> None:
        """Begin with what the file holds, its last line ended."""
        with self.target.open("rb") as old:
            while block := old.read(BUFFER_BYTES):
                self._put_raw(block)
        if last_byte(str(self.target)) not in (b"", b"\n"):
            self.write(b"\n")

    def write(self, data: bytes) -> None:
        """Take `data`; it goes to the disk when there is a mebibyte of it."""
        if self._before is not None and data:
            self._begin()
        if self._pending_bytes + len(data) >= BUFFER_BYTES:
            self._put(b"".join((*self._pending, data)))
            self._pending, self._pending_bytes = [], 0
        elif data:
            self._pending.append(data)
            self._pending_bytes += len(data)

    def would_block(self, size: int) -> bool:
        """Whether writing so many bytes goes to the disk."""
        return self._pending_bytes + size >= BUFFER_BYTES

    def sync(self) -> None:
        """Make durable what was taken."""
        if self._pending:
            self._put(b"".join(self._pending))
            self._pending, self._pending_bytes = [], 0
        if self._compressor is not None:
            end = self._compressor.copy().flush()
            self._put_raw(end)
            self._compressor = None
        os.fsync(self._file.fileno())

    def _put(self, data: bytes) -> None:
        if not self._compress:
            self._put_raw(data)
            return
        compressor = self._compressor.copy() if self._compressor is not None else _compressor()
        self._put_raw(compressor.compress(data))
        self._compressor = compressor  # a copy until it is written: what fails can be tried again

    def _put_raw(self, data: bytes) -> None:
        """Append to the hidden file; where that fails, cut off what was written of it."""
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self.size)
                self._file.seek(self.size)
            raise OSError(
                error.errno, f"{error.strerror}, while writing the hidden file for", str(self.target)
            ) from error
        self.size += len(data)

    def publish(self, convert: Callable[[BinaryIO, BinaryIO], None] | None = None) -> None:
        """Put the file under its name: durable, in one step, in place of what was there.

        `convert(written, file)` makes the file from what was written, where that is not yet its format.
        """
        if self._before is not None:
            self._discard()  # what is published is what it should be
            return
        self.sync()
        if self._replaces and _identity(self.target) != self._seen:
            raise FileExistsError(
                errno.EEXIST,
                "changed by someone else while this pipeline was appending to a copy of it",
                str(self.target),
            )
        if convert is not None:
            self._convert(convert)
        self._file.close()
        self.part.replace(self.target)
        _sync_folder(self.target.parent)
        _release(self.target)

    def _convert(self, convert: Callable[[BinaryIO, BinaryIO], None]) -> None:
        other = self.part.with_suffix(".converted.part")
        try:
            with self.part.open("rb") as written, _create(other, like=self.target) as file:
                convert(written, file)
                os.fsync(file.fileno())
            other.replace(self.part)
        except BaseException:
            other.unlink(missing_ok=True)
            raise

    def close(self, *, keep: bool = False) -> None:
        """Without `publish` before it: leave no trace, or `keep` the hidden file for the run that goes on in it."""
        if self._file.closed:
            return
        if keep and self._before is None:
            self._file.close()
            _release(self.target)
        else:
            self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be created
            self._file.close()
        self.part.unlink(missing_ok=True)
        _release(self.target)


def is_under_way(path: str, mark: Mark) -> bool:
    """Whether the hidden file of an earlier run is still there."""
    return Path(path).resolve().with_name(mark["part"]).is_file()


async def write_async(file: AtomicFile, data: bytes) -> None:
    """Write without holding the event loop: in a thread where the disk is touched."""
    if file.would_block(len(data)):
        await run_sync(file.write, data)
    else:
        file.write(data)


def last_byte(name: str) -> bytes:
    """The last byte of the content of a file, decompressed; none if it is empty. Raises ValueError if it is damaged."""
    stream = open_stream(name)
    try:
        last = b""
        while block := stream.read(BLOCK_BYTES):
            last = block[-1:]
        if stream.broken or stream.is_cut_short:
            raise ValueError(f"{name}: {stream.broken or 'the gzip data are cut short'}; it cannot be appended to")
        return last
    finally:
        stream.close()


def _resolved(path: str, *, create_folders: bool) -> Path:
    target = Path(path).resolve()  # a symbolic link stays one: what it points to is replaced
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file in it", path)
    # Asked of the path as it is given: what /dev/stdout points to has no name in a folder.
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(
            f"{path!r} is no regular file and cannot be replaced in one step; console.Print writes to stdout"
        )
    if create_folders:
        target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT,
            f"there is no folder for {path!r} (working folder: {Path.cwd()}); make it, or set `create_folders: true`",
            str(target.parent),
        )
    return target


def _create(part: Path, *, like: Path) -> BinaryIO:
    """A new file with the permissions of the one that it will replace (or those of any new file)."""
    file = part.open("xb", buffering=0)
    with contextlib.suppress(FileNotFoundError):
        os.fchmod(file.fileno(), stat.S_IMODE(like.stat().st_mode))
    return file


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _claim(target: Path) -> None:
    with _claims:
        if target in _claimed:
            raise ValueError(
                f"{str(target)!r} is being written by another sink of this process; give each a path of its own"
            )
        _claimed.add(target)


def _release(target: Path) -> None:
    with _claims:
        _claimed.discard(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compressor() -> zlib._Compress:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
