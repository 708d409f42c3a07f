"""`files.WriteJsonLines`: payloads as JSON values, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from pydantic_core import to_json

from autocoder import Sink, Value
from autocoder_components.files.atomic import AtomicFile, Mark, write_async
from autocoder_components.files.fields import Append, CreateFolders, OutputPath


class WriteJsonLines(Sink[Any], resumes=True):
    """Write each payload as a line of JSON (JSON Lines, NDJSON).

    ```yaml
    pipeline: keep-orders
    components:
      orders: {use: files.ReadJsonLines, with: {path: orders.jsonl}}
      kept:   {use: files.WriteJsonLines, from: orders, with: {path: kept/orders.jsonl.gz, create_folders: true}}
    ```

    Payloads are dataclasses, pydantic models (by alias), TypedDicts or builtins. Secrets are masked; NaN and infinity,
    which JSON does not know, become null. A payload that has no JSON form is refused, and nothing of its batch is written.

    The file appears under its name when the pipeline ends well, complete and in one step, in place of what was
    there; a pipeline that fails leaves what was there. Until then it is a hidden file `.name.<random>.part` beside it,
    which stays behind only if the process is killed. In a run that is kept,
    the next one goes on in it: what was committed is there once, whatever happened. With `append` what the file holds is
    copied first; if someone else changes it meanwhile, the pipeline fails rather than undo that.
    """

    path: OutputPath
    append: Append = False
    create_folders: CreateFolders = False
    written = Value(Mark | None, default=None)

    async def open(self) -> None:
        """Make the hidden file; refuse a path that cannot be written, or that another sink writes."""
        mark = self.written.value
        create = partial(AtomicFile, append=self.append, create_folders=self.create_folders, resume=mark)
        self._file: AtomicFile = await run_sync(create, self.path)

    async def write(self, batch: Sequence[Any], /) -> None:
        """Take all payloads, or none where one is refused."""
        lines = [to_json(payload, inf_nan_mode="null") for payload in batch]
        await write_async(self._file, b"\n".join((*lines, b"")))

    async def flush(self) -> None:
        """Make durable what was taken."""
        await run_sync(self._file.sync)
        self.written.value = self._file.mark()

    async def finish(self) -> None:
        """Put the file under its name."""
        await run_sync(self._file.publish)

    async def close(self) -> None:
        """Remove the hidden file, unless it has its name or a later run goes on in it."""
        await run_sync(partial(self._file.close, keep=self.written.kept))
