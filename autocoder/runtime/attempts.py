"""The ways to call a handler that is not a plain function on the loop: awaited, in a thread, in another process."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import multiprocessing.util
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from autocoder.errors import describe
from autocoder.faults import faults
from autocoder.handler import Shape
from autocoder.runtime.failures import class_names
from autocoder.runtime.pool_stage import Attempt, Result
from autocoder.runtime.worker import Worker


def awaited(worker: Worker) -> Attempt:
    """An `async def` handler: one message a call."""

    async def attempt(port: str, items: list[Any]) -> list[Result]:
        return [await _one(worker, port, item) for item in items]

    return attempt


async def _one(worker: Worker, port: str, item: Any) -> Result:
    try:
        worker.begin(port, item)
    except faults() as error:  # its key cannot be told: nothing has begun that could be rolled back
        return error
    try:
        result = worker.call(port, item)
        if hasattr(result, "__aiter__"):
            given: list[Any] = [payload async for payload in result]
        else:
            if hasattr(result, "__await__"):
                result = await result
            given = list(result) if worker.shape(port) is Shape.MANY else worker.listed(port, result)
        return worker.checked(port, item, given)
    except faults() as error:
        worker.rollback()
        return error


def awaited_batch(worker: Worker) -> Attempt:
    """An `async def process_batch`: the whole slot in one call; where that fails, its messages singly."""

    async def attempt(port: str, items: list[Any]) -> list[Result]:
        worker.begin(port, None)
        try:
            given = list(await worker.component.process_batch(worker.payloads(items)))
        except faults() as error:
            worker.rollback()
            if len(items) == 1:
                return [error]
            return [result for item in items for result in await attempt(port, [item])]
        return [worker.traced_batch(port, items, given), *([()] * (len(items) - 1))]

    return attempt


def threaded(worker: Worker) -> Attempt:
    """A plain handler in worker threads, as many as its concurrency."""
    limiter = anyio.CapacityLimiter(worker.node.concurrency)

    def run(port: str, items: list[Any]) -> list[Result]:
        return [_caught(worker, port, item) for item in items]

    async def attempt(port: str, items: list[Any]) -> list[Result]:
        return await anyio.to_thread.run_sync(run, port, items, limiter=limiter, abandon_on_cancel=True)

    return attempt


def _caught(worker: Worker, port: str, item: Any) -> Result:
    try:
        return worker.one(port, item)
    except faults() as error:
        return error


class RemoteError(Exception):
    """What a handler raised in another process: its class and text, since the object itself may not travel."""

    def __init__(self, text: str, class_names: Sequence[str]) -> None:
        super().__init__(text, class_names)
        self.text = text
        self.class_names = tuple(class_names)

    def __str__(self) -> str:
        return self.text


class Processes:
    """Plain handlers in worker processes; each worker opens a copy of the component and closes it when it ends."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._threads = anyio.CapacityLimiter(worker.node.concurrency + 1)
        self._alone = anyio.Lock()
        self._pool = self._start(worker.node.concurrency)

    def _start(self, processes: int) -> ProcessPoolExecutor:
        component = self._worker.component
        kind = type(component)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        return ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),
            _open_worker,
            (list(sys.path), kind.__module__, file, kind.__qualname__, dict(component.__dict__)),
        )

    async def attempt(self, port: str, items: list[Any]) -> list[Result]:
        """Call the handler in a process. A message that kills its process fails; those beside it are given again."""
        pool = self._pool
        try:
            results = await self._submit(pool, port, items)
        except BrokenProcessPool:
            if pool is self._pool:
                self._pool = self._start(self._worker.node.concurrency)
            return await self._suspects(port, items)
        except Exception as error:  # a payload or result that cannot be pickled
            return [error] * len(items)
        return [self._result(port, item, result) for item, result in zip(items, results, strict=True)]

    async def _suspects(self, port: str, items: list[Any]) -> list[Result]:
        """Some message killed a process of the pool, perhaps none of these: give each again, alone in a process."""
        results: list[Result] = []
        async with self._alone:
            pool = self._start(1)
            for item in items:
                try:
                    (result,) = await self._submit(pool, port, [item])
                    results.append(self._result(port, item, result))
                except BrokenProcessPool:
                    died = "the worker process died while it handled this message"
                    results.append(RemoteError(died, ("BrokenProcessPool", "Exception")))
                    pool = self._start(1)
                except Exception as error:
                    results.append(error)
            pool.shutdown(wait=False)
        return results

    async def _submit(self, pool: ProcessPoolExecutor, port: str, items: list[Any]) -> list[Any]:
        return await anyio.to_thread.run_sync(
            lambda: pool.submit(_work, port, self._worker.payloads(items)).result(),
            limiter=self._threads,
            abandon_on_cancel=True,
        )

    def _result(self, port: str, item: Any, result: Any) -> Result:
        if isinstance(result, RemoteError):
            return result
        try:
            return self._worker.checked(port, item, result)
        except TypeError as error:
            return error

    async def close(self) -> None:
        """End the worker processes; each closes its component first. When cancelled, those that still work are killed."""
        # Killing them has a public name only from Python 3.14 on; shutting down forgets which they are.
        processes = list((self._pool._processes or {}).values())
        try:
            await anyio.to_thread.run_sync(lambda: self._pool.shutdown(cancel_futures=True), abandon_on_cancel=True)
        finally:
            for process in processes:
                process.kill()


_here: dict[str, Any] = {}


def _open_worker(path: list[str], module: str, file: str | None, name: str, state: dict[str, Any]) -> None:
    """In the worker process: import the class, rebuild the component, open it, and see to it that it is closed."""
    Thread(target=_end_with_parent, daemon=True).start()
    sys.path[:] = path
    try:
        found = importlib.import_module(module)
    except ImportError:
        if file is None:
            raise
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        found = importlib.util.module_from_spec(spec)
        sys.modules[module] = found
        spec.loader.exec_module(found)
    kind: Any = found
    for part in name.split("."):
        kind = getattr(kind, part)
    component = kind.__new__(kind)
    component.__dict__.update(state)
    portal = anyio.from_thread.start_blocking_portal()
    call = portal.__enter__().call
    call(component.open)
    handler = kind.contract().handlers.get("in")
    _here.update(component=component, handler=handler)

    def close() -> None:
        call(component.close)
        portal.__exit__(None, None, None)

    multiprocessing.util.Finalize(None, close, exitpriority=100)


def _end_with_parent() -> None:
    """Nobody waits for what a worker does when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(port: str, payloads: list[Any]) -> list[Any]:
    component, handler = _here["component"], _here["handler"]
    results: list[Any] = []
    for payload in payloads:
        try:
            if handler is None:
                results.append(list(component.process_batch([payload])))
                continue
            given = component.process(payload)
            if handler.shape is Shape.MANY:
                results.append(list(given))
            else:
                results.append([] if given is None and handler.shape is Shape.OPTIONAL else [given])
        except faults() as error:
            results.append(RemoteError(describe(error), class_names(type(error))))
    return results
