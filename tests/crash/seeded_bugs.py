"""Bugs to plant, one rule of the runtime broken each, by replacing functions in the process that runs the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A rule broken: what is replaced, and the topologies in which it shows."""

    name: str
    plant: Callable[[], None]
    topologies: tuple[str, ...]


BUGS: dict[str, Bug] = {}
