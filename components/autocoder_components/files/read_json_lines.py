"""`files.ReadJsonLines`: files of JSON values, one a line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, cast

from anyio.to_thread import run_sync
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from autocoder import Batch, Rejected, Source
from autocoder_components.files.fields import (
    BATCH,
    MAX_LINE_BYTES,
    BatchSize,
    Encoding,
    FilePattern,
    Follow,
    MaxLineBytes,
    Poll,
    T,
)
from autocoder_components.files.json_numbers import OddNumberError, may_hold_odd_numbers, refuse_odd_number
from autocoder_components.files.lines import LineFeed
from autocoder_components.files.matching import require_files
from autocoder_components.files.read_lines import undecodable
from autocoder_components.files.reader import Decoded, FileReader, Place, ReadSettings, reject, summarise

_PARSE: Final = partial(from_json, allow_inf_nan=False)
_DICTS: Final = frozenset([dict])


class ReadJsonLines(Source[T]):
    """Read files of JSON values, one a line (JSON Lines, NDJSON), each validated into the payload type.

    ```yaml
    pipeline: big-orders
    components:
      orders: {use: files.ReadJsonLines, with: {path: "orders/*.jsonl.gz", payload: "shop:Order"}}
      out:    {use: console.Print, from: orders}
    ```

    `payload` is a dataclass, pydantic model, TypedDict or builtin; by default whatever object stands there, as a dict.
    Empty lines are skipped. A line that is no JSON, does not fit the type, is no text in `encoding` or is too long is
    rejected with `file:line`, and the others go on. NaN and Infinity are no JSON (the string "NaN" is, and a float where
    the type has one); nor does a number pass that is too large for a float, as 1e999 is. Order, resuming, `follow` and
    `.gz` are as for files.ReadLines.
    """

    path: FilePattern
    payload: type[T] = Field(default=cast("type[T]", dict), description="what each line is validated into")
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
        self._reader: FileReader[T] = FileReader(settings, _JsonLines(self.payload, self.encoding))

    def read(self, resume: Any, /) -> AsyncIterator[Batch[T]]:
        """The payloads, a batch at a time."""
        return self._reader.batches(resume)

    async def close(self) -> None:
        """Close the files."""
        self._reader.close()


class _JsonLines(Generic[T]):
    """Lines as JSON values: the format and its decoder in one, since no file is headed by anything.

    Each line is validated by itself: joined to one array they would be faster, but a line `1,2`, or two lines that are
    the halves of an object, would pass.
    """

    def __init__(self, payload: type[T], encoding: str) -> None:
        self._encoding = "utf-8" if encoding == "ascii" else encoding
        self._validate: Callable[[bytes | str], T] = TypeAdapter(payload).validator.validate_json
        # What becomes a dict as it stands need not be validated, which takes longer than to parse it.
        self._is_plain = payload is dict
        self._parse = cast("Callable[[bytes | str], T]", _PARSE) if self._is_plain else self._validate

    def begin(self, _feed: LineFeed, _name: str, /) -> _JsonLines[T]:
        return self

    def decode(self, lines: Sequence[bytes], place: Place, _is_all: bool, /) -> Decoded[T]:
        parse, encoding = self._parse, self._encoding
        try:
            if encoding == "utf-8":
                payloads = [parse(line) for line in lines]
            else:
                payloads = [parse(line.decode(encoding)) for line in lines]
        except ValueError:  # no JSON, no such payload, no text
            return self._decode_each(lines, place)
        if (self._is_plain and not _DICTS.issuperset(map(type, payloads))) or may_hold_odd_numbers(lines):
            return self._decode_each(lines, place)
        return Decoded(payloads, [], len(lines))

    def _decode_each(self, lines: Sequence[bytes], place: Place) -> Decoded[T]:
        payloads: list[T] = []
        rejected: list[Rejected] = []
        for index, line in enumerate(lines):
            if not line or line.isspace():
                continue
            try:
                payloads.append(self._decode_one(line))
            except ValidationError as error:
                rejected.append(reject(line, summarise(error), place.plus(index)))
            except UnicodeDecodeError as error:
                rejected.append(reject(line, undecodable(error), place.plus(index)))
            except OddNumberError as error:
                rejected.append(reject(line, error, place.plus(index)))
        return Decoded(payloads, rejected, len(lines))

    def _decode_one(self, line: bytes) -> T:
        text = line if self._encoding == "utf-8" else line.decode(self._encoding).encode(errors="surrogatepass")
        payload = self._validate(text)
        if may_hold_odd_numbers([line]):
            refuse_odd_number(text)
        return payload
