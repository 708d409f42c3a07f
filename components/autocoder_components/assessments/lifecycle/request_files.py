"""Files of requests, one a line, as `autocoder assessments create --file` reads them; what is wrong is told with its line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autocoder import UsageError, parse_json
from autocoder_components.assessments.lifecycle.errors import ConflictingRequestError, InvalidRequestError
from autocoder_components.assessments.lifecycle.legacy import BYTE_ORDER_MARK
from autocoder_components.assessments.lifecycle.requests import judged
from autocoder_components.assessments.lifecycle.states import Policy


def rooted(path: str) -> str:
    """A path as it is meant in this working folder: whoever works on the request is in another one."""
    # An empty path would become the working folder; it is left for the store to refuse.
    # `Path.expanduser` fails for a user that this machine does not know.
    return str(Path(os.path.expanduser(path)).absolute()) if path else path  # noqa: PTH111


def _from_here(request: dict[str, Any]) -> dict[str, Any]:
    """A sound request with its paths as they are meant here; they may stand among its options."""
    meant = {name: _from_here(value) if name == "options" else value for name, value in request.items()}
    return {**meant, "paths": [rooted(each) for each in meant["paths"]]} if "paths" in meant else meant


class RequestFile:
    """The requests of a file, or of stdin for `-`, each judged, with their paths as they are meant in this working folder.

    Raises UsageError and InvalidRequestError with the line.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self.requests: list[Any] = []
        self._lines: dict[str, int] = {}
        for number, line in enumerate(self._text().removeprefix(BYTE_ORDER_MARK).split("\n"), 1):
            if line.strip():
                self.requests.append(self._read(number, line))

    def _text(self) -> str:
        try:
            return sys.stdin.read() if self._file == "-" else Path(self._file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._file}: cannot be read: {error}") from None

    def _read(self, number: int, line: str) -> Any:
        try:
            found = parse_json(line, unique_keys=True)
            new = judged(found, Policy())
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{self._file}:{number}: {error}; nothing was stored", error.fields) from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self._file}:{number}: no JSON ({error}); nothing was stored") from None
        self._lines[new.assessment_id] = number
        return _from_here(found)

    @contextmanager
    def told_by_line(self) -> Iterator[None]:
        """An id that the store refuses is told with the last line that has it."""
        try:
            yield
        except ConflictingRequestError as error:
            number = self._lines[error.assessment_id]
            raise UsageError(f"{self._file}:{number}: {error}; nothing was stored") from None
