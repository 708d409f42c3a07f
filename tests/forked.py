"""The command line in processes of its own that need not import the framework: forked from one that has, and has no threads.

For tests that start a command a dozen times and are not about how a process starts.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Final

from tests.cli.answer import Answer

_SERVED: Final = multiprocessing.get_context("forkserver")
_SERVED.set_forkserver_preload(
    [
        *("anyio._backends._asyncio", "autocoder.cli.main", "autocoder.cli.loading", "autocoder.cli.run"),
        *("autocoder_components.flow", "autocoder_components.assessments", "cel"),
    ]
)
_FAILPOINTS: Final = "AUTOCODER_FAILPOINTS"


def command(*words: str, cwd: Path, failpoint: str = "") -> Answer:
    """What a command says there, and its exit code; below zero that is the signal which ended it, as at a `failpoint`."""
    _serve()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _SERVED.Process(target=_command, args=(words, cwd, failpoint, out, err, dict(os.environ)))
        process.start()
        try:
            process.join()
        finally:
            process.kill()
        assert process.exitcode is not None
        return Answer(process.exitcode, out.read_text(), err.read_text())


def _serve() -> None:
    """Start what forks, unless it runs already. Failpoints do nothing where none was named at the start."""
    before = os.environ.get(_FAILPOINTS)
    os.environ[_FAILPOINTS] = "none:1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ[_FAILPOINTS]
        if before is not None:
            os.environ[_FAILPOINTS] = before


def _command(words: tuple[str, ...], cwd: Path, failpoint: str, out: Path, err: Path, environ: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o644), number)
    sys.argv = ["autocoder", *words]
    from autocoder.cli.main import main
    from autocoder.store import failpoints

    failpoints.arm(failpoint)
    main()
