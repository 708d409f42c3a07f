"""Sends messages into a pipeline from outside: rows of a durable input port, which the pipeline takes when it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.codec import Codec
from autocoder.contract import IN
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UsageError, describe, did_you_mean
from autocoder.graph import Graph
from autocoder.pipeline import Pipeline
from autocoder.store.inbox import insert_messages, store_messages
from autocoder.store.opening import open_store


@dataclass(frozen=True, slots=True)
class Target:
    """A durable input port, and how its payloads are written down. `known`: it was looked up in the pipeline."""

    pipeline: str
    component: str
    port: str
    codec: Codec
    known: bool = True


async def send(
    database: str | DatabaseOptions | AsyncConnection,
    pipeline: str | Pipeline,
    component: str,
    payloads: Iterable[Any],
    *,
    port: str | None = None,
) -> list[UUID]:
    """Send payloads to a durable input port of a pipeline, which may run meanwhile or later, in whatever process.

    `database` is that of the pipeline: an SQLAlchemy URL without the driver, options in full, or a connection of the
    caller's own, whose transaction then holds the messages together with whatever else the caller writes (it must be an
    asynchronous connection to the pipeline's own database, whose tables exist already). All of `payloads` are sent, or none.
    Returns their ids, in order, by which `autocoder dlq` knows them, too.

    With `pipeline` as a Pipeline, component and port are looked up in it (`port` may be left out where only one is
    durable) and payloads are encoded by the port's type; with its name alone nothing can be looked up: `port` is `in`
    unless given, and a payload that does not fit becomes a dead letter. Raises UsageError for a port that is not durable,
    PayloadError for a payload that cannot be encoded, UnreachableError where the database cannot be opened.
    """
    if isinstance(payloads, str | bytes | Mapping | BaseModel):
        raise UsageError(f"payloads is a single {type(payloads).__name__}; put it in a list")
    target = (
        target_of(pipeline.compile(), component, port)
        if isinstance(pipeline, Pipeline)
        else Target(pipeline, component, port or IN, _anything(), known=False)
    )
    messages = [target.codec.encode(payload) for payload in payloads]
    if isinstance(database, AsyncConnection):
        return await insert_messages(database, target.pipeline, target.component, target.port, messages)
    async with open_store(database, create=True) as opened:
        return await store_messages(opened, target.pipeline, target.component, target.port, messages)


@cache
def _anything() -> Codec:
    """The codec of payloads whose type is not known; to make one takes longer than to store a message."""
    return Codec(Any)


def target_of(graph: Graph, component: str, port: str | None = None) -> Target:
    """The durable input port that is meant; raises UsageError with the cure where there is none."""
    node = graph.nodes.get(component)
    if node is None:
        raise UsageError(
            f"pipeline {graph.name!r} has no component {component!r}; {did_you_mean(component, graph.nodes)}"
        )
    if not node.ins:
        raise UsageError(
            f"{component!r} is a source and takes no input; send to the component behind it, or use flow.Inbox in its place"
        )
    durable = graph.durable_ports(component)
    if port is None:
        if len(durable) > 1:
            choices = ", ".join(f"{component}.{each}" for each in durable)
            raise UsageError(f"{component!r} has several durable inputs; name one: {choices}")
        port = durable[0] if durable else next(iter(node.ins))
    if port not in node.ins:
        raise UsageError(f"{component!r} has no input {port!r}; {did_you_mean(port, node.ins)}")
    if port not in durable:
        feeder = next((edge.source for edge in graph.edges if (edge.target, edge.port) == (component, port)), "...")
        raise UsageError(
            f"the input {component}.{port} of pipeline {graph.name!r} is not durable, so nothing can be sent to it; "
            f"declare it `from: {{port: {feeder}, durable: true}}`, or put a flow.Inbox in front of it"
        )
    return Target(graph.name, component, port, Codec(graph.payload_type(component, port)))


def without_values(error: ValueError) -> str:
    """What a validation found, without the values, which may be secret."""
    if not isinstance(error, ValidationError):
        return describe(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'payload'}: {each['msg']}" for each in found)
