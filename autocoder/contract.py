"""What a component class promises: its ports with their types, and how its handlers are called.

Read once from the class. Ports and handlers that disagree are refused here, with the cure.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict, get_args, get_origin

from autocoder.errors import ComponentDefinitionError
from autocoder.handler import Handler, UnresolvedHints, is_overridden, read_batch_handler, read_handler
from autocoder.message import Emission
from autocoder.port import In, Out
from autocoder.state import Keyed, declared_state

IN: Final = "in"
OUT: Final = "out"
ANY_PORT: Final = "*"


@dataclass(frozen=True, slots=True)
class Contract:
    """Ports by name, handlers by input port (`*`: any other), and what else the runtime asks of the class."""

    kind: str
    ins: Mapping[str, In[Any]] = field(default_factory=dict)
    outs: Mapping[str, Out[Any]] = field(default_factory=dict)
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    batch: Handler | None = None
    keyed: bool = False
    key_takes_port: bool = False
    stateful: bool = False
    transactional: bool = False
    wants_keys: bool = False
    is_async: bool = False


def read_contract(owner: Any) -> Contract:
    """The contract of a component class; raises ComponentDefinitionError, or UnresolvedHints for forward references."""
    base = next(each for each in owner.__mro__ if "kind" in vars(each))
    arguments = _kind_arguments(owner, base)
    if base is not owner and arguments is None:
        raise ComponentDefinitionError(
            f"{owner.__qualname__} does not say what it carries; write "
            f"`class {owner.__name__}({base.__name__}[{', '.join(['...'] * len(base.__parameters__))}])`"
        )
    return _READERS[owner.kind](owner, base, tuple(_resolved(each, owner) for each in arguments or ()))


class _Common(TypedDict):
    keyed: bool
    key_takes_port: bool
    stateful: bool


def _common(owner: Any, *, takes_keys: bool) -> _Common:
    for hook in ("open", "close", "flush", "committed", *(("finish",) if owner.kind == "sink" else ())):
        if callable(getattr(owner, hook, None)) and not inspect.iscoroutinefunction(getattr(owner, hook)):
            raise ComponentDefinitionError(f"{owner.__qualname__}.{hook} is awaited; write `async def {hook}(self)`")
    state = declared_state(owner)
    keyed = any(isinstance(each, Keyed) for each in state.values())
    if keyed and not callable(getattr(owner, "key", None)):
        raise ComponentDefinitionError(
            f"{owner.__qualname__} has keyed state but does not say how a payload gives its key; "
            f"write `def key(self, payload, /) -> str`"
        )
    if keyed and not takes_keys:
        raise ComponentDefinitionError(f"{owner.__qualname__}: a {owner.kind} has no key; use Value instead of Keyed")
    by_port = keyed and owner.kind == "merger" and len(inspect.signature(owner.key).parameters) == 3
    return {"keyed": keyed, "key_takes_port": by_port, "stateful": bool(state)}


def _source(owner: Any, base: Any, arguments: tuple[Any, ...]) -> Contract:
    if not is_overridden(owner, base, "read"):
        raise ComponentDefinitionError(
            f"{owner.__qualname__} has no handler; write `async def read(self, resume, /) -> AsyncIterator[Batch[...]]`"
        )
    if inspect.iscoroutinefunction(owner.read):
        raise ComponentDefinitionError(
            f"{owner.__qualname__}.read returns instead of yielding; yield Batch(payloads, resume=...)"
        )
    out = Out(arguments[0], name=OUT)
    return Contract(
        "source",
        outs={OUT: out},
        is_async=not inspect.isgeneratorfunction(owner.read),
        **_common(owner, takes_keys=False),
    )


def _transformer(owner: Any, base: Any, arguments: tuple[Any, ...]) -> Contract:
    takes, gives = arguments
    local = owner._locals
    batch = None
    if callable(getattr(owner, "process_batch", None)):
        batch = read_batch_handler(owner, "process_batch", takes=takes, gives=gives, local=local)
    handlers: dict[str, Handler] = {}
    if batch is None or hasattr(owner, "process"):
        handlers[IN] = read_handler(owner, "process", takes=takes, gives=gives, local=local)
    common = _common(owner, takes_keys=True)
    if batch is not None and common["keyed"]:
        raise ComponentDefinitionError(
            f"{owner.__qualname__}.process_batch sees many keys at once, so it cannot have keyed state; use process, or Value"
        )
    asynchronous = batch.is_async if batch is not None else handlers[IN].is_async
    return Contract(
        "transformer",
        ins={IN: In(takes, name=IN)},
        outs={OUT: Out(gives, name=OUT)},
        handlers=handlers,
        batch=batch,
        is_async=asynchronous,
        **common,
    )


def _splitter(owner: Any, base: Any, arguments: tuple[Any, ...]) -> Contract:
    outs = _declared(owner, Out)
    if not outs and not is_overridden(owner, base, "outputs"):
        raise ComponentDefinitionError(
            f"{owner.__qualname__} declares no output; write `name = Out(Type)` in the class"
        )
    handler = read_handler(owner, "process", takes=arguments[0], gives=Emission, local=owner._locals)
    return Contract(
        "splitter",
        ins={IN: In(arguments[0], name=IN)},
        outs=outs,
        handlers={IN: handler},
        is_async=handler.is_async,
        **_common(owner, takes_keys=True),
    )


def _merger(owner: Any, base: Any, arguments: tuple[Any, ...]) -> Contract:
    ins = _declared(owner, In)
    if not ins and not is_overridden(owner, base, "inputs"):
        raise ComponentDefinitionError(f"{owner.__qualname__} declares no input; write `name = In(Type)` in the class")
    handlers = {
        name: read_handler(owner, f"on_{name}", takes=port.type, gives=arguments[0], local=owner._locals)
        for name, port in ins.items()
        if hasattr(owner, f"on_{name}") or not hasattr(owner, "on_message")
    }
    if hasattr(owner, "on_message"):
        handlers[ANY_PORT] = _any_port_handler(owner, arguments[0])
    elif is_overridden(owner, base, "inputs"):
        raise ComponentDefinitionError(
            f"{owner.__qualname__} decides its inputs by configuration; write `def on_message(self, port: str, payload, /)`"
        )
    return Contract(
        "merger",
        ins=ins,
        outs={OUT: Out(arguments[0], name=OUT)},
        handlers=handlers,
        is_async=any(each.is_async for each in handlers.values()),
        **_common(owner, takes_keys=True),
    )


def _any_port_handler(owner: Any, gives: Any) -> Handler:
    """`on_message(port, payload)` read as a handler of the payload alone."""
    return read_handler(owner, "on_message", takes=Any, gives=gives, local=owner._locals, before=("port",))


def _sink(owner: Any, base: Any, arguments: tuple[Any, ...]) -> Contract:
    transactional = is_overridden(owner, base, "statements")
    write = getattr(owner, "write", None)
    if transactional == (write is not None):
        raise ComponentDefinitionError(
            f"{owner.__qualname__} needs exactly one handler: `write(self, batch, /)`, or `statements(self, batch, /)` "
            f"for the pipeline's own database"
        )
    common = _common(owner, takes_keys=False)
    if owner.resumes and not common["stateful"]:
        raise ComponentDefinitionError(
            f"{owner.__qualname__} says that it resumes, but keeps no state that says where; declare how far it wrote as a "
            f"Value, or leave resumes=True out"
        )
    takes = {IN: In(arguments[0], name=IN)}
    if write is None:
        return Contract("sink", ins=takes, transactional=True, **common)
    parameters = [each for each in inspect.signature(write).parameters if each != "self"]
    if len(parameters) not in (1, 2):
        raise ComponentDefinitionError(
            f"{owner.__qualname__}.write must take (self, batch, /) or (self, batch, keys, /)"
        )
    return Contract(
        "sink", ins=takes, wants_keys=len(parameters) == 2, is_async=inspect.iscoroutinefunction(write), **common
    )


_READERS: Final = {
    "source": _source,
    "transformer": _transformer,
    "splitter": _splitter,
    "merger": _merger,
    "sink": _sink,
}


def _declared(owner: type, kind: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__):
        found.update({name: port for name, port in vars(each).items() if isinstance(port, kind)})
    return found


def _kind_arguments(owner: Any, base: Any) -> tuple[Any, ...] | None:
    """What `owner` puts for the parameters of its kind: `(Document, Passage)` for `Transformer[Document, Passage]`."""
    if owner is base:
        return tuple(base.__parameters__)
    for written in vars(owner).get("__orig_bases__", owner.__bases__):
        origin = get_origin(written) or written
        if not (isinstance(origin, type) and issubclass(origin, base)):
            continue
        inherited = _kind_arguments(origin, base)
        given = get_args(written)
        if origin is base:
            return given or None
        if inherited is None:
            return None
        names = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
        return tuple(_replace(each, names) for each in inherited)
    return None


def _resolved(hint: Any, owner: Any) -> Any:
    """The hint with the names quoted in it looked up where the class stands."""
    holder = type("holder", (), {"__annotations__": {"hint": hint}, "__module__": owner.__module__})
    try:
        return typing.get_type_hints(holder, localns=dict(owner._locals), include_extras=True)["hint"]
    except NameError as error:
        raise UnresolvedHints(str(error)) from error


def _replace(hint: Any, names: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return names.get(hint, hint)
    return hint
