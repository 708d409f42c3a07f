"""Logging to stderr, as text or as one JSON object a line, without secrets."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Set
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

    def __init__(self, secrets: Set[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        own = record.name == LOGGER or record.name.startswith(f"{LOGGER}.")
        text = f"{record.levelname.lower()}: {'' if own else record.name + ': '}{record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return Redactor(self._secrets)(text)


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, and exception where there is one."""

    def __init__(self, secrets: Set[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        redact = Redactor(self._secrets)
        data = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            data["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(data, ensure_ascii=False)


def configure_logging(level: str, form: str, secrets: Set[str] = frozenset()) -> None:
    """Log at `level` and above; libraries are heard from warnings on. May be called again: the last one holds.

    What is added to `secrets` later is masked from then on: those of a pipeline are known only when it has been loaded.
    """
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter(secrets) if form == "json" else TextFormatter(secrets))
    root = logging.getLogger()
    for each in [each for each in root.handlers if isinstance(each, StderrHandler)]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
