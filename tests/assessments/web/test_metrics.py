"""What Prometheus reads, judged by its own parser."""

from __future__ import annotations

import math

import pytest
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.web.metrics import BUCKETS, Family, Meter, Sample, rendered
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.assessments.web.conftest import PREFIX, Served, completed


def parsed(text: str) -> dict[str, Metric]:
    return {each.name: each for each in text_string_to_metric_families(text)}


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True), st.text()), st.floats(), st.text())
def test_any_label_value_and_help_come_back_as_they_were(labels: dict[str, str], value: float, told: str) -> None:
    told = f"<{told}>"
    (family,) = text_string_to_metric_families(rendered([Family("one", "gauge", told, [Sample(value, labels)])]))
    (sample,) = family.samples
    assert sample.labels == labels
    assert sample.value == value or (math.isnan(value) and math.isnan(sample.value))
    assert family.documentation == told


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histogram_counts_every_answer_once_in_its_bucket(seconds: list[float]) -> None:
    meter = Meter()
    for each in seconds:
        meter.count("GET", "/", 200, each)
    family = parsed(rendered(meter.families()))["autocoder_http_request_duration_seconds"]
    counts = {each.labels["le"]: each.value for each in family.samples if each.name.endswith("_bucket")}
    for bound in BUCKETS:
        assert counts.get(repr(bound), 0) == sum(each <= bound for each in seconds)
    assert counts.get("+Inf", 0) == len(seconds)
    total = [each.value for each in family.samples if each.name.endswith("_sum")]
    assert total == ([pytest.approx(sum(seconds))] if seconds else [])


def test_nobody_outside_makes_up_labels() -> None:
    meter = Meter()
    for method in ("GET", "BREW", "x" * 1000, 'a"b'):
        meter.count(method, "unmatched", 404, 0.1)
    samples = parsed(rendered(meter.families()))["autocoder_http_requests"].samples
    assert {each.labels["method"]: each.value for each in samples} == {"GET": 1, "other": 3}


@pytest.mark.anyio
async def test_what_the_store_and_the_requests_come_to(store: AssessmentStore, served: Served) -> None:
    await completed(store, "one", {"score": {"value": 7}})
    await store.batch_create([{"id": "two"}, {"id": "three"}])
    await store.start_processing("two")
    for path in ("/", "/nothing", f"{PREFIX}/one", f"{PREFIX}/nobody", f"{PREFIX}/nobody"):
        await served.client.get(path)
    answer = await served.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = parsed(answer.text)
    for name, family in found.items():
        assert name.startswith("autocoder_") and family.documentation.endswith("."), name
        assert family.type in ("gauge", "counter", "histogram")

    def values(name: str, label: str) -> dict[str, float]:
        return {each.labels[label]: each.value for each in found[name].samples}

    states = values("autocoder_assessments_stored", "state")
    assert states == {"pending": 1, "processing": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert values("autocoder_assessments_health_status", "status") == {"healthy": 1, "degraded": 0, "unhealthy": 0}
    assert found["autocoder_assessments_up"].samples[0].value == 1
    assert found["autocoder_assessments_error_ratio"].samples[0].value == 0
    assert found["autocoder_assessments_cache_misses"].type == "counter"
    requests = {tuple(each.labels.values()): each.value for each in found["autocoder_http_requests"].samples}
    assert requests == {
        ("GET", "/", "200"): 1,
        ("GET", "unmatched", "404"): 1,
        ("GET", PREFIX + "/{assessment_id}", "200"): 1,
        ("GET", PREFIX + "/{assessment_id}", "404"): 2,
    }
    assert found["autocoder_http_requests_in_progress"].samples[0].value == 1
