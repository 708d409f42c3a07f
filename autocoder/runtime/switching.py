"""How soon a thread gets the interpreter from another, for the time of a run that commits in a thread of its own.

The thread of an SQLite connection works outside the interpreter and needs it for moments in between. With the 5 ms that are
usual it waits for each of them longer than it works: epochs of 1,000 messages of 1 KB took a sixth longer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SECONDS: Final = 0.0002
_before: list[float] = []


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads wait `SECONDS` at most; the last run of a process to end puts back what was before.

    What is shorter already, or was changed by somebody else meanwhile, stays as it is.
    """
    _before.append(sys.getswitchinterval())
    if _before[0] > SECONDS:
        _set(SECONDS)
    mine = sys.getswitchinterval()
    try:
        yield
    finally:
        before = _before.pop()
        if not _before and sys.getswitchinterval() == mine != before:
            _set(before)


def _set(seconds: float) -> None:
    sys.setswitchinterval(seconds + 1e-7)  # which cuts off what is less than a microsecond
