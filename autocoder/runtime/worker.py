"""Transformers, splitters and mergers at run time: which loop a batch goes through, and what its handler gives.

Where nothing speaks against it, a worker shares one loop with the plain workers fused behind it (see `fusing`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, cast

import anyio

from autocoder.component import Merger, Transformer
from autocoder.contract import ANY_PORT, OUT
from autocoder.errors import storable
from autocoder.faults import FAULTS, Fault, faults
from autocoder.graph import Node
from autocoder.handler import Shape, is_overridden
from autocoder.message import Emission, Traced
from autocoder.runtime.ending import FINISH
from autocoder.runtime.failures import NO_PAYLOAD, Failures
from autocoder.runtime.fusing import Call, FusedLoop, fused_loop
from autocoder.runtime.pace import Pace, Turn, others
from autocoder.runtime.parking import Entry
from autocoder.runtime.unit import CHUNK, Flow, Unit
from autocoder.tracing import passed_key


class Worker(Unit):
    """A transformer, splitter or merger."""

    def __init__(self, node: Node, failures: Failures, *, traced: bool) -> None:
        super().__init__(node, failures, traced=traced)
        self._calls: dict[str, Call] = {}
        self._shapes: dict[str, Shape] = {}
        for port in node.ins:
            self._bind(port)
        self.splits = node.kind == "splitter"
        base = Merger if node.kind == "merger" else Transformer
        self._finishes = is_overridden(type(node.component), base, "finish")
        self._simple = not (self.cells or traced or self.splits or node.contract.batch is not None)
        self._pace = Pace()
        self._chains: dict[str, tuple[FusedLoop, list[Worker]]] = {}

    def _bind(self, port: str) -> None:
        handlers = self.node.contract.handlers
        handler = handlers.get(port) or handlers.get(ANY_PORT)
        if handler is None:  # a vectorised handler alone: one message is a batch of one
            batch_call = self.component.process_batch
            self._calls[port], self._shapes[port] = (lambda payload: batch_call([payload])), Shape.MANY
            return
        call = getattr(self.component, handler.name)
        if port not in handlers:
            self._calls[port] = lambda payload: call(port, payload)
        else:
            self._calls[port] = call
        self._shapes[port] = handler.shape

    def flow(self, port: str, batch: list[Any]) -> Flow:
        self.taken += len(batch)
        self.took(port)
        if self.line is not None or self.is_careful:
            yield from self._singly(port, batch)
        elif self.node.contract.batch is not None and not self.splits:
            yield from self._whole(port, batch)
        elif self.takes_singly(port):
            yield from self._chained(port, batch)
        else:
            yield from self._each(port, batch)

    def _chained(self, port: str, batch: list[Any]) -> Flow:
        """One call, one payload (or none), no state: one loop over the list, for this unit and the like behind it."""
        chain = self._chains.get(port)
        if chain is None:
            chain = self._chains[port] = self._chain(port)
        if len(batch) <= self._pace.most:  # as nearly always
            yield from self._fused(port, *chain, iter(batch))
            return
        for number, piece in enumerate(self._pace.pieces(batch)):
            if number:
                yield others()
            yield from self._fused(port, *chain, iter(piece))

    def _fused(self, port: str, loop: FusedLoop, units: list[Worker], messages: Iterator[Any]) -> Flow:
        while True:
            out: list[Any] = []
            entered, failure = self._pace.timed(loop, messages, out)
            for number, unit in enumerate(units[1:], 1):
                units[number - 1].given += entered[number]
                unit.taken += entered[number]
                if entered[number]:
                    unit.took(unit.only_port)
            for unit, optional, count, left in zip(
                units, loop.optional, entered, (*entered[1:], len(out)), strict=True
            ):
                if optional:
                    unit.dropped += count - left - (failure is not None and units[failure.position] is unit)
            yield from units[-1].deliver(OUT, out)
            if failure is None:
                return
            unit = units[failure.position]
            yield from unit._recover(port if unit is self else unit.only_port, failure.item, failure.error)

    def _chain(self, port: str) -> tuple[FusedLoop, list[Worker]]:
        """This unit and those behind it that can share its loop."""
        units: list[Worker] = [self]
        ports = [port]
        while not units[-1].channels[OUT] and len(units[-1].units[OUT]) == 1:
            (follower,) = units[-1].units[OUT]
            if not (isinstance(follower, Worker) and follower.takes_singly(follower.only_port)):
                break
            units.append(follower)
            ports.append(follower.only_port)
        placed = list(zip(units, ports, strict=True))
        calls = [unit.call_of(at) for unit, at in placed]
        return fused_loop(calls, [unit.shape(at) is Shape.OPTIONAL for unit, at in placed]), units

    def takes_singly(self, port: str) -> bool:
        """Whether it is a function of one payload that gives one or none, with no state and nothing else to see to."""
        return self._simple and self.line is None and self._shapes[port] is not Shape.MANY

    def call_of(self, port: str) -> Call:
        return self._calls[port]

    def _each(self, port: str, batch: list[Any]) -> Flow:
        """The general loop: state, keys, splitters, iterators, traced payloads."""
        yield from self.fetch_state(port, batch)
        out: list[Any] = []
        for number, piece in enumerate(self._pace.clocked(batch)):
            if number:
                yield others()
            for item in piece:
                try:
                    given = self.one(port, item)
                except faults() as error:
                    yield from self._pace.unclocked(self.emit(out))
                    out = []
                    yield from self._pace.unclocked(self._recover(port, item, error))
                    continue
                out.extend(given)
                if len(out) >= CHUNK:
                    yield from self._pace.unclocked(self.emit(out))
                    out = []
        yield from self.emit(out)

    def _singly(self, port: str, batch: list[Any]) -> Flow:
        """One message at a time: in careful mode, and where a message may have to wait for another of its key."""
        yield from self.fetch_state(port, batch)
        turn = Turn()
        for item in batch:
            if turn.over:
                yield turn.pass_on()
            if self.stands_behind(port, item):
                continue
            try:
                given = yield from self._one_carefully(port, item)
            except faults() as error:
                yield from self._recover(port, item, error)
            else:
                yield from self.emit(given)

    def _one_carefully(self, port: str, item: Any) -> Generator[Awaitable[Any], None, Sequence[Any]]:
        """As `one`, in careful mode where that is on."""
        noting = self.noting(port, item)
        if noting is None:
            return self.one(port, item)
        yield noting
        given: Sequence[Any] | Fault
        try:
            given = self.one(port, item)
        except faults() as error:
            given = error
        yield self.leave()
        if isinstance(given, FAULTS):
            raise given
        return given

    def _whole(self, port: str, batch: list[Any]) -> Flow:
        """A vectorised handler: the batch at once; where that fails, message by message."""
        self.begin(port, None)
        try:
            out = list(self.component.process_batch(self.payloads(batch)))
        except faults():
            self.rollback()
            yield from self._each(port, batch)
            return
        yield from self.emit(self.traced_batch(port, batch, out))

    def traced_batch(self, port: str, batch: list[Any], out: list[Any]) -> list[Any]:
        """The outputs of a whole batch with their identity: one to one where the numbers agree."""
        if not self.traced:
            return out
        if len(out) == len(batch):
            place = self.place(port)
            return [Traced(passed_key(item.key, place), payload) for item, payload in zip(batch, out, strict=True)]
        key = passed_key(f"{batch[0].key}~{batch[-1].key}", self.place(port))
        return [Traced(f"{key}.{number}", payload) for number, payload in enumerate(out)]

    def place(self, port: str) -> str:
        """Where messages of an input are handled, as their identity says."""
        return f"{self.node.name}.{port}" if self.node.kind == "merger" else self.node.name

    def one(self, port: str, item: Any) -> Sequence[Any]:
        """What one message gives: payloads, or emissions for a splitter. Raises what the handler raises, without a trace."""
        self.begin(port, item)
        try:
            result = self.call(port, item)
            given = list(result) if self._shapes[port] is Shape.MANY else self.listed(port, result)
            return self.checked(port, item, given)
        except faults():
            self.rollback()
            raise

    def fetch_state(self, port: str, items: list[Any]) -> Flow:
        """Bring the state of these messages into memory, in a run that keeps it."""
        if self.memory is None or not self.node.contract.keyed:
            return
        keys: set[str] = set()
        for item in items:
            with suppress(*FAULTS):  # a key that cannot be told fails the message when its turn comes
                keys.add(self.key_of(port, item))
        missing = self.memory.missing(keys)
        if missing:
            yield self.memory.load(missing)

    def begin(self, port: str, item: Any) -> None:
        """A message starts: state is that of its key (None: a whole batch, which has no key)."""
        if self.cells:
            key = "" if item is None else self.key_of(port, item)
            for cell in self.cells:
                cell.begin(key)

    def key_of(self, port: str, item: Any) -> str:
        """The key of a message, as the component says; a merger may say it for each input."""
        contract = self.node.contract
        if not contract.keyed:
            return ""
        payload = item.payload if self.traced else item
        key: str = self.component.key(port, payload) if contract.key_takes_port else self.component.key(payload)
        if type(key) is not str or not key.isprintable():
            _refuse_unstorable(key)
        return key

    def rollback(self) -> None:
        """The message that started last failed: it leaves no trace in state."""
        for cell in self.cells:
            cell.rollback()

    def call(self, port: str, item: Any) -> Any:
        """Call the handler of a port."""
        return self._calls[port](item.payload if self.traced else item)

    def shape(self, port: str) -> Shape:
        return self._shapes[port]

    def payloads(self, items: list[Any]) -> list[Any]:
        """Messages without their identity."""
        return [item.payload for item in items] if self.traced else items

    def checked(self, port: str, item: Any, given: Sequence[Any]) -> Sequence[Any]:
        """Refuse what is no emission of this splitter; give outputs the identity of their input."""
        if self.splits:
            for emission in given:
                if type(emission) is not Emission or emission.port not in self.channels:
                    outs = ", ".join(f"self.{port}(payload)" for port in self.node.outs)
                    raise TypeError(f"a splitter emits on its outputs ({outs}); found {type(emission).__name__}")
        return self.trace(port, item, given) if self.traced else given

    def listed(self, port: str, result: Any) -> list[Any]:
        """A single result as a list; None, where the handler may give it, drops the message."""
        if result is None and self._shapes[port] is Shape.OPTIONAL:
            self.dropped += 1
            return []
        return [result]

    def trace(self, port: str, item: Any, given: Sequence[Any]) -> Sequence[Any]:
        """Give outputs the identity of their input and of this component, numbered where there are several.

        Without the component two ways from one message to one sink would give what comes over them the same identity.
        """
        key = passed_key(item.key, self.place(port))
        keys = [key] if len(given) == 1 else [f"{key}.{number}" for number in range(len(given))]
        if self.splits:
            return [Emission(out, Traced(own, payload)) for own, (out, payload) in zip(keys, given, strict=True)]
        return [Traced(own, payload) for own, payload in zip(keys, given, strict=True)]

    def emit(self, out: Sequence[Any]) -> Flow:
        """Deliver payloads, or emissions each to its output."""
        if not self.splits:
            yield from self.deliver(OUT, out if type(out) is list else list(out))
            return
        sorted_out: dict[str, list[Any]] = {port: [] for port in self.node.outs}
        for emission in out:
            sorted_out[emission[0]].append(emission[1])
        for port, messages in sorted_out.items():
            yield from self.deliver(port, messages)

    def _recover(self, port: str, item: Any, error: Fault) -> Flow:
        """Try a failed message again in its place, as often as the policy says; what is behind it waits."""
        attempt = 1
        if self.parking is not None:
            self.failed(port, item, error, attempt)
            return
        while True:
            delay = self.failures.delay(self.node, error, attempt)
            if delay is None:
                self.settle(port, item, error, attempt)
                return
            yield anyio.sleep(delay)
            attempt += 1
            self.retried += 1
            try:
                given = self.one(port, item)
            except faults() as again:
                error = again
                continue
            yield from self.emit(given)
            return

    def resume(self, entry: Entry) -> Flow:
        self.took(entry.port)
        item = self.item_of(entry)
        yield from self.fetch_state(entry.port, [item])
        try:
            given = yield from self._one_carefully(entry.port, item)
        except faults() as error:
            self.failed(entry.port, item, error, entry.attempts + 1, entry.reference)
            return
        if self.parking is not None:
            self.parking.done(entry.reference, entry.port)
        self.settled(entry.port, item)
        yield from self.emit(given)

    def ended(self, port: str) -> Flow:
        """An input of a merger has ended. The component hears it in every run, but says something new for it once."""
        if self.node.kind != "merger":
            return
        given = yield from self._asked("ended", partial(self.component.ended, port))
        if self.ending is not None and self.ending.is_over(port):
            deque(given, maxlen=0)
            return
        yield from self._last("ended", given, self._end_key("ended", port, port))

    def finish(self) -> Flow:
        if self.node.kind not in ("transformer", "merger") or (self.ending is not None and self.ending.is_over(FINISH)):
            return
        if self.memory is not None and self.node.contract.keyed and self._finishes:
            yield self.memory.load(None)  # it may look at all of them
        given = yield from self._asked("finish", self.component.finish)
        yield from self._last("finish", given, self._end_key("finish", FINISH))

    def _asked(self, hook: str, call: Callable[[], Any]) -> Generator[Awaitable[Any], None, Iterable[Any]]:
        """What a hook gives that is called without a message; in careful mode it is watched, and gives all at once."""
        collected: list[Any] = []
        if self.is_careful:
            yield self.watched(hook, call, collected)
            return collected
        try:
            given: Any = call()
        except faults() as error:
            raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook=hook) from error
        if hasattr(given, "__aiter__"):
            yield self.collected(hook, given, collected)
            given = collected
        return cast("Iterable[Any]", given)

    def _end_key(self, hook: str, name: str, *more: str) -> str:
        """The identity of what is emitted for an end, which is marked as told: each time another."""
        times = 0 if self.ending is None else self.ending.tell(name)
        return ":".join([self.node.name, hook, *more, *([str(times)] if times else [])])

    def _last(self, hook: str, given: Iterable[Any], key: str) -> Flow:
        """Emit what a hook gives that is called without a message; its failure is nobody's message: it stops."""
        out: list[Any] = []
        number = 0
        iterator = iter(given)
        while True:
            try:
                for payload in islice(iterator, CHUNK):
                    out.append(Traced(f"{key}.{number}", payload) if self.traced else payload)
                    number += 1
            except faults() as error:
                raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook=hook) from error
            if not out:
                return
            yield from self.deliver(OUT, out)
            out = []


def _refuse_unstorable(key: Any) -> None:
    """A key by which no database finds its value again is no key, in a run that keeps nothing neither."""
    if not isinstance(key, str):
        raise TypeError(f"a key is a str; found {type(key).__name__}")
    if storable(key) != key:
        raise ValueError("a key is Unicode text without null characters")
