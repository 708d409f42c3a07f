"""`files.ReadCsv`: files of comma-separated values, a row a payload."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, Generic, NamedTuple, cast

from anyio.to_thread import run_sync
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from autocoder import Batch, Rejected, Source
from autocoder_components.files.fields import (
    BATCH,
    MAX_LINE_BYTES,
    BatchSize,
    Delimiter,
    Encoding,
    FilePattern,
    Follow,
    MaxLineBytes,
    Poll,
    check_columns,
    check_delimiter,
)
from autocoder_components.files.lines import LineFeed
from autocoder_components.files.matching import require_files
from autocoder_components.files.reader import Decoded, FileReader, Place, ReadSettings, reject, summarise

Row = TypeVar("Row", default=dict[str, str])


class ReadCsv(Source[Row]):
    """Read CSV files; each row is a payload, validated into the payload type by the names of its columns.

    ```yaml
    pipeline: import-people
    components:
      people: {use: files.ReadCsv, with: {path: people.csv, payload: "crm:Person", delimiter: ";"}}
      out:    {use: console.Print, from: people}
    ```

    The first row of each file names the columns, unless `columns` does. By default a payload is a dict of strings. For
    another type the cells are converted ("7" to 7, "2026-01-31" to a date); an empty cell that the type
    refuses counts as None, and if it refuses that, as not given. A float takes nan and inf, and makes inf of what is too
    large for it (1e999); `pydantic.FiniteFloat` refuses all of them.

    Cells may be quoted with `"` and then hold delimiters, line ends and doubled quotes, as in RFC 4180; empty lines
    are skipped. A row with a wrong number of cells, bad quoting or a value that does not fit is rejected with
    `file:line` (the line it begins on), and the others go on; where a quote is never closed, its line is rejected.
    Order, resuming, `follow` and `.gz` are as for files.ReadLines; `batch` counts lines.
    """

    path: FilePattern
    payload: type[Row] = Field(default=cast("type[Row]", dict), description="what each row is validated into")
    columns: Annotated[
        list[str] | None,
        Field(min_length=1, description="the names of the columns, for files without a row that names them"),
    ] = None
    delimiter: Delimiter = ","
    encoding: Encoding = "utf-8"
    follow: Follow = False
    poll: Poll = 1.0
    batch: BatchSize = BATCH
    max_line_bytes: MaxLineBytes = MAX_LINE_BYTES

    def check(self) -> None:
        """Refuse a delimiter or columns that cannot work."""
        check_delimiter(self.delimiter)
        if self.columns is not None:
            check_columns(self.columns, "columns")

    def repeats_batches(self) -> bool:
        """Whether batches are cut by size alone: a followed file gives what is there when it is looked at."""
        return not self.follow

    async def open(self) -> None:
        """Find the files, so that a wrong path is known at once."""
        if not self.follow:
            await run_sync(require_files, self.path)
        # The limit of the csv module holds for the whole process; it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), self.max_line_bytes))
        settings = ReadSettings(
            path=self.path, follow=self.follow, poll=self.poll, batch=self.batch, max_line_bytes=self.max_line_bytes
        )
        adapter = None if self.payload is dict else TypeAdapter(self.payload)
        dialect = _Dialect(self.delimiter, self.encoding)
        self._reader: FileReader[Row] = FileReader(settings, _Csv(self.columns, dialect, adapter, settings))

    def read(self, resume: Any, /) -> AsyncIterator[Batch[Row]]:
        """The payloads, a batch at a time."""
        return self._reader.batches(resume)

    async def close(self) -> None:
        """Close the files."""
        self._reader.close()


class _Dialect(NamedTuple):
    delimiter: str
    encoding: str


class _Record(NamedTuple):
    """A record, the line it begins on (from 0), and how many lines it has."""

    cells: list[str]
    first: int
    lines: int
    error: csv.Error | None = None


def _records(lines: Sequence[bytes], dialect: _Dialect, *, errors: str) -> Iterator[_Record]:
    """The complete records of some lines; an error stands for the first line of what could not be read.

    Ends before a record that is still open after the last line.
    """
    start = 0
    while start < len(lines):
        text = b"\n".join(lines[start:]).decode(dialect.encoding, errors) + "\n"
        asked_for_more: list[bool] = []

        def end(asked: list[bool] = asked_for_more) -> Iterator[str]:
            asked.append(True)
            yield from ()

        # newline="\n": only that ends a line here, a quoted carriage return stays as it is
        reader = csv.reader(chain(io.StringIO(text, newline="\n"), end()), delimiter=dialect.delimiter, strict=True)
        before = 0
        while True:
            try:
                for cells in reader:
                    yield _Record(cells, start + before, reader.line_num - before)
                    before = reader.line_num
            except csv.Error as error:
                if asked_for_more:  # the lines ended inside quotes
                    return
                yield _Record([], start + before, 1, error)
                if reader.line_num - before > 1:  # the quote of the first line may be wrong: read the others again
                    start += before + 1
                    break
                before = reader.line_num
            else:
                return


class _Csv(Generic[Row]):
    """The format: what names the columns, and what becomes of the cells."""

    def __init__(
        self, columns: list[str] | None, dialect: _Dialect, adapter: TypeAdapter[Row] | None, settings: ReadSettings
    ) -> None:
        self._columns = columns
        self._dialect = dialect
        self._adapter = adapter
        self._settings = settings

    def begin(self, feed: LineFeed, name: str, /) -> _Rows[Row] | None:
        columns = self._columns or self._header(feed, name)
        return None if columns is None else _Rows(columns, self._dialect, self._adapter)

    def _header(self, feed: LineFeed, name: str) -> list[str] | None:
        """The first record that is no empty line; None if the file ends before it does."""
        lines = 1
        while True:
            feed.fill(lines, self._settings.max_line_bytes + 1)
            if feed.at_end and not self._settings.follow:
                feed.close_partial()
            chunk = feed.peek(lines, self._settings.max_line_bytes + 1)
            record = self._first_record(chunk, f"{name}:{feed.line + 1}")
            if record is not None:
                feed.advance(record.lines)
                if record.cells:
                    return record.cells
                lines = 1
            elif feed.giant_follows or feed.peeked_bytes > self._settings.max_line_bytes:
                raise ValueError(f"{name}:{feed.line + 1}: the row that names the columns is over max_line_bytes")
            elif not feed.at_end or feed.ready > len(chunk):
                lines *= 2
            elif chunk and not self._settings.follow:
                raise ValueError(f"{name}:{feed.line + 1}: a quote in the row that names the columns is never closed")
            else:
                return None

    def _first_record(self, chunk: Sequence[bytes], where: str) -> _Record | None:
        try:
            record = next(_records(chunk, self._dialect, errors="strict"), None)
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: the row that names the columns is no {self._dialect.encoding}") from error
        if record is not None and record.error is not None:
            raise ValueError(f"{where}: cannot read the row that names the columns: {_said(record.error)}")
        if record is not None:
            check_columns(record.cells, where)
        return record


class _Rows(Generic[Row]):
    """The decoder of one file."""

    def __init__(self, columns: list[str], dialect: _Dialect, adapter: TypeAdapter[Row] | None) -> None:
        self._columns = columns
        self._dialect = dialect
        self._adapter = adapter

    def decode(self, lines: Sequence[bytes], place: Place, is_all: bool, /) -> Decoded[Row]:
        return self._decode_all(lines) or self._decode_each(lines, place, is_all=is_all)

    def _decode_all(self, lines: Sequence[bytes]) -> Decoded[Row] | None:
        """What is usual, done in bulk: every line is a row, and every row is good."""
        columns, expected = self._columns, len(self._columns)
        try:
            text = b"\n".join(lines).decode(self._dialect.encoding)
            rows = list(csv.reader(io.StringIO(text, newline="\n"), delimiter=self._dialect.delimiter, strict=True))
            given = [dict(zip(columns, row, strict=False)) for row in rows if len(row) == expected]
            if len(given) != len(lines):
                return None
            if self._adapter is None:
                return Decoded(cast("list[Row]", given), [], len(lines))
            return Decoded(list(map(self._adapter.validate_python, given)), [], len(lines))
        except (ValueError, csv.Error):  # ValueError: a cell that does not fit, or bytes that are no text
            return None

    def _decode_each(self, lines: Sequence[bytes], place: Place, *, is_all: bool) -> Decoded[Row]:
        try:
            records = list(_records(lines, self._dialect, errors="strict"))
            is_text = True
        except UnicodeDecodeError:
            records = list(_records(lines, self._dialect, errors="surrogateescape"))
            is_text = False
        if not records:
            if not is_all:
                return Decoded([], [], 0)
            unclosed = ValueError("a quote opens here and is never closed")
            return Decoded([], [reject(lines[0], unclosed, place.plus(0))], 1)
        payloads: list[Row] = []
        rejected: list[Rejected] = []
        for record in records:
            try:
                if record.error is not None:
                    raise ValueError(_said(record.error))
                if record.cells:
                    payloads.append(self._payload(record.cells, is_text=is_text))
            except ValueError as error:
                raw = b"\n".join(lines[record.first : record.first + record.lines])
                rejected.append(reject(raw, error, place.plus(record.first)))
        return Decoded(payloads, rejected, records[-1].first + records[-1].lines)

    def _payload(self, cells: list[str], *, is_text: bool) -> Row:
        columns = self._columns
        if len(cells) != len(columns):
            raise ValueError(f"the row has {len(cells)} cells, but there are {len(columns)} columns")
        if not is_text:
            _require_text(cells, self._dialect.encoding)
        row = dict(zip(columns, cells, strict=True))
        if self._adapter is None:
            return cast("Row", row)
        try:
            return self._adapter.validate_python(row)
        except ValidationError as error:
            return self._with_empty_cells(row, error)

    def _with_empty_cells(self, row: dict[str, Any], error: ValidationError) -> Row:
        """A second and third reading of a row that was refused, if for nothing but empty cells."""
        refused = {each["loc"][0] for each in error.errors(include_url=False) if each["loc"]}
        adapter = cast("TypeAdapter[Row]", self._adapter)
        if not refused or any(row.get(str(column)) != "" for column in refused):
            raise summarise(error) from None
        without = {name: cell for name, cell in row.items() if name not in refused}
        for other in ({**row, **dict.fromkeys(map(str, refused))}, without):
            try:
                return adapter.validate_python(other)
            except ValidationError:
                continue
        raise summarise(error) from None


def _said(error: csv.Error) -> str:
    """What the csv module says, in words for the owner of the file."""
    if "new-line character" in str(error):
        return "a carriage return stands alone outside of quotes; lines end with a newline, so convert the file"
    return f"bad quoting: {error}"


def _require_text(cells: Sequence[str], encoding: str) -> None:
    for number, cell in enumerate(cells, 1):
        if any("\udc80" <= each <= "\udcff" for each in cell):
            raise ValueError(f"cell {number} of the row is no {encoding}")
