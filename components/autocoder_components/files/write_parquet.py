"""`files.WriteParquet`: payloads as rows of a Parquet file."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

from anyio.to_thread import run_sync
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from autocoder import Sink, Value
from autocoder_components.files.arrow import pyarrow, require_pyarrow
from autocoder_components.files.atomic import AtomicFile, Mark, is_under_way, write_async
from autocoder_components.files.fields import CreateFolders, OutputPath

_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None), date, datetime, Decimal})


class WriteParquet(Sink[Any], resumes=True):
    """Write each payload as a row of a Parquet file. Needs `pip install 'autocoder[parquet]'`.

    ```yaml
    pipeline: columns
    components:
      orders: {use: files.ReadJsonLines, with: {path: "orders/*.jsonl"}}
      table:  {use: files.WriteParquet, from: orders, with: {path: orders.parquet, types: {amount: "float64"}}}
    ```

    Payloads have named fields: dataclasses, pydantic models, TypedDicts, dicts. The columns and their types are found from
    all payloads: integers and floats become floats, a field that some do not have is null there. `types` fixes the type of a
    column by its Arrow name (int64, float64, string, bool, date32, timestamp[us] and so on). Secrets are masked.

    What is written stands in a hidden file beside the target, row by row and durable at each commit; at a clean end it
    is turned into Parquet, with `row_group` rows in each group, and published as by files.WriteJsonLines.
    A published file cannot be added to: a later run that has more to write stops and says so.
    """

    path: OutputPath
    types: Annotated[dict[str, str], Field(description="Arrow types of columns by name; the others are inferred")] = {}
    row_group: Annotated[int, Field(ge=1, description="rows in a row group, held in memory together")] = 100_000
    compression: Annotated[
        Literal["snappy", "zstd", "gzip", "lz4", "none"], Field(description="of the columns in the file")
    ] = "snappy"
    create_folders: CreateFolders = False
    written = Value(Mark | None, default=None)

    def check(self) -> None:
        require_pyarrow()
        self._fixed = {name: _arrow_type(pyarrow(), name, alias) for name, alias in self.types.items()}

    async def open(self) -> None:
        """Make the hidden file; refuse a path that cannot be written."""
        arrow = await run_sync(pyarrow)
        self._schema = arrow.schema([])
        mark = self.written.value
        self._file: AtomicFile | None = None
        if mark is not None and not is_under_way(self.path, mark):
            return  # published by an earlier run, and a Parquet file has no room at its end
        create = partial(AtomicFile, append=False, create_folders=self.create_folders, resume=mark)
        self._file = await run_sync(create, self.path)
        if mark is not None:
            await run_sync(self._learn_schema, self._file.part)

    def _learn_schema(self, part: Path) -> None:
        arrow = pyarrow()
        with part.open("rb") as written:
            for table in _tables(written):
                self._schema = self._unified(arrow, table.schema)

    async def write(self, batch: Sequence[Any], /) -> None:
        """Take all payloads, or none where one is refused."""
        if self._file is None:
            raise FileExistsError(
                errno.EEXIST,
                "was published by an earlier run and cannot be added to; --restart writes it anew",
                self.path,
            )
        arrow, ipc = pyarrow(), pyarrow("pyarrow.ipc")
        rows = [_row(payload) for payload in batch]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: self._column(arrow, name, [row.get(name) for row in rows]) for name in names}
        table = arrow.table(columns)
        schema = self._unified(arrow, table.schema)
        stream = arrow.BufferOutputStream()
        with ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        await write_async(self._file, stream.getvalue().to_pybytes())
        self._schema = schema

    def _column(self, arrow: Any, name: str, values: list[Any]) -> Any:
        try:
            return arrow.array(values, type=self._fixed.get(name))
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError) as error:
            cure = f"fix its type with `types: {{{name}: ...}}`" if name not in self._fixed else "`types` says so"
            raise ValueError(f"column {name!r} cannot hold these values: {error}; {cure}") from None

    def _unified(self, arrow: Any, schema: Any) -> Any:
        try:
            return arrow.unify_schemas([self._schema, schema], promote_options="permissive")
        except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
            raise ValueError(f"the payload has a field of another type than those before it: {error}") from None

    async def flush(self) -> None:
        """Make durable what was taken."""
        if self._file is not None:
            await run_sync(self._file.sync)
            self.written.value = self._file.mark()

    async def finish(self) -> None:
        """Turn what was written into Parquet and put it under its name."""
        if self._file is not None:
            await run_sync(self._file.publish, self._convert)

    def _convert(self, written: BinaryIO, file: BinaryIO) -> None:
        arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
        compression = None if self.compression == "none" else self.compression
        with parquet.ParquetWriter(file, self._schema, compression=compression) as writer:
            waiting: list[Any] = []
            for table in _tables(written):
                waiting.append(_with_schema(arrow, table, self._schema))
                if sum(each.num_rows for each in waiting) >= self.row_group:
                    whole = arrow.concat_tables(waiting)
                    full = whole.num_rows - whole.num_rows % self.row_group
                    writer.write_table(whole.slice(0, full), row_group_size=self.row_group)
                    waiting = [whole.slice(full)]
            if any(each.num_rows for each in waiting):
                writer.write_table(arrow.concat_tables(waiting), row_group_size=self.row_group)

    async def close(self) -> None:
        """Remove the hidden file, unless it has its name or a later run goes on in it."""
        if self._file is not None:
            await run_sync(partial(self._file.close, keep=self.written.kept))


def _tables(written: BinaryIO) -> Iterator[Any]:
    """The tables of an Arrow stream file that holds one stream after the other."""
    ipc = pyarrow("pyarrow.ipc")
    end = written.seek(0, 2)
    written.seek(0)
    while written.tell() < end:
        yield ipc.open_stream(written).read_all()


def _with_schema(arrow: Any, table: Any, schema: Any) -> Any:
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else arrow.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return arrow.table(columns, schema=schema)


def _arrow_type(arrow: Any, name: str, alias: str) -> Any:
    try:
        return arrow.type_for_alias(alias)
    except ValueError:
        raise ValueError(
            f"types: {name}: Arrow knows no type {alias!r}; it knows int64, float64, string, bool, ..."
        ) from None


def _row(payload: Any) -> Mapping[str, Any]:
    fields = _plain(payload)
    if not isinstance(fields, dict) or not fields:
        raise ValueError(f"a payload of type {type(payload).__name__} has no fields to make a row of")
    return fields


def _plain(value: Any) -> Any:
    """Without classes, and with masks for secrets; dates, decimals and bytes stay what they are."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return str(value)
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in value}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value
