"""The flags of the move, and what they say of an id. They are settings of an environment: `assessments: moving:` in `config/`.

They may change while processes run, and need not change everywhere at the same moment: what was decided stays.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from autocoder import ConfigurationError, load_settings
from autocoder_components.assessments.settings import MovingFlags, service_settings

BUCKETS: Final = 10_000
LOOK_SECONDS: Final = 1.0
_logger: Final = logging.getLogger("autocoder.assessments")


class Home(StrEnum):
    """Which of the two systems does an assessment."""

    STORE = "store"
    LEGACY = "legacy"


def bucket(assessment_id: str) -> int:
    """The bucket of an id, 0 to 9999: the same in every process, version and machine (SHA-256, and not `hash`)."""
    digest = hashlib.sha256(assessment_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def home_by(flags: MovingFlags, assessment_id: str) -> Home:
    """Where the flags alone send an id."""
    moved = flags.store and bucket(assessment_id) < flags.percentage * BUCKETS / 100
    return Home.STORE if moved else Home.LEGACY


class WatchedFlags:
    """The flags of an environment, read again when its file has changed: going back needs no restart.

    Call it for the flags that hold now; it looks at the file once a second at most. A file that is wrong leaves the flags as
    they are, with one warning. Raises ConfigurationError where the first look finds something wrong.

    `environment` and `folder` are those of `load_settings`: the environment's name (default: AUTOCODER_ENV, or development),
    and the folder from which the project is looked for (default: the working folder).
    """

    def __init__(
        self,
        environment: str | None = None,
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment, self._folder, self._clock = environment, folder, clock
        self._file: Path | None = None
        self._read()  # finds the file, whose stamp comes before what it says
        self._stamp = self._stamped()
        self._flags = self._read()
        self._looked = clock()
        self._told = ""

    def __call__(self) -> MovingFlags:
        """The flags that hold now."""
        moment = self._clock()
        if moment - self._looked >= LOOK_SECONDS:
            self._looked = moment
            stamp = self._stamped()
            if stamp is None or stamp != self._stamp:
                self._stamp = stamp
                self._renew()
        return self._flags

    def _renew(self) -> None:
        before = self._flags
        try:
            self._flags = self._read()
        except ConfigurationError as error:
            said = f"the flags of the move stay as they are: {error}"
            if said != self._told:
                _logger.warning("%s", said)
        else:
            said = f"the flags of the move are now: {self._flags}"
            if self._flags != before:
                _logger.info("%s", said)
        self._told = said

    def _read(self) -> MovingFlags:
        settings, problems = load_settings(self._environment, environ=os.environ, folder=self._folder)
        if settings is None:
            raise ConfigurationError(problems)
        self._file = settings.file
        return service_settings(settings).moving

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
