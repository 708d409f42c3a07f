"""What a user wrote, as plain frozen data: the one input of compiling, whether it came from YAML or from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autocoder.component import Component, RunIn
from autocoder.errors import Place


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failing message is tried. Attempts count the first one; delays are seconds.

    The delay before attempt n + 1 is uniform in [0, min(cap, backoff * 2**(n - 1))] (full jitter). `on` names the exception
    classes that are worth another attempt, by class name or dotted path, subclasses included; empty means any but SystemExit.
    """

    attempts: int = 1
    backoff: float = 1.0
    cap: float = 30.0
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """What happens to a message that failed: its attempts, and what comes after the last one."""

    retry: RetryPolicy = RetryPolicy()
    then: Literal["dead_letter", "drop", "stop"] = "dead_letter"


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How a channel behaves. None means not said, so that neighbours may fuse into one task.

    `capacity` counts messages. `key` names the payload field by which the channel orders: with `fifo`, messages of one key
    stay in order where the consumer reorders others; with `priority`, the lowest goes first. `limit` bounds the backlog of
    a durable channel.
    """

    durable: bool = False
    capacity: int | None = None
    on_full: Literal["block", "drop_newest", "drop_oldest"] | None = None
    order: Literal["fifo", "priority"] | None = None
    key: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """One input port fed by one output port; `output` None means the only output of `source`.

    Without a `source` it is a hole: something feeds that port (without a `port`: every one) that was reported as wrong.
    """

    port: str
    source: str
    output: str | None = None
    options: ChannelOptions = ChannelOptions()
    place: Place = Place("")


@dataclass(frozen=True, slots=True)
class ComponentDeclaration:
    """A named use of a component class.

    `type` is None where `use` could not be resolved, `component` where the class could not be configured: the problem was
    reported already, and compiling goes on around the hole to find the others. None for the rest means the default of
    the class; `renamed_from` is the name under which an earlier run kept what this component goes on with.
    """

    name: str
    use: str
    type: type[Component] | None
    component: Component | None
    connections: tuple[Connection, ...] = ()
    on_error: ErrorPolicy | None = None
    concurrency: int | None = None
    ordered: bool | None = None
    run_in: RunIn | None = None
    renamed_from: str | None = None
    place: Place = Place("")


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """An epoch closes after `every` seconds or `messages` messages read by the region's sources, whichever is first."""

    every: float = 0.1
    messages: int = 10_000


@dataclass(frozen=True, slots=True)
class PipelineDeclaration:
    """A whole pipeline. `secrets` are the secret values that its configuration contains, for the redactor.

    `written` says for each value that came out of variables what stands in the file, for problems: the value may be one
    that was never meant to be shown, pasted into the wrong place. `partial` says that parts of the text are missing here
    (the second of two equal keys, say), so that nothing may be called absent.
    """

    name: str
    components: tuple[ComponentDeclaration, ...]
    commit: CommitPolicy = CommitPolicy()
    description: str = ""
    place: Place = Place("")
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    written: Mapping[str, str] = field(default_factory=dict, repr=False)
    partial: bool = False
