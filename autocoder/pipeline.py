"""The pipeline as its user holds it: built from YAML or in Python, compiled, run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Generic, Self, overload

import anyio
from typing_extensions import TypeVar

from autocoder.compatibility import admission
from autocoder.compile import compile_graph
from autocoder.component import Component, Merger, RunIn, Sink, Source, Splitter, Transformer
from autocoder.contract import IN, OUT
from autocoder.database import Database, in_use, open_database
from autocoder.database_options import DatabaseOptions
from autocoder.declaration import (
    ChannelOptions,
    CommitPolicy,
    ComponentDeclaration,
    Connection,
    ErrorPolicy,
    PipelineDeclaration,
)
from autocoder.errors import (
    ConfigurationError,
    Place,
    Problem,
    UsageError,
    as_written,
    did_you_mean,
)
from autocoder.graph import Graph
from autocoder.loading import load_pipeline
from autocoder.masking import Redactor
from autocoder.port import Out
from autocoder.registry import Registry
from autocoder.runtime.failures import DeadLetter
from autocoder.runtime.heap import at_rest
from autocoder.runtime.keeping import Kept
from autocoder.runtime.run import Keeper, Run
from autocoder.runtime.stopping import stoppable
from autocoder.runtime.switching import quick_switches
from autocoder.runtime.unkept import Unkept
from autocoder.store.ownership import owning
from autocoder.store.schema import prepare
from autocoder.store.store import Store
from autocoder.summary import RunSummary

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
TOut = TypeVar("TOut")


DEFAULT_CHANNEL: Final = ChannelOptions()


class Outlet(Generic[T_co]):
    """One output of a component in a pipeline, to be given to what takes from it."""

    def __init__(self, component: str, output: str | None) -> None:
        self.component = component
        self.output = output

    @overload
    def port(self, output: Out[T]) -> Outlet[T]: ...
    @overload
    def port(self, output: str) -> Outlet[Any]: ...
    def port(self, output: Out[Any] | str) -> Outlet[Any]:
        """A named output of a splitter: `triaged.port(Triage.urgent)`."""
        return Outlet(self.component, output if isinstance(output, str) else output.name)

    def __repr__(self) -> str:
        return f"<Outlet {self.component}{'.' + self.output if self.output else ''}>"


class Pipeline:
    """A pipeline. Build it with `from_yaml`, or with `add`; then `run`, or `await run_async` inside an event loop."""

    def __init__(self, name: str, *, description: str = "", every: float = 0.1, messages: int = 10_000) -> None:
        place = Place(f"<pipeline {name}>")
        self._declaration = PipelineDeclaration(
            name, (), CommitPolicy(every, messages), description=description, place=place
        )
        self._problems: list[Problem] = []
        self._run: Run | None = None

    @classmethod
    def from_yaml(
        cls,
        source: str | Path,
        *,
        environ: Mapping[str, str] | None = None,
        registry: Registry | None = None,
        allowed: Sequence[str] = (),
        overrides: Any = None,
    ) -> Self:
        """A pipeline from YAML text or from the file at a Path.

        `environ` answers `${VAR}` (default: the process's environment); `allowed` are module prefixes that `use:` may name
        beyond the pipeline's own folder and the project. Raises ConfigurationError with every problem at once.
        """
        declaration, problems = load_pipeline(
            source,
            registry=registry or Registry.installed(),
            environ=os.environ if environ is None else environ,
            allowed=allowed,
            overrides=overrides,
        )
        if declaration is None:
            raise ConfigurationError(problems)
        pipeline = cls.__new__(cls)
        pipeline._declaration, pipeline._problems, pipeline._run = declaration, problems, None
        pipeline.compile()
        return pipeline

    @property
    def name(self) -> str:
        return self._declaration.name

    @property
    def declaration(self) -> PipelineDeclaration:
        """What was written, as plain data."""
        return self._declaration

    @overload
    def add(
        self,
        name: str,
        component: Source[TOut],
        /,
        *,
        on_error: ErrorPolicy | None = ...,
        concurrency: int | None = ...,
        ordered: bool | None = ...,
        run_in: RunIn | None = ...,
        renamed_from: str | None = ...,
    ) -> Outlet[TOut]: ...
    @overload
    def add(
        self,
        name: str,
        component: Transformer[T, TOut],
        /,
        *,
        after: Outlet[T] | Sequence[Outlet[T]],
        channel: ChannelOptions = ...,
        on_error: ErrorPolicy | None = ...,
        concurrency: int | None = ...,
        ordered: bool | None = ...,
        run_in: RunIn | None = ...,
        renamed_from: str | None = ...,
    ) -> Outlet[TOut]: ...
    @overload
    def add(
        self,
        name: str,
        component: Splitter[T],
        /,
        *,
        after: Outlet[T] | Sequence[Outlet[T]],
        channel: ChannelOptions = ...,
        on_error: ErrorPolicy | None = ...,
        concurrency: int | None = ...,
        ordered: bool | None = ...,
        run_in: RunIn | None = ...,
        renamed_from: str | None = ...,
    ) -> Outlet[Any]: ...
    @overload
    def add(
        self,
        name: str,
        component: Merger[TOut],
        /,
        *,
        after: Mapping[str, Outlet[Any] | Sequence[Outlet[Any]]],
        channel: ChannelOptions = ...,
        on_error: ErrorPolicy | None = ...,
        concurrency: int | None = ...,
        ordered: bool | None = ...,
        run_in: RunIn | None = ...,
        renamed_from: str | None = ...,
    ) -> Outlet[TOut]: ...
    @overload
    def add(
        self,
        name: str,
        component: Sink[T],
        /,
        *,
        after: Outlet[T] | Sequence[Outlet[T]],
        channel: ChannelOptions = ...,
        on_error: ErrorPolicy | None = ...,
        concurrency: int | None = ...,
        ordered: bool | None = ...,
        run_in: RunIn | None = ...,
        renamed_from: str | None = ...,
    ) -> None: ...
    def add(
        self,
        name: str,
        component: Component,
        /,
        *,
        after: Any = (),
        channel: ChannelOptions = DEFAULT_CHANNEL,
        on_error: ErrorPolicy | None = None,
        concurrency: int | None = None,
        ordered: bool | None = None,
        run_in: RunIn | None = None,
        renamed_from: str | None = None,
    ) -> Outlet[Any] | None:
        """Add a named component behind the outlets it takes from; returns its outlet (None for a sink).

        A merger takes a mapping from its input names to outlets. The options are those of a component in YAML.
        """
        if any(each.name == name for each in self._declaration.components):
            raise UsageError(f"pipeline {self.name!r} has a component {name!r} already; give this one another name")
        place = replace(self._declaration.place, line=0)
        inputs: Mapping[str, Any] = after if isinstance(after, Mapping) else {IN: after}
        connections = tuple(
            Connection(port, outlet.component, outlet.output, channel, place)
            for port, outlets in inputs.items()
            for outlet in _outlets(outlets)
        )
        declared = ComponentDeclaration(
            name,
            type(component).__qualname__,
            type(component),
            component,
            connections,
            on_error=on_error,
            concurrency=concurrency,
            ordered=ordered,
            run_in=run_in,
            renamed_from=renamed_from,
            place=place,
        )
        self._declaration = replace(self._declaration, components=(*self._declaration.components, declared))
        if isinstance(component, Sink):
            return None
        return Outlet(name, None if isinstance(component, Splitter) else OUT)

    def compile(self) -> Graph:
        """The compiled graph; raises ConfigurationError with every problem at once."""
        problems = list(self._problems)
        graph = compile_graph(self._declaration, problems)
        if graph is None:
            raise ConfigurationError(as_written(each, self._declaration.written) for each in problems)
        return graph

    def run(self, *, database: str | DatabaseOptions | None = None, restart: bool = False) -> RunSummary:
        """Run to the end and return a summary; raises what stopped the pipeline. Not for use inside an event loop."""
        return anyio.run(lambda: self.run_async(database=database, restart=restart))

    async def run_async(
        self,
        *,
        database: str | DatabaseOptions | None = None,
        keep: bool = True,
        wait: bool = False,
        restart: bool = False,
        signals: bool = False,
        on_dead_letter: Callable[[DeadLetter], None] = lambda _: None,
    ) -> RunSummary:
        """As `run`, inside a running event loop.

        With `database` (an SQLAlchemy URL without the driver) everything is kept there: positions, state, durable channels,
        dead letters; a run goes on where the last one stopped. One instance owns the pipeline at a time: another raises
        OwnedElsewhereError, or with `wait` waits. A pipeline that was changed so that it cannot go on raises IncompatibleError.
        `restart` forgets positions, state and messages under way first. With
        `keep=False` the database only takes the rows of sinks, and without one nothing is kept at all.

        With `signals` (main thread only) the first SIGTERM or SIGINT drains the pipeline and the second stops it by force,
        raising ForcedStop; where a handler keeps the event loop busy, so that nothing can be raised, it ends the process.
        """
        if self._run is not None:
            raise UsageError(f"pipeline {self.name!r} is running already; build another one to run it twice at once")
        graph = self.compile()
        _refuse_unkept(graph, database, keep=keep)
        redactor, begun = Redactor(graph.secrets), anyio.Event()

        async def run() -> RunSummary:
            async with AsyncExitStack() as stack:
                opened = await stack.enter_async_context(open_database(database)) if database is not None else None
                if opened is not None and keep:
                    keeper: Keeper = await stack.enter_async_context(
                        _keeping(graph, opened, redactor, wait=wait, restart=restart)
                    )
                else:
                    keeper = Unkept(graph, opened)
                self._run = Run(graph, keeper=keeper, redactor=redactor, on_dead_letter=on_dead_letter)
                stack.enter_context(in_use(opened))
                stack.enter_context(at_rest())
                if opened is not None and opened.is_sqlite:
                    stack.enter_context(quick_switches())
                begun.set()
                try:
                    return await self._run()
                finally:
                    self._run = None

        return await (stoppable(self.name, run, begun, self.drain) if signals else run())

    def drain(self) -> None:
        """Stop reading; what was read is finished and committed, then `run_async` returns. From the same event loop."""
        if self._run is not None:
            self._run.drain()

    def component(self, name: str) -> Component:
        """The instance behind a name, for looking at what it gathered after a run."""
        for each in self._declaration.components:
            if each.name == name and each.component is not None:
                return each.component
        names = (each.name for each in self._declaration.components)
        raise UsageError(f"pipeline {self.name!r} has no component {name!r}; {did_you_mean(name, names)}")

    @property
    def progress(self) -> RunSummary | None:
        """The counts of the run at hand, or None when there is none."""
        return self._run.summary() if self._run is not None else None

    def __repr__(self) -> str:
        return f"<Pipeline {self.name} {len(self._declaration.components)} components>"


def _outlets(given: Any) -> Iterable[Outlet[Any]]:
    return (given,) if isinstance(given, Outlet) else given


def _refuse_unkept(graph: Graph, database: str | DatabaseOptions | None, *, keep: bool) -> None:
    """What needs a store, or at least a database, in a run that has none."""
    found: list[tuple[Place, str]] = []
    if database is None or not keep:
        found += [
            (edge.place, f"the channel {edge} is durable, and this run keeps nothing")
            for edge in graph.edges
            if edge.options.durable
        ]
        found += [
            (node.place, f"messages are sent to {node.name!r} through the database, and this run keeps nothing")
            for node in graph.nodes.values()
            if node.inbox is not None
        ]
    if database is None:
        found += [
            (node.place, f"sink {node.name!r} writes to the pipeline's own database, and this run has none")
            for node in graph.nodes.values()
            if node.needs_database
        ]
    if found:
        cure = "run it with --database sqlite:///FILE (in Python: run(database=...))"
        raise ConfigurationError(Problem(place, what, cure=cure) for place, what in found)


@asynccontextmanager
async def _keeping(
    graph: Graph, database: Database, redactor: Redactor, *, wait: bool, restart: bool
) -> AsyncIterator[Keeper]:
    """Own the pipeline in this database for the length of a block, and keep there what it does."""
    await prepare(database)
    store = Store(database, graph.name)
    names = [region.name for region in graph.regions]
    admit = admission(graph, forget=store.forget if restart else None)
    async with owning(database, graph.name, names, wait=wait, admit=admit) as ownership:
        yield Kept(graph, store, ownership, redactor)
