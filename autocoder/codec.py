"""Payloads as JSON text and back, by the type of the port that carries them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property, lru_cache
from math import isfinite
from types import GenericAlias
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

MOST_BYTES: Final = 16 * 1024 * 1024
_MUCH: Final = 8 * 1024 * 1024
_LONG: Final = 2048
"""From so many characters on a payload takes longer to encode than to be asked for its errors."""
_BYTES_PER_CHARACTER: Final = 4
"""At most, in UTF-8."""
_KIND: Final = re.compile(r"'type': '([\w-]+)'")
_WITHOUT_FLOATS: Final = {
    *("model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "typed-dict"),
    *("typed-dict-field", "definitions", "definition-ref", "default", "nullable", "union", "none", "literal"),
    *(
        "list",
        "tuple",
        "set",
        "frozenset",
        "dict",
        "str",
        "int",
        "bool",
        "bytes",
        "datetime",
        "date",
        "time",
        "uuid",
        "url",
    ),
}
"""What the schema of a type may be made of where nothing in it is a float."""
T = TypeVar("T")


def once_per_type(make: Callable[[Any], T]) -> Callable[[Any], T]:
    """What is made of a type alone, kept for the next who asks: most ports of a pipeline carry one of a few types.

    Types that are equal need not read alike: `int | str` and `str | int` are told apart by their text.
    """

    @lru_cache(maxsize=1024)
    def kept(_: str, hint: Any) -> T:
        return make(hint)

    def made(hint: Any) -> T:
        try:
            hash(hint)
        except TypeError:  # what it is annotated with may be anything
            return make(hint)
        return kept(repr(hint), hint)

    return made


@once_per_type
def adapter_of(hint: Any) -> TypeAdapter[Any]:
    """The adapter of a type; to make one takes milliseconds."""
    return TypeAdapter(hint)


def parse_json(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text that comes from outside; raises ValueError where it is none, or RecursionError.

    NaN and Infinity are none, which parsers take all the same; nor does a number pass that is too large for a float. With
    `unique_keys` an object must not have a key twice, where else the last one counts. Of what is no JSON by its form the error
    is a `json.JSONDecodeError`, with the place; of the others the message says what it is.
    """
    hook = _each_once if unique_keys else None
    return json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=hook)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} stands in one object twice")
    return made


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {text[:20]}{'...' if len(text) > 20 else ''} is too large")
    return number


class PayloadError(ValueError):
    """A payload that cannot be written down; `description` says its type, size and hash instead."""

    def __init__(self, message: str, description: dict[str, Any]) -> None:
        super().__init__(message)
        self.description = description


class Codec:
    """Encodes and decodes payloads of one type (`Any`: what JSON knows; objects come back as dicts)."""

    def __init__(self, hint: Any, *, most_bytes: int = MOST_BYTES) -> None:
        adapter = adapter_of(hint)
        self._to_json = adapter.serializer.to_json
        self._hint = hint
        self._from_json = adapter.validator.validate_json
        self._most_bytes = most_bytes
        self._are_long = False

    @cached_property
    def _all(self) -> TypeAdapter[Any]:
        return adapter_of(GenericAlias(list, (self._hint,)))

    def encode(self, payload: Any) -> str:
        """JSON text; raises PayloadError where the payload has no such form or is over the limit."""
        try:
            data = self._to_json(payload, warnings="error")
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            raise PayloadError(f"the payload cannot be encoded: {error}", _described(payload, None)) from error
        if self._lost_numbers(payload, data):
            return self._with_numbers(payload)
        if len(data) > self._most_bytes:
            what = f"the payload has {len(data):,} bytes, {self._most_bytes:,} are allowed"
            raise PayloadError(what, _described(payload, data))
        return data.decode()

    def encode_all(self, payloads: Sequence[Any]) -> list[str]:
        """The JSON text of each; raises PayloadError where one has no such form or is over the limit.

        To ask for errors costs more than to encode, payload by payload. So the list is encoded once more, as a whole, only to
        ask: that text cannot be cut into its elements. Where payloads are long or alone,
        or something is wrong, each is asked for.
        """
        if self._are_long or len(payloads) == 1:
            return self._encode_each(payloads)
        to_json = self._to_json
        try:
            encoded = [to_json(payload, warnings=False).decode() for payload in payloads]
            length = sum(map(len, encoded))
            self._are_long = length > _LONG * len(encoded)
            if length * _BYTES_PER_CHARACTER <= min(_MUCH, self._most_bytes):
                whole = self._all.serializer.to_json(payloads, warnings="error")
                if not self._lost_numbers(payloads, whole):
                    return encoded
        except (PydanticSerializationError, ValueError, TypeError, RecursionError):
            pass
        return self._encode_each(payloads)

    def _encode_each(self, payloads: Sequence[Any]) -> list[str]:
        encoded = [self.encode(payload) for payload in payloads]
        self._are_long = sum(map(len, encoded)) > _LONG * len(encoded)
        return encoded

    def _lost_numbers(self, payload: Any, data: bytes) -> bool:
        return self._may_hold_floats and b"null" in data and _lost_numbers(payload, data)

    @cached_property
    def _may_hold_floats(self) -> bool:
        """Whether a payload has to be looked through at all; None is common, and to look takes longer than to encode."""
        return not set(_KIND.findall(repr(adapter_of(self._hint).core_schema))) <= _WITHOUT_FLOATS

    def _with_numbers(self, payload: Any) -> str:
        """The text of a payload that holds NaN or infinity, for which JSON has no number: as words, where its type makes
        the same numbers of them again."""
        try:
            alone: Any = GenericAlias(list, (self._hint,))  # no type with a configuration of its own, as models are
            adapter: TypeAdapter[Any] = TypeAdapter(alone, config=ConfigDict(ser_json_inf_nan="strings"))
            text = adapter.dump_json([payload])[1:-1].decode()
            if repr(self.decode(text)) == repr(payload):
                return text
        except (PydanticSerializationError, PydanticUserError, ValueError, TypeError):
            pass
        raise PayloadError(
            "the payload cannot be encoded: it holds NaN or infinity, and JSON has none", _described(payload, None)
        )

    def decode(self, text: str) -> Any:
        """The payload; raises ValueError where the text is no payload of this type."""
        return self._from_json(text)


def _lost_numbers(payload: Any, data: bytes) -> bool:
    """Whether NaN or infinity became `null`, unlike what was None before."""
    nulls = data.count(b"null")
    if not nulls:
        return False
    lost, left = 0, [payload]
    while left:
        each = left.pop()
        if each is None:
            nulls -= 1
        elif isinstance(each, float):
            lost += not isfinite(each)
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list | tuple | set | frozenset | deque):
            left += each
        elif isinstance(each, BaseModel):
            left += [*each.__dict__.values(), *(each.model_extra or {}).values()]
        elif is_dataclass(each):
            left += [getattr(each, field.name, None) for field in fields(each)]
    return 0 < lost <= nulls


def _described(payload: Any, data: bytes | None) -> dict[str, Any]:
    """What can be said of a payload without keeping it."""
    described: dict[str, Any] = {"type": type(payload).__name__}
    if data is None:
        try:
            data = _as_bytes(payload)
        except Exception:
            return described
    return {**described, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _as_bytes(payload: Any) -> bytes:
    """Something to tell payloads apart by."""
    try:
        return to_json(payload, fallback=repr)
    except Exception:  # text that is no Unicode, for one
        return repr(payload).encode(errors="backslashreplace")
