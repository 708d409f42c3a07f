"""What Prometheus reads: its text format 0.0.4, and the counting of requests."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from autocoder import __version__
from autocoder_components.assessments.lifecycle.states import Health, Stats

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PREFIX: Final = "autocoder_assessments"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `suffix` is what histograms put behind the name of the family."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one name and kind (`gauge`, `counter` or `histogram`); `help` is one sentence with the unit."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def rendered(families: Iterable[Family]) -> str:
    """The families as Prometheus reads them."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    told = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {told}\n# TYPE {family.name} {family.kind}\n"
    for each in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in each.labels.items())
        yield f"{family.name}{each.suffix}{f'{{{labels}}}' if labels else ''} {_number(each.value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


class Meter:
    """Counts the requests of one service: by method, route and status, and how long the answers took.

    Routes are those of the service, never paths, and methods those that there are: nobody outside makes up labels.
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self.in_progress = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answer was given (status 0: the client was gone before), the last byte after so many seconds."""
        self._requests[method if method in METHODS else "other", route, str(status)] += 1
        counts = self._buckets.setdefault(route, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def families(self) -> list[Family]:
        """What was counted so far."""
        requests = [
            Sample(number, {"method": method, "route": route, "status": status})
            for (method, route, status), number in sorted(self._requests.items())
        ]
        took = [sample for route in sorted(self._buckets) for sample in self._histogram(route)]
        return [
            Family("autocoder_build_info", "gauge", "The version that answers.", [Sample(1, {"version": __version__})]),
            Family("autocoder_http_requests_total", "counter", "Requests that were answered.", requests),
            Family(
                "autocoder_http_requests_in_progress",
                "gauge",
                "Requests that are being answered, long polls and streams included.",
                [Sample(self.in_progress)],
            ),
            Family("autocoder_http_request_duration_seconds", "histogram", "Seconds until the last byte.", took),
        ]

    def _histogram(self, route: str) -> Iterator[Sample]:
        total = 0
        for bound, number in zip((*BUCKETS, math.inf), self._buckets[route], strict=True):
            total += number
            yield Sample(total, {"route": route, "le": _number(bound)}, "_bucket")
        yield Sample(self._seconds[route], {"route": route}, "_sum")
        yield Sample(total, {"route": route}, "_count")


def store_families(stats: Stats | None, health: Health | None) -> list[Family]:
    """What the store says of itself; without both only that it does not answer. What has no value is left out."""
    holds = "unhealthy" if health is None else health.status
    status = [Sample(float(holds == each), {"status": each}) for each in ("healthy", "degraded", "unhealthy")]
    families = [
        _gauge("up", "Whether the database answers: 1, or 0.", float(stats is not None and health is not None)),
        Family(f"{_PREFIX}_health_status", "gauge", "How the store does: 1 for the status that holds.", status),
    ]
    if stats is not None:
        states = [Sample(number, {"state": state}) for state, number in stats.by_state.items()]
        families += [
            Family(f"{_PREFIX}_stored", "gauge", "Assessments that are stored, by state.", states),
            _gauge(
                "throughput_per_minute",
                "Verdicts and failures a minute, over the last hour.",
                stats.throughput_per_minute,
            ),
            _gauge(
                "processing_seconds_mean",
                "Mean seconds of an attempt with a verdict.",
                stats.average_processing_time,
            ),
            _gauge("error_ratio", "Failed over completed and failed, 0 to 1.", stats.error_rate),
        ]
    if health is not None:
        hits, misses = f"{_PREFIX}_cache_hits_total", f"{_PREFIX}_cache_misses_total"
        families += [
            _gauge(
                "oldest_pending_seconds", "How long the oldest pending assessment waits.", health.oldest_pending_seconds
            ),
            _gauge("overdue", "Assessments whose worker is silent since their deadline.", health.overdue),
            _gauge("retries_due", "Failed assessments whose retry is due.", health.retries_due),
            _gauge(
                "query_seconds", "Seconds that the database took for the last look at its health.", health.query_seconds
            ),
            Family(hits, "counter", "Reads that the cache of this process answered.", [Sample(health.cache_hits)]),
            Family(misses, "counter", "Reads that it did not.", [Sample(health.cache_misses)]),
        ]
    return families


def _gauge(name: str, told: str, value: float | None) -> Family:
    return Family(f"{_PREFIX}_{name}", "gauge", told, [] if value is None else [Sample(value)])
