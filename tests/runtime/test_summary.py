"""A run that only works off what an earlier one left has done something, though its sources gave nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from autocoder import ChannelOptions, ErrorPolicy, Pipeline, PipelineError, Sink
from tests.support import Numbers


class Door(Sink[int]):
    """Takes nothing as long as it is shut."""

    shut: bool

    def write(self, batch: Sequence[int], /) -> None:
        if self.shut:
            raise ValueError("shut")


def ran(database: str, *, shut: bool) -> tuple[int, bool]:
    pipeline = Pipeline("left")
    numbers = pipeline.add("numbers", Numbers(upto=5))
    stop = ErrorPolicy(then="stop")
    pipeline.add("door", Door(shut=shut), after=numbers, channel=ChannelOptions(durable=True), on_error=stop)
    summary = pipeline.run(database=database)
    return summary.messages_in, summary.did_nothing


def test_what_an_earlier_run_left(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'x.db'}"
    with pytest.raises(PipelineError):
        ran(database, shut=True)
    assert ran(database, shut=False) == (0, False)
    assert ran(database, shut=False) == (0, True)
