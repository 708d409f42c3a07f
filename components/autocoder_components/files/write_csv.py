"""`files.WriteCsv`: payloads as rows of comma-separated values."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from pydantic import Field
from pydantic_core import to_json, to_jsonable_python

from autocoder import Sink, Value
from autocoder_components.files.atomic import AtomicFile, Mark, write_async
from autocoder_components.files.fields import (
    Append,
    CreateFolders,
    Delimiter,
    OutputPath,
    check_columns,
    check_delimiter,
)
from autocoder_components.files.streams import is_compressed


class WriteCsv(Sink[Any], resumes=True):
    """Write each payload as a row of CSV, UTF-8, with a first row that names the columns.

    ```yaml
    pipeline: export-people
    components:
      people: {use: files.ReadJsonLines, with: {path: people.jsonl}}
      table:  {use: files.WriteCsv, from: people, with: {path: people.csv, columns: [name, age]}}
    ```

    Payloads have named fields: dataclasses, pydantic models (by alias), TypedDicts, dicts. The first one gives the
    columns, and a later one with a field of another name is refused; `columns` chooses some of the fields instead. A
    field that is missing or None is an empty cell; true and false are written so; dates as in ISO 8601; lists and objects
    as JSON, with null for NaN and infinity; elsewhere these are the cells nan, inf and -inf. Secrets are masked. The file
    is published as by files.WriteJsonLines; with `append`, the columns are those of the file.
    """

    path: OutputPath
    columns: Annotated[
        list[str] | None,
        Field(min_length=1, description="the fields to write, in this order; by default those of the first"),
    ] = None
    delimiter: Delimiter = ","
    append: Append = False
    create_folders: CreateFolders = False
    written = Value(Mark | None, default=None)
    header = Value(list[str] | None, default=None)

    def check(self) -> None:
        """Refuse a delimiter or columns that cannot work."""
        check_delimiter(self.delimiter)
        if self.columns is not None:
            check_columns(self.columns, "columns")

    async def open(self) -> None:
        """Make the hidden file; refuse a path that cannot be written, or columns that are not those of the file."""
        self._columns: list[str] | None = self.columns
        self._needs_header = True
        mark = self.written.value
        create = partial(AtomicFile, append=self.append, create_folders=self.create_folders, resume=mark)
        self._file: AtomicFile = await run_sync(create, self.path)
        if mark is not None:
            self._columns = self.header.value
            self._needs_header = self._columns is None
            return
        if self.append and self._file.size:
            try:
                self._adopt(await run_sync(_first_row, self._file.target, self.delimiter))
            except BaseException:
                self._file.close()
                raise

    def _adopt(self, header: list[str]) -> None:
        if self.columns is not None and self.columns != header:
            raise ValueError(
                f"{self.path!r} has the columns {header}, not {self.columns}; leave `columns` out to keep them"
            )
        self._columns, self._needs_header = header, False

    async def write(self, batch: Sequence[Any], /) -> None:
        """Take all payloads, or none where one is refused."""
        rows = [self._fields(payload) for payload in batch]
        columns = self._columns or (list(rows[0]) if rows else [])
        if self.columns is None:
            _refuse_others(rows, columns)
        lines = _Lines()
        writer = csv.writer(lines, delimiter=self.delimiter)
        if self._needs_header and columns:
            writer.writerow(columns)
        writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
        await write_async(self._file, "".join(lines).encode())
        self._columns = columns or None
        self._needs_header = self._columns is None

    def _fields(self, payload: Any) -> Mapping[str, Any]:
        fields = to_jsonable_python(payload)
        if not isinstance(fields, dict) or not fields:
            raise ValueError(f"a payload of type {type(payload).__name__} has no fields to make a row of")
        return fields

    async def flush(self) -> None:
        """Make durable what was taken."""
        await run_sync(self._file.sync)
        self.written.value = self._file.mark()
        self.header.value = None if self._needs_header else self._columns

    async def finish(self) -> None:
        """Put the file under its name; without any payload it has the row of `columns` alone, if these are given."""
        if self._needs_header:
            await self.write(())
        await run_sync(self._file.publish)

    async def close(self) -> None:
        """Remove the hidden file, unless it has its name or a later run goes on in it."""
        await run_sync(partial(self._file.close, keep=self.written.kept))


class _Lines(list[str]):
    """What csv.writer writes to. It ends rows with \\r\\n, since before Python 3.13 it quotes the characters of its own
    line end alone and would let a bare carriage return through; we end them with \\n."""

    def write(self, line: str) -> None:
        self.append(line[:-2] + "\n")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return to_json(value, inf_nan_mode="null").decode()
    return value


def _refuse_others(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    known = set(columns)
    for row in rows:
        if not known.issuperset(row):
            others = ", ".join(repr(name) for name in row if name not in known)
            raise ValueError(
                f"no column for {others}; the columns are {list(columns)}; name all that you want in `columns`"
            )


def _first_row(path: Path, delimiter: str) -> list[str]:
    opened = gzip.open if is_compressed(path.name) else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, delimiter=delimiter), [])
