"""`console.Print`: payloads on standard output, a line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Any, Final, Literal

from anyio.to_thread import run_sync
from pydantic import Field
from pydantic_core import to_json

from autocoder import Sink

_stdout_lock: Final = Lock()  # several sinks may print; their lines must not mix

_LINE_ENDS: Final = {ord(end): repr(end)[1:-1] for end in "\n\r"}
_CONTROLS: Final = [
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0x200E, 0x200F, 0x2028, 0x2029),  # marks of direction, separators of lines and paragraphs
    *range(0x202A, 0x202F),  # embeddings and overrides of direction
    *range(0x2066, 0x206A),  # isolates of direction
]
_FOR_TERMINAL: Final = {code: f"\\u{code:04x}" for code in _CONTROLS}


class Print(Sink[Any]):
    """Print each payload as one line on standard output.

    ```yaml
    pipeline: look
    components:
      orders: {use: files.ReadJsonLines, with: {path: orders.jsonl}}
      out:    {use: console.Print, from: orders, with: {format: repr}}
    ```

    `json` is the payload as JSON Lines have it, with null for NaN and infinity; `repr` as Python writes it; `text` is a
    string as it is, and anything else as str() gives it. Line ends in a payload are escaped, so that a payload stays a
    line. Secrets are masked. Where standard output is a terminal, control characters and marks that turn the direction of
    text are escaped too: a payload cannot move the cursor, set the title or look like other text.

    Each batch is written and flushed before the next is taken. When the reader is gone (`| head`), writing fails with
    BrokenPipeError and the pipeline stops, as any program in a pipe does: what could not be printed does not count as
    done. The command line then ends without a word and with exit code 0.
    """

    format: Annotated[Literal["json", "repr", "text"], Field(description="how a payload becomes a line")] = "json"

    async def write(self, batch: Sequence[Any], /) -> None:
        """Print all payloads, or none where one has no such form."""
        lines = [self._line(payload) for payload in batch]
        if sys.stdout.isatty():
            lines = [line.translate(_FOR_TERMINAL) for line in lines]
        # A slow reader must not hold the event loop, and one that never reads must not hold a stopping pipeline.
        await run_sync(_print, "\n".join((*lines, "")), abandon_on_cancel=True)

    def _line(self, payload: Any) -> str:
        if self.format == "json":
            return to_json(payload, inf_nan_mode="null").decode()
        line = repr(payload) if self.format == "repr" else str(payload)
        return line.translate(_LINE_ENDS)


def _print(text: str) -> None:
    out = sys.stdout
    encoding = out.encoding or "utf-8"
    with _stdout_lock:
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
