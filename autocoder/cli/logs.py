"""Logging to stderr, as text or as one JSON object a line, without secrets."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from autocoder.masking import Redactor

LOGGER = "autocoder"


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at that moment: a progress line may stand in front of it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201  this is where logs are printed
        except Exception:
            self.handleError(record)


class TextFormatter(logging.Formatter):
    """`warning: component 'parse', port 'in': ...`; the logger is named where it is not one of ours."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        own = record.name == LOGGER or record.name.startswith(f"{LOGGER}.")
        text = f"{record.levelname.lower()}: {'' if own else record.name + ': '}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return self._redact(text)


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, and exception where there is one."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        data = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            data["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(data, ensure_ascii=False)


def configure_logging(level: str, form: str, secrets: Iterable[str] = ()) -> None:
    """Log at `level` and above; libraries are heard from warnings on. May be called again: the last one holds."""
    redact = Redactor(secrets)
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter(redact) if form == "json" else TextFormatter(redact))
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, StderrHandler)]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
