"""Cuts a stream into lines in bulk, and knows the offset and number of each."""

from __future__ import annotations

from itertools import accumulate
from typing import Final, NamedTuple

from autocoder_components.files.streams import BLOCK_BYTES, Stream

RAW_BYTES: Final = 4096
"""How much of a rejected line is kept."""
BOM: Final = b"\xef\xbb\xbf"


class Giant(NamedTuple):
    """A line over the limit: the beginning that is kept, and its size in the stream with its newline."""

    beginning: bytes
    size: int


class LineFeed:
    """The lines of one stream from an offset on: `fill`, `peek` at some, `advance` over those that were used.

    A line ends with a newline byte; what follows the last newline is a line once `close_partial` says that no more is
    coming. A line over `limit` bytes is not held; it becomes `giant` when the lines before it are used up.
    """

    def __init__(self, stream: Stream, *, offset: int, line: int, limit: int) -> None:
        self.stream = stream
        self.offset = offset
        self.line = line
        self.at_end = False
        """Whether the last `fill` reached the end of the stream as it was then."""
        self._limit = limit
        self._ready: list[bytes] = []
        self._ready_bytes = 0
        self._next = 0
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._skipped = 0  # bytes dropped of the giant that is being passed
        self._giant: Giant | None = None
        self._backlog = b""  # what was read behind a giant
        self._last_has_no_newline = False
        self.peeked_bytes = 0
        """The size of the lines that `peek` gave last, with their newlines."""
        self._peeked = 0
        self.is_abandoned = False
        """Whether what was left of a damaged stream has been rejected."""

    @property
    def giant(self) -> Giant | None:
        """The line over the limit that comes next, if one does."""
        return None if self.ready else self._giant

    @property
    def ready(self) -> int:
        """How many whole lines are there."""
        return len(self._ready) - self._next

    @property
    def giant_follows(self) -> bool:
        """Whether a line over the limit comes behind the lines that are there."""
        return self._giant is not None

    @property
    def is_used_up(self) -> bool:
        """Whether the stream is at its end and nothing is left of it, not the beginning of a line either."""
        is_empty = not (self._partial or self._backlog or self.ready) and self._giant is None
        return self.at_end and is_empty

    def holds(self, lines: int, size: int) -> bool:
        """Whether `peek(lines, size)` would give as much as the stream ever will."""
        enough = self.ready >= lines or self._ready_bytes >= size
        return enough or self._giant is not None

    def fill(self, lines: int, size: int) -> None:
        """Read until `lines` lines or `size` bytes of lines are there, a giant comes, or the stream ends. Blocks."""
        del self._ready[: self._next]
        self._next = 0
        self.at_end = False
        while not self.holds(lines, size):
            block = self._backlog or self.stream.read(BLOCK_BYTES)
            self._backlog = b""
            if not block:
                self.at_end = True
                return
            self._add(block)

    def _add(self, data: bytes) -> None:
        if self._skipped:
            end = data.find(b"\n")
            if end < 0:
                self._skipped += len(data)
                return
            self._giant = Giant(self._partial[0], self._skipped + end + 1)
            self._partial, self._skipped = [], 0
            self._backlog = data[end + 1 :]
            return
        cut = data.rfind(b"\n")
        if cut < 0:
            self._keep_partial(data)
            return
        whole = b"".join((*self._partial, data[:cut]))
        self._partial, self._partial_bytes = [], 0
        lines = whole.split(b"\n")
        rest = data[cut + 1 :]
        size = len(whole) + 1
        if len(whole) > self._limit:
            lines, rest = self._stop_at_giant(lines, rest)
            size = sum(map(len, lines)) + len(lines)
        self._ready += lines
        self._ready_bytes += size
        if self._giant is not None:
            self._backlog = rest
        elif rest:
            self._keep_partial(rest)

    def _stop_at_giant(self, lines: list[bytes], rest: bytes) -> tuple[list[bytes], bytes]:
        for index, line in enumerate(lines):
            if len(line) > self._limit:
                self._giant = Giant(line[:RAW_BYTES], len(line) + 1)
                return lines[:index], b"\n".join((*lines[index + 1 :], rest))
        return lines, rest

    def _keep_partial(self, data: bytes) -> None:
        self._partial.append(data)
        self._partial_bytes += len(data)
        if self._partial_bytes > self._limit:
            self._skipped = self._partial_bytes
            self._partial, self._partial_bytes = [b"".join(self._partial)[:RAW_BYTES]], 0

    def close_partial(self) -> None:
        """No more is coming: what stands behind the last newline is a line, too."""
        if self._giant is not None:
            return
        if self._skipped:
            self._giant = Giant(self._partial[0], self._skipped)
        elif self._partial:
            line = b"".join(self._partial)
            if self.offset == 0 and line == BOM and not self.ready:
                line = b""  # a file that holds a byte order mark alone has no line
            if len(line) > self._limit:
                self._giant = Giant(line[:RAW_BYTES], len(line))
            elif line:
                self._ready.append(line)
                self._ready_bytes += len(line) + 1
                self._last_has_no_newline = True
        self._partial, self._partial_bytes, self._skipped = [], 0, 0

    def peek(self, lines: int, size: int) -> list[bytes]:
        """The next lines without their newlines: at most `lines`, at most `size` bytes (but one line at least)."""
        chunk = self._ready[self._next : self._next + lines]
        self.peeked_bytes = sum(map(len, chunk)) + len(chunk)
        if self.peeked_bytes > size:
            total = accumulate(len(line) + 1 for line in chunk)
            fitting = sum(1 for each in total if each <= size)
            del chunk[max(1, fitting) :]
            self.peeked_bytes = sum(map(len, chunk)) + len(chunk)
        self._peeked = len(chunk)
        if chunk and self.offset == 0 and chunk[0].startswith(BOM):
            chunk[0] = chunk[0][len(BOM) :]
        return chunk

    def advance(self, count: int) -> None:
        """The next `count` lines, of those that were last peeked at, are used."""
        size = self.peeked_bytes
        if count < self._peeked:
            size = sum(map(len, self._ready[self._next : self._next + count])) + count
        self._next += count
        self.line += count
        self._ready_bytes -= size
        if self._last_has_no_newline and not self.ready:
            size -= 1
            self._last_has_no_newline = False
        self.offset += size

    def pass_giant(self) -> None:
        """The line over the limit that came next is used."""
        if self._giant is not None:
            self.offset += self._giant.size
            self.line += 1
            self._giant = None

    def abandon_partial(self) -> bytes:
        """Nothing more can be read from a damaged stream: the beginning of the line it breaks off in, and the end."""
        beginning = b"".join(self._partial)[:RAW_BYTES]
        self._partial, self._partial_bytes, self._skipped = [], 0, 0
        self.is_abandoned = True
        return beginning
