"""The command line in processes of its own that need not import the framework: forked from one that has, and has no threads.

For tests that start a command a dozen times and are not about how a process starts.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from tests.cli.answer import Answer

_SERVED = multiprocessing.get_context("forkserver")
_SERVED.set_forkserver_preload(
    ["autocoder.cli.main", "autocoder.cli.loading", "autocoder.pipeline", "autocoder_components.flow"]
)


def command(*words: str, cwd: Path) -> Answer:
    """What a command says there, and its exit code; below zero that is the signal which ended it."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _SERVED.Process(target=_command, args=(words, cwd, out, err, dict(os.environ)))
        process.start()
        process.join()
        assert process.exitcode is not None
        return Answer(process.exitcode, out.read_text(), err.read_text())


def _command(words: tuple[str, ...], cwd: Path, out: Path, err: Path, environ: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o644), number)
    sys.argv = ["autocoder", *words]
    from autocoder.cli.main import main

    main()
