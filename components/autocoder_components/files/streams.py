"""Files as streams of bytes with an offset: plain, and gzip whose offset counts decompressed bytes.

A stream also knows what it takes to recognise the file later: its inode, and a digest of its first bytes.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, Protocol

HEAD_BYTES: Final = 1024
BLOCK_BYTES: Final = 256 * 1024
_GZIP: Final = 31  # zlib's number for "a gzip header and trailer, with the largest window"


class Mark(NamedTuple):
    """How far a file was read, and how to recognise it. A JSON list in positions."""

    offset: int = 0
    """Bytes of whole lines read (decompressed, where the file is compressed)."""
    line: int = 0
    """Lines read."""
    inode: int = 0
    head_size: int = 0
    head: str = ""
    """Digest of the first `head_size` bytes of the file."""
    end: int = -1
    """The size of the file on disk when nothing was left to read, -1 before that."""


class RawFile:
    """A plain file; reads are unbuffered and go forward, or to an offset by `seek`."""

    broken: str | None = None
    """What is wrong with the encoding of the file, once that has been met; never anything with a plain file."""
    is_cut_short = False
    """Whether the file ends inside compressed data; a plain file cannot."""

    def __init__(self, name: str) -> None:
        self._file = Path(name).open("rb", buffering=0)  # noqa: SIM115  closed by close()
        self.inode = os.fstat(self._file.fileno()).st_ino
        self.at = 0
        self._head = b""
        self.read(HEAD_BYTES)
        self.seek(0)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end of the file as it is now."""
        data = self._file.read(size) or b""
        known = len(self._head)
        if known < HEAD_BYTES and self.at <= known < self.at + len(data):
            self._head += data[known - self.at : HEAD_BYTES - self.at]
        self.at += len(data)
        return data

    def seek(self, offset: int) -> bool:
        """Go to `offset`; False where the file is shorter than that."""
        self._file.seek(offset)
        self.at = offset
        return os.fstat(self._file.fileno()).st_size >= offset

    def seek_end(self) -> None:
        """Go to the end: nothing more of the file is wanted."""
        self.at = self._file.seek(0, os.SEEK_END)

    def is_same(self, mark: Mark, *, same_inode: bool) -> bool:
        """Whether this is the file that `mark` was taken of, as far as its first bytes (and its inode) tell."""
        if same_inode and mark.inode != self.inode:
            return False
        return len(self._head) >= mark.head_size and _digest(self._head[: mark.head_size]) == mark.head

    def was_rewritten(self) -> bool:
        """Whether the file was truncated, or begins otherwise than when it was read."""
        status = os.fstat(self._file.fileno())
        if status.st_size < self.at:
            return True
        self._file.seek(0)
        found = self._file.read(len(self._head))
        self._file.seek(self.at)
        return found != self._head

    def mark(self, offset: int, line: int, *, ended: bool) -> Mark:
        """The mark for what was read so far."""
        return self.mark_of_head(min(offset, HEAD_BYTES), offset, line, ended=ended)

    def mark_of_head(self, head_size: int, offset: int, line: int, *, ended: bool) -> Mark:
        """The mark that recognises the file by its first `head_size` bytes."""
        head = self._head[:head_size]
        return Mark(offset, line, self.inode, len(head), _digest(head), self.at if ended else -1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class GzipFile:
    """A gzip file of any number of members, decompressed. It may still grow: more bytes are read when they are there.

    Python's own gzip.GzipFile was rejected: it raises at a missing end, and gives nothing of the block before it.
    """

    def __init__(self, name: str) -> None:
        self._raw = RawFile(name)
        self.broken: str | None = None
        self._rewind()

    def _rewind(self) -> None:
        self._raw.seek(0)
        self._member = zlib.decompressobj(_GZIP)
        self._compressed = b""
        self._offset = 0
        self._inside = False  # between the first byte of a member and its last
        self._holds_more = False  # the decompressor stopped because it had given enough
        self.broken = None

    @property
    def at(self) -> int:
        """Bytes of the file on disk that were read."""
        return self._raw.at

    @property
    def inode(self) -> int:
        """The inode of the file."""
        return self._raw.inode

    def read(self, size: int) -> bytes:
        """Some `size` decompressed bytes; none at the end, or where the file is broken (`broken` says how)."""
        while self.broken is None:
            if not self._compressed and not self._holds_more:
                self._compressed = self._raw.read(BLOCK_BYTES)
                if not self._compressed:
                    return b""
            if not self._inside:
                self._compressed = self._compressed.lstrip(b"\0")  # padding between and after members is allowed
                if not self._compressed:
                    continue
                self._member, self._inside = zlib.decompressobj(_GZIP), True
            before = self._member.copy()
            try:
                data = self._member.decompress(self._compressed, size)
            except zlib.error as error:
                self.broken = f"the gzip data are damaged ({error})"
                self._raw.seek_end()
                data = _salvage(before, self._compressed, size)
                self._offset += len(data)
                return data
            self._holds_more = len(data) == size and not self._member.eof
            if self._member.eof:
                self._compressed, self._inside = self._member.unused_data, False
            else:
                self._compressed = self._member.unconsumed_tail
            if data:
                self._offset += len(data)
                return data
        return b""

    @property
    def is_cut_short(self) -> bool:
        """Whether the file ends inside compressed data."""
        return self._inside

    def seek(self, offset: int) -> bool:
        """Go to `offset`, decompressing what stands before it; False where the file is shorter than that."""
        if offset < self._offset:
            self._rewind()
        while self._offset < offset:
            if not self.read(min(BLOCK_BYTES, offset - self._offset)):
                return False
        return True

    def is_same(self, mark: Mark, *, same_inode: bool) -> bool:
        """As for a plain file, of the compressed bytes."""
        return self._raw.is_same(mark, same_inode=same_inode)

    def was_rewritten(self) -> bool:
        """As for a plain file, of the compressed bytes."""
        return self._raw.was_rewritten()

    def mark(self, offset: int, line: int, *, ended: bool) -> Mark:
        """The mark for what was read so far."""
        return self._raw.mark_of_head(HEAD_BYTES, offset, line, ended=ended)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class Stream(Protocol):
    """What the two have in common."""

    broken: str | None

    @property
    def is_cut_short(self) -> bool:
        """Whether the file ends inside compressed data."""

    @property
    def at(self) -> int:
        """Bytes of the file on disk that were read."""

    @property
    def inode(self) -> int:
        """The inode of the file."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes of content; none at the end."""

    def seek(self, offset: int) -> bool:
        """Go to an offset of the content; False where it is shorter than that."""

    def is_same(self, mark: Mark, *, same_inode: bool) -> bool:
        """Whether this is the file that `mark` was taken of."""

    def was_rewritten(self) -> bool:
        """Whether the file was truncated or overwritten since."""

    def mark(self, offset: int, line: int, *, ended: bool) -> Mark:
        """The mark for what was read so far."""

    def close(self) -> None:
        """Close the file."""


def is_compressed(name: str) -> bool:
    """Whether the name says that the file is compressed: `.gz`, or `.GZ` as other systems write it."""
    return name.lower().endswith(".gz")


def open_stream(name: str) -> Stream:
    """The content of a file from its beginning."""
    return GzipFile(name) if is_compressed(name) else RawFile(name)


def _salvage(member: zlib._Decompress, compressed: bytes, size: int) -> bytes:
    """What stands before the damage: zlib keeps to itself what it had made when it met an error."""
    data = bytearray()
    with contextlib.suppress(zlib.error):
        for at in range(len(compressed)):
            data += member.decompress(compressed[at : at + 1], max(1, size - len(data)))
    return bytes(data[:size])


def _digest(head: bytes) -> str:
    return blake2b(head, digest_size=8).hexdigest() if head else ""
