"""Named places where a test may end the process. They do nothing unless AUTOCODER_FAILPOINTS names some at the start.

`AUTOCODER_FAILPOINTS=commit.state:3` kills this process (SIGKILL) the third time it reaches `commit.state`. Without the
variable a place costs the call of an empty function, and stands nowhere in a loop over messages.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "AUTOCODER_FAILPOINTS"


def _parse(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in filter(None, text.split(",")):
        name, _, count = each.partition(":")
        found[name] = int(count or 1)
    return found


def arm(text: str) -> None:
    """Name other places, counted from now; for a process that was started with some armed."""
    _armed.clear()
    _armed.update(_parse(text))
    _counts.clear()


def passages() -> Mapping[str, int]:
    """How often each place was reached since the start or the last `arm`, in a process that was started with some armed."""
    return dict(_counts)


_armed: Final = _parse(os.environ.get(VARIABLE, ""))
_counts: Final[Counter[str]] = Counter()


def _kill(name: str) -> None:
    _counts[name] += 1
    if _counts[name] == _armed.get(name):
        os.kill(os.getpid(), signal.SIGKILL)


def _pass(name: str) -> None:
    """Not armed: cost nothing."""


reached = _kill if _armed else _pass
"""Says that this process comes by a named place, such as `claim.taken`; packs have places of their own."""
