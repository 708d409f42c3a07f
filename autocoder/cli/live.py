"""The line on a terminal that is drawn again and again while a run lasts; imports Rich, and is imported for terminals alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autocoder.cli.progress import Shown


@contextmanager
def live_line() -> Iterator[Shown]:
    """A line on the terminal, with the components below it, gone at the end.

    What others print meanwhile goes above it: stderr always, stdout only where it is the terminal too (it would end up on
    stderr otherwise, and data must not).
    """
    console = Console(stderr=True, soft_wrap=True)
    with Live(
        console=console, transient=True, auto_refresh=False, redirect_stderr=True, redirect_stdout=sys.stdout.isatty()
    ) as live:

        def show(line: str, detail: str) -> None:
            text = Text.assemble((line, "bold"), "\n", (detail, "dim"), no_wrap=True, overflow="ellipsis")
            live.update(text, refresh=True)

        yield show
