"""`files.ReadParquet`: the rows of Parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

from anyio.to_thread import run_sync
from pydantic import Field, TypeAdapter, ValidationError

from autocoder import Batch, Rejected, Source
from autocoder_components.files.arrow import pyarrow, require_pyarrow
from autocoder_components.files.fields import BATCH, BatchSize, FilePattern, T
from autocoder_components.files.lines import RAW_BYTES
from autocoder_components.files.matching import matching_files, require_files
from autocoder_components.files.reader import summarise


class ReadParquet(Source[T]):
    """Read Parquet files; each row is a payload. Needs `pip install 'autocoder[parquet]'`.

    ```yaml
    pipeline: rows
    components:
      orders: {use: files.ReadParquet, with: {path: "orders/*.parquet", payload: "shop:Order", columns: [number, amount]}}
      out:    {use: console.Print, from: orders}
    ```

    The files that match are read in the order of their names, a row group after the other, `batch` rows at a time. A
    restarted pipeline goes on behind the last row that was committed, and reads files that are new; a file whose size
    has changed counts as new. A row that does not fit `payload` is rejected with `file:row`, and the others go on.
    """

    path: FilePattern
    payload: type[T] = Field(default=cast("type[T]", dict), description="what each row is validated into")
    columns: Annotated[
        list[str] | None, Field(min_length=1, description="the columns to read; by default all of them")
    ] = None
    batch: BatchSize = BATCH

    def check(self) -> None:
        require_pyarrow()

    async def open(self) -> None:
        """Find the files, so that a wrong path is known at once."""
        await run_sync(pyarrow, "pyarrow.parquet")
        await run_sync(require_files, self.path)
        self._adapter: TypeAdapter[T] | None = None if self.payload is dict else TypeAdapter(self.payload)

    async def read(self, resume: Any, /) -> AsyncIterator[Batch[T]]:
        """The rows, a batch at a time."""
        files, now = _position(resume)
        for name in await run_sync(matching_files, self.path):
            size = (await run_sync(Path(name).stat)).st_size
            if files.get(name) == size:
                continue
            start = now if now is not None and (now.name, now.size) == (name, size) else _Place(name, size, 0, 0)
            finished = {other: known for other, known in files.items() if other != name}
            pieces = _pieces(start, self.columns, self.batch)
            with contextlib.closing(pieces):
                while (piece := await run_sync(next, pieces, None)) is not None:
                    after = {"files": finished, "now": list(piece.after)}
                    payloads, rejected = self._decode(piece)
                    yield Batch(payloads, after, rejected)
            files = {**finished, name: size}

    def _decode(self, piece: _Piece) -> tuple[list[T], list[Rejected]]:
        rows = piece.rows
        if self._adapter is None:
            return cast("list[T]", rows), []
        with contextlib.suppress(ValidationError):
            return list(map(self._adapter.validate_python, rows)), []
        payloads: list[T] = []
        rejected: list[Rejected] = []
        for number, row in enumerate(rows, piece.first_row):
            try:
                payloads.append(self._adapter.validate_python(row))
            except ValidationError as error:
                rejected.append(Rejected(repr(row)[:RAW_BYTES], summarise(error), f"{piece.after.name}:{number}"))
        return payloads, rejected


class _Place(NamedTuple):
    """The rows of a file up to here were read: row groups, and rows of the next one. A JSON list in positions."""

    name: str
    size: int
    group: int
    row: int


class _Piece(NamedTuple):
    rows: list[dict[str, Any]]
    after: _Place
    first_row: int  # in the file, from 1


def _position(resume: Any) -> tuple[Mapping[str, int], _Place | None]:
    if resume is None:
        return {}, None
    try:
        return dict(resume["files"]), _Place(*resume["now"])
    except (TypeError, KeyError, ValueError):
        raise ValueError(
            "the saved position is not one of this source; it was written by another component under the same name"
        ) from None


def _pieces(start: _Place, columns: list[str] | None, size: int) -> Generator[_Piece]:
    """The rows of a file from a place on. Blocks."""
    arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
    name = start.name
    try:
        file = parquet.ParquetFile(name)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{name}: no Parquet file: {error}") from None
    with file:
        missing = [column for column in columns or () if column not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"{name}: no column {missing[0]!r}; found {', '.join(file.schema_arrow.names)}")
        before = sum(file.metadata.row_group(group).num_rows for group in range(start.group))
        for group in range(start.group, file.metadata.num_row_groups):
            skip = start.row if group == start.group else 0
            at = 0
            for found in file.iter_batches(batch_size=size, row_groups=[group], columns=columns):
                begin, at = at, at + found.num_rows
                if at <= skip:
                    continue
                kept = found.slice(max(0, skip - begin))
                yield _Piece(kept.to_pylist(), start._replace(group=group, row=at), before + max(begin, skip) + 1)
            before += at
