"""A circuit breaker for each host, so that one that is dead does not hold up the probes of all its servers.

The states and the counting are those of pybreaker. Around it stands what a probe needs besides: circuits are bounded in number;
the pause follows a clock that nobody sets; after it there is exactly one try, while the others of the eight that run at once go
on to other hosts (pybreaker lets every caller through, and a dead host would hold all of them for a timeout again and again);
and an outcome is recorded when it is known, since a try that was cancelled tells nothing of the host.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from autocoder_components.assessments.probes.outcome import UnavailableError

if TYPE_CHECKING:
    import pybreaker

MOST_HOSTS: Final = 10_000


def import_pybreaker() -> Any:
    """The library; raises UnavailableError with the cure where it is not installed."""
    try:
        import pybreaker  # noqa: PLC0415  an optional library
    except ImportError:
        raise UnavailableError(
            "probes over HTTP need a library that is not installed; run: pip install 'autocoder[http]'"
        ) from None
    return pybreaker


@dataclass(slots=True)
class _Circuit:
    breaker: pybreaker.CircuitBreaker
    since: float
    """When it last failed, or was given to one that tries."""


class Breakers:
    """Counts failures in a row by host. After `failures` of them the host is left alone for `pause` seconds, then tried by one.

    Used on one event loop; keeps no more than 10,000 hosts, and forgets the one that was used least lately. `record` raises
    UnavailableError where the library is not installed.
    """

    def __init__(self, failures: int, pause: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most = failures
        self._pause = pause
        self._now = now
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def wait(self, host: str) -> float:
        """Seconds for which the host is to be left alone; 0 where it may be tried."""
        circuit = self._circuits.get(host)
        if circuit is None or circuit.breaker.current_state == "closed":
            return 0.0
        left = circuit.since + self._pause - self._now()
        if left > 0:
            return left
        circuit.breaker.half_open()
        circuit.since = self._now()  # whoever asks next waits for the outcome of this try
        return 0.0

    def record(self, host: str, *, reached: bool) -> None:
        """Whether a try reached the host."""
        if reached:
            self._circuits.pop(host, None)
            return
        library = import_pybreaker()
        circuit = self._circuits.get(host)
        if circuit is None:
            made = library.CircuitBreaker(self._most, self._pause, throw_new_error_on_trip=False)
            circuit = self._circuits[host] = _Circuit(made, 0.0)
        self._circuits.move_to_end(host)
        circuit.since = self._now()
        with suppress(_UnreachedError, library.CircuitBreakerError):
            circuit.breaker.call(_fail)
        if len(self._circuits) > MOST_HOSTS:
            self._circuits.popitem(last=False)


class _UnreachedError(Exception):
    """How pybreaker is told of a failure."""


def _fail() -> None:
    raise _UnreachedError
