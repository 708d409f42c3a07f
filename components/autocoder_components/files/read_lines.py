"""`files.ReadLines`: text files, a line a payload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from anyio.to_thread import run_sync

from autocoder import Batch, Source
from autocoder_components.files.fields import (
    BATCH,
    MAX_LINE_BYTES,
    BatchSize,
    Encoding,
    FilePattern,
    Follow,
    MaxLineBytes,
    Poll,
)
from autocoder_components.files.lines import LineFeed
from autocoder_components.files.matching import require_files
from autocoder_components.files.reader import Decoded, FileReader, Place, ReadSettings, reject


class ReadLines(Source[str]):
    """Read text files; each line is a payload, without its line end (`\\n` or `\\r\\n`).

    ```yaml
    pipeline: shout
    components:
      notes: {use: files.ReadLines, with: {path: "notes/**/*.txt"}}
      out:   {use: console.Print, from: notes, with: {format: text}}
    ```

    The files that match are read in the order of their names, `.gz` decompressed. A restarted pipeline goes on
    behind the last line that was committed, also in files that have grown since, and reads files that are new.
    A line that is no text in `encoding`, or too long, is rejected with `file:line`, and the others go on.

    A batch ends after `batch` lines, 1 MiB or the file, counted from its position: the same batches come again
    when it is read again (but not where a followed file ended in between).

    With `follow` a last line waits for its newline. A file that was renamed is read to its end, under its new name
    if that matches, too; the file that takes its name is read from its beginning, and so is one that was truncated.
    A file is recognised by its inode and first 1024 bytes (without `follow` by these bytes alone, so that a copy
    counts as the same file); what is written and truncated between two looks is lost, as with `tail -F`.
    """

    path: FilePattern
    encoding: Encoding = "utf-8"
    follow: Follow = False
    poll: Poll = 1.0
    batch: BatchSize = BATCH
    max_line_bytes: MaxLineBytes = MAX_LINE_BYTES

    def repeats_batches(self) -> bool:
        """Whether batches are cut by size alone: a followed file gives what is there when it is looked at."""
        return not self.follow

    async def open(self) -> None:
        """Find the files, so that a wrong path is known at once."""
        if not self.follow:
            await run_sync(require_files, self.path)
        settings = ReadSettings(
            path=self.path, follow=self.follow, poll=self.poll, batch=self.batch, max_line_bytes=self.max_line_bytes
        )
        self._reader: FileReader[str] = FileReader(settings, _Lines(self.encoding))

    def read(self, resume: Any, /) -> AsyncIterator[Batch[str]]:
        """The lines, a batch at a time."""
        return self._reader.batches(resume)

    async def close(self) -> None:
        """Close the files."""
        self._reader.close()


class _Lines:
    """Lines as text: the format and its decoder in one, since no file is headed by anything."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def begin(self, _feed: LineFeed, _name: str, /) -> _Lines:
        return self

    def decode(self, lines: Sequence[bytes], place: Place, _is_all: bool, /) -> Decoded[str]:
        try:
            text = b"\n".join(lines).decode(self._encoding)
        except UnicodeDecodeError:
            return self._decode_each(lines, place)
        if "\r" in text:
            text = (text + "\n").replace("\r\n", "\n")[:-1]
        return Decoded(text.split("\n"), [], len(lines))

    def _decode_each(self, lines: Sequence[bytes], place: Place) -> Decoded[str]:
        payloads, rejected = [], []
        for index, line in enumerate(lines):
            try:
                payloads.append(line.decode(self._encoding).removesuffix("\r"))
            except UnicodeDecodeError as error:
                rejected.append(reject(line, undecodable(error), place.plus(index)))
        return Decoded(payloads, rejected, len(lines))


def undecodable(error: UnicodeDecodeError) -> ValueError:
    """What is wrong with the bytes of a line, without quoting them all."""
    found = f"byte {error.start + 1} of the line, 0x{error.object[error.start]:02x}"
    return ValueError(f"{found}, is no {error.encoding}: {error.reason}")
