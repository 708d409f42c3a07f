"""What is on the heap when a run begins (code, mostly) is looked at by no collection of garbage until it ends.

A run allocates so much that the collector walks through all there is every second or so, a tenth and more of the processor
time of a durable run; nearly everything it finds each time are the modules of SQLAlchemy, pydantic and the like.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_runs = 0


@contextmanager
def at_rest() -> Iterator[None]:
    """Leave the heap as it is now out of the collections; the last run of a process to end gives it back to them.

    Cycles among these objects that become garbage meanwhile are freed then. A heap that somebody else has frozen stays so.
    """
    global _runs  # noqa: PLW0603  there is one heap
    if _runs == 0 and gc.get_freeze_count() > 0:
        yield
        return
    _runs += 1
    if _runs == 1:
        gc.freeze()
    try:
        yield
    finally:
        _runs -= 1
        if _runs == 0:
            gc.unfreeze()
