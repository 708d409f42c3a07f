"""The five kinds of component, as their authors subclass them.

A component's fields are its configuration, its handler is the domain, and nothing else is asked of it: the runtime
owns batching, retry, dead letters, transactions and metrics. A class carries no wiring, so it serves many pipelines.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, ClassVar, Generic, Literal, dataclass_transform

from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from autocoder.config_model import build_config_model, config_values
from autocoder.contract import Contract, read_contract
from autocoder.handler import UnresolvedHints
from autocoder.message import Batch
from autocoder.port import In, Out
from autocoder.statement import Statement

TIn = TypeVar("TIn")
TOut = TypeVar("TOut")
RunIn = Literal["loop", "thread", "process"]


def _defining_locals(frame: FrameType | None) -> Mapping[str, Any]:
    """The local names where a class is being defined: those of the function around it, none at module level."""
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None or frame.f_locals is frame.f_globals:
        return {}
    return dict(frame.f_locals)


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class Component:
    """What the five kinds share: validated fields, `check`, and `open`/`close` around a run.

    Class keywords set the defaults that a pipeline may override: `concurrency` (calls in flight at once), `ordered`
    (whether outputs keep the order of inputs) and `run_in` (`loop`, or `thread`/`process` for what blocks or computes).
    `version="2"` says that what the class keeps (state, the position of a source) means something else than under the
    version before: a pipeline that holds some of the other version is not started on it.
    """

    kind: ClassVar[str] = ""
    default_concurrency: ClassVar[int] = 1
    default_ordered: ClassVar[bool] = True
    default_run_in: ClassVar[RunIn] = "loop"
    kept_version: ClassVar[str] = ""
    _contract: ClassVar[Contract | None] = None
    _config_model: ClassVar[type[BaseModel] | None] = None
    _locals: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(
        cls,
        *,
        concurrency: int | None = None,
        ordered: bool | None = None,
        run_in: RunIn | None = None,
        version: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        cls._contract = cls._config_model = None
        if concurrency is not None:
            cls.default_concurrency = concurrency
        if ordered is not None:
            cls.default_ordered = ordered
        if run_in is not None:
            cls.default_run_in = run_in
        if version is not None:
            cls.kept_version = version
        cls._locals = _defining_locals(sys._getframe(1))
        if cls.kind and cls.__module__ != __name__:
            try:
                cls._contract = read_contract(cls)
            except UnresolvedHints:  # a forward reference: read again, and refused if wrong, at first use
                cls._contract = None

    def __init__(self, **config: Any) -> None:
        self._configure(config, None)

    def _configure(self, config: Mapping[str, Any], context: Mapping[str, Any] | None) -> None:
        validated = type(self).config_model().model_validate(dict(config), context=context)
        self.__dict__.update(config_values(validated))
        self.check()

    @classmethod
    def configured(cls, config: Mapping[str, Any], context: Mapping[str, Any] | None = None) -> Any:
        """An instance from untyped configuration; `context` reaches the validators (import rules and the like)."""
        component = cls.__new__(cls)
        component._configure(config, context)
        return component

    @classmethod
    def config_model(cls) -> type[BaseModel]:
        """The pydantic model of the fields: validates `with:`, and prints their JSON Schema."""
        if cls._config_model is None:
            cls._config_model = build_config_model(cls, Component, cls._locals)
        return cls._config_model

    @classmethod
    def contract(cls) -> Contract:
        """The ports and handlers that the class declares; raises ComponentDefinitionError where they disagree."""
        if cls._contract is None:
            try:
                cls._contract = read_contract(cls)
            except UnresolvedHints as error:
                raise TypeError(f"{cls.__qualname__}: {error}; import it where the class is defined") from error
        return cls._contract

    def check(self) -> None:
        """Override to refuse fields that do not go together: raise ValueError with the cure."""

    async def open(self) -> None:
        """Called once before the first message; acquire here what the component needs."""

    async def close(self) -> None:
        """Called once after the last message, however the run ended, if and only if `open` returned."""

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__}>"


class Source(Component, Generic[TOut]):
    """Brings payloads in: yields batches, each with the position to resume from.

    The class keyword `replayable=False` says that what was read cannot be read again after a crash.
    """

    kind = "source"
    replayable: ClassVar[bool] = True

    def __init_subclass__(cls, *, replayable: bool | None = None, **rest: Any) -> None:
        if replayable is not None:
            cls.replayable = replayable
        super().__init_subclass__(**rest)

    def read(self, resume: Any, /) -> AsyncIterator[Batch[TOut]] | Iterator[Batch[TOut]]:
        """Yield batches from `resume` (None: from the start) until there is no more.

        Called once a run. A plain generator is run as it is (declare `run_in="thread"` if it blocks). On a drain it is
        cancelled or closed between two batches.
        """
        raise NotImplementedError

    def repeats_batches(self) -> bool:
        """Whether reading again from a position gives the same payloads, in batches that begin where they began before.

        Idempotency keys are made of the position before a batch and of the number of the payload in it. Override it where
        the batches depend on when they were read (a file that grows, a table that is polled): a message that is read again
        after a crash may then have another key.
        """
        return self.replayable

    async def committed(self, resume: Any, /) -> None:
        """Called after a commit with the last position that it covers: acknowledge a broker, answer a webhook."""


class Transformer(Component, Generic[TIn, TOut]):
    """One payload in; one, none or several out, as the annotation of `process` says."""

    kind = "transformer"

    def inbox_until(self) -> Literal["drain", "empty"] | None:
        """Override for a transformer whose messages come from `autocoder send` alone, so that it has no `from`.

        Its input is a durable channel that nothing in the pipeline feeds. It ends when the run drains, or with `empty` when
        no message waits. None, as here: its messages come from other components.
        """
        return None

    def finish(self) -> Iterable[TOut] | AsyncIterator[TOut]:
        """Called once when no more input will come in this run; what it gives is emitted last.

        In a kept run it is called once for what came: a later run, also one after a crash, calls it again only when it brought
        the component something new.
        """
        return ()


class Splitter(Component, Generic[TIn]):
    """One payload in; emissions on named outputs: `urgent = Out(Ticket)`, then `return self.urgent(ticket)`."""

    kind = "splitter"

    def outputs(self) -> Mapping[str, Out[Any]]:
        """The outputs of this instance; overridden where the configuration decides them."""
        return dict(type(self).contract().outs)


class Merger(Component, Generic[TOut]):
    """Payloads from named inputs, `left = In(A)` handled by `on_left`; one, none or several out.

    An input without a handler of its own goes to `on_message(port, payload)`.
    """

    kind = "merger"

    def inputs(self) -> Mapping[str, In[Any]]:
        """The inputs of this instance; overridden where the configuration decides them."""
        return dict(type(self).contract().ins)

    def holds(self, port: str, /) -> bool:
        """Whether to leave the messages of an input where they are for now; asked before each batch is taken.

        In a kept run what waits so is kept as well.
        """
        return False

    def ended(self, port: str, /) -> Iterable[TOut]:
        """Called once when an input has ended; what it gives is emitted.

        A later run that goes on calls it again, before anything else; what it gives is emitted again only when that input
        brought something new.
        """
        return ()

    def finish(self) -> Iterable[TOut] | AsyncIterator[TOut]:
        """Called once when every input has ended; what it gives is emitted last."""
        return ()


class Sink(Component, Generic[TIn]):
    """Takes payloads out. It has one of three handlers:

    - `statements(batch)`: statements with rows for the pipeline's own database, executed in the epoch's transaction;
    - `write(batch)`: anything else; what `write` took is made durable by `flush`, before the epoch commits;
    - `write(batch, keys)`: the same, with a stable idempotency key for each payload.

    The class keyword `resumes=True` says that the sink keeps in its state (`Value`) how far it wrote and goes on there
    after a crash, so that what it publishes in the end holds nothing twice.
    """

    kind = "sink"
    resumes: ClassVar[bool] = False

    def __init_subclass__(cls, *, resumes: bool | None = None, **rest: Any) -> None:
        if resumes is not None:
            cls.resumes = resumes
        super().__init_subclass__(**rest)

    def needs_database(self) -> bool:
        """Whether the pipeline's own database is written to; a sink that may be given another one overrides it."""
        return type(self).contract().transactional

    def absorbs_repeats(self) -> bool:
        """Whether a payload that is written again changes nothing, because its receiver knows it.

        True for `write(batch, keys)`: a receiver that heeds the keys does so. Overridden where the configuration decides.
        """
        return type(self).contract().wants_keys

    async def flush(self) -> None:
        """Called before each commit: make durable what `write` took, or raise."""

    async def finish(self) -> None:
        """Called once at a clean end, after the last `flush`: publish (rename the temporary file, say)."""

    def statements(self, batch: Sequence[TIn], /) -> Iterable[Statement]:
        """Statements with rows for the epoch's transaction."""
        raise NotImplementedError
