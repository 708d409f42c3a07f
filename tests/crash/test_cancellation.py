"""A run that is cancelled leaves nothing behind, and the next one ends as if nothing had been (`make crash`: everywhere)."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest

from tests.crash.cancellation import cancelled_at
from tests.crash.databases import make_tables


@pytest.mark.timeout(600)
@pytest.mark.parametrize("topology", ["chain", "keyed", "pool", "turns"])
def test_cancellation_anywhere(tmp_path: Path, topology: str) -> None:
    template = tmp_path / "template.db"
    anyio.run(make_tables, f"sqlite:///{template}")
    chance, at, tried = random.Random(topology), 1, 0
    while True:
        running, wrong = cancelled_at(topology, 1, at, template, tmp_path)
        assert wrong == [], f"cancelled at await {at}"
        if not running:
            break
        tried += 1
        at += chance.randint(1, 5) if at < 40 else chance.randint(20, 60)
        assert at < 100_000
    assert tried > 8
