"""While runs commit in a thread of their own, threads of the interpreter take turns quickly; then as before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autocoder import Pipeline
from autocoder.runtime.switching import SECONDS, quick_switches
from tests.support import Collect, Numbers


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_the_last_of_several_puts_back_what_was_before() -> None:
    sys.setswitchinterval(0.003)
    first, second = quick_switches(), quick_switches()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(SECONDS)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(0.003)


@pytest.mark.parametrize("set_before", [True, False])
def test_what_somebody_else_has_set_stays(set_before: bool) -> None:
    if set_before:
        sys.setswitchinterval(SECONDS / 2)
    with quick_switches():
        if not set_before:
            sys.setswitchinterval(SECONDS / 2)
    assert sys.getswitchinterval() == pytest.approx(SECONDS / 2)


class Looks(Collect):
    """Looks at how soon threads switch while the run lasts."""

    async def open(self) -> None:
        self.seen = sys.getswitchinterval()


@pytest.mark.parametrize("kept", [True, False])
def test_runs_on_sqlite_ask_for_it(tmp_path: Path, kept: bool) -> None:
    pipeline, sink = Pipeline("p"), Looks()
    pipeline.add("sink", sink, after=pipeline.add("numbers", Numbers(upto=3)))
    before = sys.getswitchinterval()
    pipeline.run(database=f"sqlite:///{tmp_path}/x.db" if kept else None)
    assert sink.seen == pytest.approx(SECONDS if kept else before)
    assert sys.getswitchinterval() == pytest.approx(before)
