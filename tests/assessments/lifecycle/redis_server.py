"""A Redis of the tests' own, and what is read of the level above it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from autocoder_components.assessments.lifecycle.shared_cache import RedisLevel
from autocoder_components.assessments.lifecycle.states import AssessmentState

PASSWORD = "hunter22"


class Server:
    """A Redis of the test's own on a port of 127.0.0.1, to be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "requirepass": PASSWORD, "save": "", "dir": self._folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < until and self._process.poll() is None, "the server does not start"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def own_server(folder: Path) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server on the path (Debian: redis-server)")
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def read(level: RedisLevel, assessment_id: str = "a") -> AssessmentState | None:
    return (await level.get(assessment_id))[0]
