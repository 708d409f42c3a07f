"""Reads the files of a pattern as batches: in order, resumable at every batch, and following them where asked.

What the lines mean is the matter of a `Format`; this module knows files, offsets and positions.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, Protocol

import anyio
from anyio.to_thread import run_sync
from pydantic import ValidationError
from typing_extensions import TypeVar

from autocoder import Batch, Rejected
from autocoder_components.files.lines import RAW_BYTES, LineFeed
from autocoder_components.files.matching import matching_files
from autocoder_components.files.position import Position
from autocoder_components.files.streams import BLOCK_BYTES, Mark, Stream, open_stream

BATCH_BYTES: Final = 4 * BLOCK_BYTES
"""A batch ends here however few lines it has: what follows is decoded without a pause for the event loop."""
FILES_HELD_OPEN: Final = 64
BATCHES_PER_VISIT: Final = 64
"""When following: how many batches of one file before the others have their turn."""

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
_log: Final = logging.getLogger("autocoder.files")


class Decoded(NamedTuple, Generic[P]):
    """What some lines gave; `taken` lines were used, none if the first record goes on behind the last line."""

    payloads: list[P]
    rejected: list[Rejected]
    taken: int


class Decoder(Protocol[P_co]):
    """Makes payloads of the lines of one file."""

    def decode(self, lines: Sequence[bytes], place: Place, is_all: bool, /) -> Decoded[Any]:
        """Decode lines, the first at `place`; `is_all` says that asking again would give no more than these."""


class Format(Protocol[P_co]):
    """What the files hold."""

    def begin(self, feed: LineFeed, name: str, /) -> Decoder[P_co] | None:
        """A decoder for a file at whose beginning `feed` stands; reads what heads the file. Blocks.

        None if the beginning is not there yet. Raises ValueError if the file cannot be read as this format at all.
        """


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    name: str
    line: int

    def plus(self, lines: int) -> str:
        """`file:line` of the line so many lines on."""
        return f"{self.name}:{self.line + lines}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """The fields that the sources of this pack share."""

    path: str
    follow: bool
    poll: float
    batch: int
    max_line_bytes: int


@dataclass(slots=True, eq=False)
class _OpenFile(Generic[P]):
    """A file that is being read."""

    name: str
    stream: Stream
    feed: LineFeed
    decoder: Decoder[P]
    has_its_name: bool = True
    """False once another file stands under the name, so that positions cannot speak of this one any more."""

    def mark(self, *, ended: bool) -> Mark:
        return self.stream.mark(self.feed.offset, self.feed.line, ended=ended)


class FileReader(Generic[P]):
    """Reads files once; `batches` may be called once, `close` ends it."""

    def __init__(self, settings: ReadSettings, form: Format[P]) -> None:
        self._settings = settings
        self._form = form
        self._held: dict[str, _OpenFile[P]] = {}
        self._leaving: list[_OpenFile[P]] = []
        self._position = Position({})

    async def batches(self, resume: Any) -> AsyncIterator[Batch[P]]:
        """The batches from a position on; without end where files are followed."""
        self._position = Position.from_json(resume)
        follow = self._settings.follow
        while True:
            found_any = False
            names, lost = await run_sync(self._look)
            for file in lost:
                while (batch := await self._next(file, is_last=file in self._leaving)) is not None:
                    yield batch
            self._let_go(lost)
            for name in names:
                opened = await run_sync(self._visit, name)
                if opened is None:
                    continue
                count = 0
                while (batch := await self._next(opened, is_last=not follow)) is not None:
                    found_any = True
                    yield batch
                    count += 1
                    if follow and count == BATCHES_PER_VISIT:
                        break
                else:
                    self._position.note(name, opened.mark(ended=opened.feed.is_used_up))
                self._leave(opened)
            if not follow:
                return
            if not found_any:
                await anyio.sleep(self._settings.poll)

    def close(self) -> None:
        """Close what is open."""
        for file in (*self._held.values(), *self._leaving):
            file.stream.close()
        self._held, self._leaving = {}, []

    def _look(self) -> tuple[list[str], list[_OpenFile[P]]]:
        """The files there are now, and those held open that stand under no matching name any more."""
        names = matching_files(self._settings.path)
        if not self._settings.follow:
            return names, []
        inodes: dict[str, int] = {}
        for found in names:
            try:
                inodes[found] = Path(found).stat().st_ino
            except FileNotFoundError:  # gone since it was listed
                continue
        self._position.follow_renames(inodes)
        self._position.forget_gone(inodes)
        new_names = {inode: found for found, inode in inodes.items()}
        held, self._held = self._held, {}
        lost = list(self._leaving)
        name: str | None
        for file in held.values():
            inode = file.stream.inode
            name = file.name if inodes.get(file.name) == inode else new_names.get(inode)
            if name is None:
                file.has_its_name = file.name not in inodes
                lost.append(file)
            else:
                file.name = name
                self._held[name] = file
        return list(inodes), lost

    def _let_go(self, lost: list[_OpenFile[P]]) -> None:
        """Close what was lost before this look; what was lost now is read once more, its writer may not know yet."""
        for file in self._leaving:
            file.stream.close()
        self._leaving = [file for file in lost if file not in self._leaving]

    def _visit(self, name: str) -> _OpenFile[P] | None:
        """The file opened where its reading goes on; None where there is nothing new in it."""
        known = self._position.marks.get(name)
        try:
            status = Path(name).stat()
            is_same_file = not self._settings.follow or known is None or known.inode == status.st_ino
            if known is not None and known.end == status.st_size and is_same_file:
                return None
            held = self._held.get(name)
            if held is not None:
                if not held.stream.was_rewritten():
                    return held
                self._close(held)
                _warn_replaced(name, known)
                known = None
            return self._open(name, known)
        except FileNotFoundError:
            if self._settings.follow:
                return None
            raise

    def _open(self, name: str, known: Mark | None) -> _OpenFile[P] | None:
        stream = open_stream(name)
        try:
            feed = LineFeed(stream, offset=0, line=0, limit=self._settings.max_line_bytes)
            decoder = self._form.begin(feed, name)
            if decoder is None:
                stream.close()
                return None
            if known is not None and not stream.is_same(known, same_inode=self._settings.follow):
                _warn_replaced(name, known)
                known = None
            if known is not None and known.offset > feed.offset:
                if stream.seek(known.offset):
                    feed = LineFeed(stream, offset=known.offset, line=known.line, limit=self._settings.max_line_bytes)
                else:
                    _warn_replaced(name, known)
                    stream.close()
                    return self._open(name, None)
        except BaseException:
            stream.close()
            raise
        file = self._held[name] = _OpenFile(name, stream, feed, decoder)
        return file

    def _leave(self, file: _OpenFile[P]) -> None:
        """Keep a followed file open, so that its last lines are read even after it was renamed; close any other."""
        if not self._settings.follow:
            self._close(file)
            return
        self._held[file.name] = self._held.pop(file.name)  # now the last to be closed when there are too many
        if len(self._held) > FILES_HELD_OPEN:
            self._close(next(iter(self._held.values())))

    def _close(self, file: _OpenFile[P]) -> None:
        del self._held[file.name]
        file.stream.close()

    async def _next(self, file: _OpenFile[P], *, is_last: bool) -> Batch[P] | None:
        """The next batch of one file; None where there is no more (`is_last`: and never will be)."""
        feed = file.feed
        lines, size = self._settings.batch, BATCH_BYTES
        while True:
            if not feed.holds(lines, size):
                await run_sync(self._fill, file, lines, size)
                if feed.at_end and is_last and not file.stream.is_cut_short and file.stream.broken is None:
                    feed.close_partial()
            chunk = feed.peek(lines, size)
            if not chunk:
                return self._giant(file) or self._damage(file, is_last=is_last)
            used_up = len(chunk) == feed.ready
            ends_here = used_up and (feed.giant_follows or (feed.at_end and is_last))
            is_all = ends_here or feed.peeked_bytes > self._settings.max_line_bytes
            decoded = file.decoder.decode(chunk, Place(file.name, feed.line + 1), is_all)
            if decoded.taken:
                feed.advance(decoded.taken)
                if decoded.payloads or decoded.rejected:
                    return self._batch(file, decoded.payloads, decoded.rejected)
                lines, size = self._settings.batch, BATCH_BYTES
            elif used_up and feed.at_end:
                return None
            else:
                lines, size = lines * 2, size * 2

    def _fill(self, file: _OpenFile[P], lines: int, size: int) -> None:
        """Read on, but not in a file that was truncated meanwhile: what stands here now is the middle of something else."""
        if self._settings.follow and file.stream.was_rewritten():
            file.feed.at_end = True  # the next visit begins it anew
        else:
            file.feed.fill(lines, size)

    def _batch(self, file: _OpenFile[P], payloads: list[P], rejected: list[Rejected]) -> Batch[P]:
        # That the file has ended is not said here: it depends on what was read ahead, and the same batch must have the
        # same position whenever it is read.
        mark = file.mark(ended=file.feed.is_abandoned)
        position = self._position.at(file.name, mark) if file.has_its_name else self._position.as_it_is()
        return Batch(payloads, position, rejected)

    def _giant(self, file: _OpenFile[P]) -> Batch[P] | None:
        giant = file.feed.giant
        if giant is None:
            return None
        error = ValueError(f"the line has {giant.size} bytes; max_line_bytes is {self._settings.max_line_bytes}")
        rejected = reject(giant.beginning, error, Place(file.name, file.feed.line + 1).plus(0))
        file.feed.pass_giant()
        return self._batch(file, [], [rejected])

    def _damage(self, file: _OpenFile[P], *, is_last: bool) -> Batch[P] | None:
        """A compressed file that breaks off: what is left of it is rejected once, and the other files go on."""
        problem = file.stream.broken
        if problem is None and is_last and file.stream.is_cut_short:
            problem = "the gzip data are cut short"
        if problem is None or file.feed.is_abandoned:
            return None
        place = Place(file.name, file.feed.line + 1).plus(0)
        error = ValueError(f"{problem}; the file cannot be read from here on")
        rejected = reject(file.feed.abandon_partial(), error, place)
        return self._batch(file, [], [rejected])


def _warn_replaced(name: str, known: Mark | None) -> None:
    if known is not None and known.offset:
        _log.warning("%s was truncated or replaced after %d lines; it is read from its beginning", name, known.line)


def reject(raw: bytes, error: Exception, place: str) -> Rejected:
    """A rejected piece of input: its beginning as text, bytes that are no UTF-8 written as `\\xff`."""
    return Rejected(raw[:RAW_BYTES].decode("utf-8", "backslashreplace"), error, place)


def summarise(error: ValidationError, limit: int = 5) -> ValueError:
    """What a validation found, in one line and without the values: they may be secret, and `raw` has them."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = [": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in problems]
    more = f"; and {len(said) - limit} more" if len(said) > limit else ""
    return ValueError("; ".join(said[:limit]) + more)
