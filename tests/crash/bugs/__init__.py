"""Seeded bugs: each breaks one rule of the framework, in the process of a case alone, so that it can be seen that the harness
catches it. None of them is in the framework; `AUTOCODER_CRASH_BUG=name` plants one in all cases of a run by hand.
"""

from __future__ import annotations

import os
from typing import Final

from tests.crash.bugs import beside, commits, epochs, messages, promises
from tests.crash.planting import Bug

VARIABLE: Final = "AUTOCODER_CRASH_BUG"
BUGS: Final = {
    each.name: each
    for module in (commits, messages, epochs, promises, beside)
    for each in vars(module).values()
    if isinstance(each, Bug)
}


def plant(name: str) -> None:
    """Break a rule in this process, for good; nothing where no name is given."""
    name = name or os.environ.get(VARIABLE, "")
    if name:
        BUGS[name].plant()
