"""What a component raises that is a failure of its own, and not of those who call it."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from typing import Final

Fault = Exception | SystemExit | CancelledError
FAULTS: Final = (Exception, SystemExit, CancelledError)
"""`sys.exit` is one: it would tear down the event loop, without a word of whose it was, and with whatever exit code it says. So
is the cancellation of something that a component awaits, which nobody has cancelled itself. KeyboardInterrupt is none."""


def faults() -> tuple[type[Fault], ...]:
    """FAULTS, for an `except` clause; without cancellation where it is the task at hand that is cancelled."""
    try:
        task = current_task()
    except RuntimeError:  # a thread without an event loop, in which nobody cancels
        return FAULTS
    return FAULTS if task is None or not task.cancelling() else FAULTS[:-1]
