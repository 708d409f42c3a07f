"""While a pipeline runs, what was on the heap before is left out of garbage collections; afterwards it is as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pytest

from autocoder import Batch, Pipeline, Sink, Source
from autocoder.runtime.heap import at_rest


class One(Source[int]):
    """Gives one number."""

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        if resume is None:
            yield Batch([1], 1)


class Looks(Sink[int]):
    """Notes how many objects are left out of collections."""

    def check(self) -> None:
        self.seen = 0

    def write(self, batch: Sequence[int], /) -> None:
        self.seen = gc.get_freeze_count()


@pytest.fixture
def thawed() -> Iterator[None]:
    """Whatever other tests left frozen is given back."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def frozen_in_a_run() -> int:
    pipeline, looks = Pipeline("heap"), Looks()
    pipeline.add("looks", looks, after=pipeline.add("one", One()))
    pipeline.run()
    return looks.seen


def test_the_heap_rests_while_a_pipeline_runs(thawed: None) -> None:
    assert frozen_in_a_run() > 1000
    assert gc.get_freeze_count() == 0


def test_the_last_of_several_runs_gives_it_back(thawed: None) -> None:
    with at_rest():
        with at_rest():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_frozen_stays_frozen(thawed: None) -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    frozen_in_a_run()
    # A frozen object may be freed by its last reference; what is not given back is the generation.
    assert 0 < gc.get_freeze_count() <= before
