"""What SIGTERM and SIGINT do to a run: the first drains it, the second stops it by force."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from types import FrameType
from typing import Final

import anyio
from anyio.abc import TaskStatus

from autocoder.errors import ForcedStop
from autocoder.summary import RunSummary

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
PATIENCE: Final = 2.0  # seconds that the event loop has to notice a second signal


async def stoppable(
    name: str, run: Callable[[], Awaitable[RunSummary]], begun: anyio.Event, drain: Callable[[], None]
) -> RunSummary:
    """Run the pipeline `name`: drain on the first SIGTERM or SIGINT, stop by force on the second, raising ForcedStop.

    Until it has begun (it opens its database, or waits for another instance) there is nothing to drain: the first ends it.
    """
    stopped: list[signal.Signals] = []

    async def listen(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*SIGNALS) as received, _last_resort():
            task_status.started()
            async for number in received:
                stopped.append(number)
                if len(stopped) > 1 or not begun.is_set():
                    scope.cancel()
                    return
                drain()

    summary: RunSummary | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            await tasks.start(listen, scope)
            try:
                summary = await run()
            except Exception as error:  # raised below: out of the group it would come wrapped in another
                failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if summary is None and len(stopped) == 1:
        return RunSummary(name, {}, 0.0, drained=True)
    if summary is None:
        forced = ForcedStop(
            f"stopped by force by a second {stopped[-1].name}; what was not committed will be done again"
        )
        forced.exit_code = 128 + stopped[-1]
        raise forced
    return summary


@contextmanager
def _last_resort() -> Iterator[None]:
    """Within it a second signal ends the process where the event loop does not hear it: a handler keeps the loop busy.

    Nothing on the loop could: neither a cancellation nor an error reaches a plain function that does not return. To be
    entered once the loop has its own handlers, which are called as well and put back when it is done.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    came: list[signal.Signals] = []
    heard = Event()

    def count(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        if len(came) == 2:
            Thread(target=_end_unless, args=(heard, came[-1]), daemon=True).start()
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    for each in SIGNALS:
        signal.signal(each, count)
    try:
        yield
    finally:
        heard.set()


def _end_unless(heard: Event, number: signal.Signals) -> None:
    if heard.wait(PATIENCE):
        return
    with suppress(OSError):
        why = "a component kept the event loop busy (run_in: thread or process keeps it free)"
        os.write(2, f"error: stopped by force by a second {number.name}; {why}\n".encode())
    os._exit(128 + number)
