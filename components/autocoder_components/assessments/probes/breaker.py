"""A circuit breaker for each host, so that one that is dead does not hold up the probes of all its servers.

Our own, behind a look at the sources of what there is (November 2026). What a probe needs is: many circuits, bounded and
forgotten by age; after the pause exactly one try, while the others of the eight that run at once go on to other hosts, or a
dead host would hold all of them for a timeout again and again; a clock that nobody sets; and a try that was cancelled to
count as neither success nor failure.

- pybreaker 1.4.1 (BSD, kept, no dependencies): half-open lets every caller through; an exception, a cancellation too, is a
  failure or, if excluded, a success that closes the circuit; it measures by `datetime.now`; its coroutines are Tornado's.
- circuitbreaker 2.1.3 (BSD, 2025): the same half-open state and the same two ends of a call; whole seconds.
- purgatory 3.0.1 (MIT, 2024, asyncio): the same; `time.time`; a repository that keeps every circuit for ever.
- fluxgate 0.9.4 (MIT, 2026, asyncio, no dependencies): counts no cancellations; but where one try at a time is allowed the
  others wait for it, by a semaphore, instead of going on; `time.time`; one object for each circuit.
- aiobreaker 1.2.0 (BSD): nothing since 2021. hyx 0.0.2 (Apache): nothing since 2023.

Around any of them the bound, the one try and the cancellations would still be ours, and of the library only the counting to
three would be used.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_HOSTS: Final = 10_000


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opened: float = 0.0


class Breakers:
    """Counts failures in a row by host. After `failures` of them the host is left alone for `pause` seconds, then tried by one.

    Used on one event loop; keeps no more than 10,000 hosts, and forgets the one that was used least lately.
    """

    def __init__(self, failures: int, pause: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most = failures
        self._pause = pause
        self._now = now
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def wait(self, host: str) -> float:
        """Seconds for which the host is to be left alone; 0 where it may be tried."""
        circuit = self._circuits.get(host)
        if circuit is None or circuit.failures < self._most:
            return 0.0
        left = circuit.opened + self._pause - self._now()
        if left > 0:
            return left
        circuit.opened = self._now()  # whoever asks next waits for the outcome of this try
        return 0.0

    def record(self, host: str, *, reached: bool) -> None:
        """Whether a try reached the host."""
        if reached:
            self._circuits.pop(host, None)
            return
        circuit = self._circuits.setdefault(host, _Circuit())
        self._circuits.move_to_end(host)
        circuit.failures += 1
        circuit.opened = self._now()
        if len(self._circuits) > MOST_HOSTS:
            self._circuits.popitem(last=False)
