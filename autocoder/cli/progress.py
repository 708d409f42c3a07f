"""What a person sees of a run while it lasts: one live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

import anyio

from autocoder.cli.reporting import say
from autocoder.summary import RunSummary

LIVE_SECONDS: Final = 0.2
FIRST_LINE_SECONDS: Final = 2.0
LINE_SECONDS: Final = 5.0
RATE_SECONDS: Final = 2.0
STOPPING: Final = "stopping: finishing what was read; a second signal stops by force"


class Shown(Protocol):
    """Where progress goes."""

    def __call__(self, line: str, detail: str) -> None: ...


class Rates:
    """Messages a second, over the last two seconds or so."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, int]] = []

    def __call__(self, now: float, messages_in: int, messages_out: int) -> tuple[float, float]:
        """What the counts, as they stand at `now` (seconds), come to."""
        self._seen.append((now, messages_in, messages_out))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_SECONDS:
            del self._seen[0]
        then, had_in, had_out = self._seen[0]
        elapsed = now - then
        return ((messages_in - had_in) / elapsed, (messages_out - had_out) / elapsed) if elapsed > 0 else (0.0, 0.0)


async def watch(progress: Callable[[], RunSummary | None], show: Shown, *, live: bool) -> None:
    """Show how a run goes until cancelled; a stop that was asked for is said once."""
    rates, said_stop, due = Rates(), False, time.monotonic() + (0 if live else FIRST_LINE_SECONDS)
    while True:
        await anyio.sleep(LIVE_SECONDS)
        summary = progress()
        if summary is None:
            continue
        now = time.monotonic()
        per_second = rates(now, summary.messages_in, summary.messages_out)
        if summary.drained and not said_stop:
            said_stop = True
            say(STOPPING)
        if now >= due:
            due = now + (0 if live else LINE_SECONDS)
            show(line_of(summary, *per_second), detail_of(summary))


def line_of(summary: RunSummary, in_rate: float, out_rate: float) -> str:
    """The whole run in one line."""
    text = (
        f"{summary.pipeline} {summary.duration:.0f} s: {summary.messages_in:,} in ({in_rate:,.0f}/s), "
        f"{summary.messages_out:,} out ({out_rate:,.0f}/s)"
    )
    if summary.dead_letters:
        text += f", {summary.dead_letters:,} dead letter{'' if summary.dead_letters == 1 else 's'}"
    return text


def detail_of(summary: RunSummary) -> str:
    """What each component has taken (given, for a source) so far."""
    counts = (
        f"{name} {each.given if each.kind == 'source' else each.taken:,}" for name, each in summary.components.items()
    )
    return "  ".join(counts)


def is_live() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again and again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def plain_line(line: str, detail: str) -> None:
    """A line like any other."""
    say(f"{line}; {detail}")
