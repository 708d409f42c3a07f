"""How a rule is broken in a process, for good: the description of a bug, and functions put in the place of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit


@dataclass(frozen=True)
class Bug:
    """How a rule is broken, the invariant that this breaks, and where it should show: topologies and faults.

    `faults` are tried in turn: `none`, `random`, `frozen`, `lost`, the name of a failpoint, or of a work beside the run.
    """

    name: str
    invariant: str
    topologies: tuple[str, ...]
    faults: tuple[str, ...]
    plant: Callable[[], None]


def bug(invariant: str, topologies: str, faults: str = "none random") -> Callable[[Callable[[], None]], Bug]:
    """Make a bug of a function that breaks something."""
    return lambda function: Bug(
        function.__name__, invariant, tuple(topologies.split()), tuple(faults.split()), function
    )


def lose_answers(every: int) -> None:
    """No bug but a fault: every so many commits the answer to a COMMIT that succeeded is lost."""
    commit, numbers = Committer.commit, Counter[str]()

    async def losing(self: Committer, epoch: EpochCommit) -> Any:
        placed = await commit(self, epoch)
        numbers["commits"] += 1
        if numbers["commits"] % every == 0:
            raise ConnectionResetError("the answer is lost")
        return placed

    substitute(Committer, "commit", losing)


def substitute(owner: Any, name: str, value: Any) -> None:
    """Put a broken function in the place of another, which has to take what that is called with: else it is no rule of the
    framework that breaks, and every case is a violation."""
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    wanted = signature(getattr(owner, name)).parameters.values()
    in_order = [each.name for each in wanted if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    signature(value).bind(*in_order, **{each.name: each for each in wanted if each.kind is each.KEYWORD_ONLY})
    setattr(owner, name, value)
