"""A tool as its server defines it, bounded and with the hashes of its parts. Plain data; judges nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

MOST_TEXT: Final = 64 * 1024
"""Characters of one tool that are looked at; no honest definition is that long."""
LONGEST_NAME: Final = 256
_TOO_DEEP: Final = "nested too deep to be written down"


@dataclass(frozen=True, slots=True)
class Digests:
    """Hashes of the parts of a definition, so that a change can be told from another. SHA-256, the first 128 bits as hex."""

    description: str
    schema: str
    annotations: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a definition that a model reads, and where it stands: `description`, `inputSchema`, ..."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Hints:
    """What a tool says of itself; None where it says nothing."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `texts` are all its strings up to the bound, `cut` whether there are more of them."""

    name: str
    description: str
    texts: tuple[Text, ...] = field(repr=False)
    parameters: tuple[str, ...]
    hints: Hints
    digests: Digests
    cut: bool = False


def tool_of(listed: Mapping[str, Any]) -> Tool:
    """The tool that an entry of `tools/list` is; parts of a wrong type are as good as absent, but are hashed like all else."""
    texts: list[Text] = []
    left = MOST_TEXT
    for where in ("name", "title", "description", "annotations", "inputSchema", "outputSchema"):
        for piece in _strings(listed.get(where)):
            texts.append(Text(where, piece[:left]))
            left -= len(piece)
            if left < 0:
                break
        if left < 0:
            break
    schema, annotations = listed.get("inputSchema"), listed.get("annotations")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    hints = annotations if isinstance(annotations, dict) else {}
    description = listed.get("description")
    return Tool(
        name=_bounded(listed["name"]),
        description=description[:MOST_TEXT] if isinstance(description, str) else "",
        texts=tuple(texts),
        parameters=tuple(each[:LONGEST_NAME] for each in islice(properties, 1000))
        if isinstance(properties, dict)
        else (),
        hints=Hints(*(_truth(hints, f"{name}Hint") for name in ("readOnly", "destructive", "idempotent", "openWorld"))),
        digests=Digests(
            description=digest_of([listed.get("title"), description]),
            schema=digest_of([schema, listed.get("outputSchema")]),
            annotations=digest_of(annotations),
        ),
        cut=left < 0,
    )


def digest_of(value: Any) -> str:
    """The hash of a JSON value, the same however its objects are ordered."""
    try:
        data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except RecursionError:
        data = _TOO_DEEP
    return hashlib.sha256(data.encode()).hexdigest()[:32]


def _bounded(name: str) -> str:
    """A name no longer than can be read; the hash tells apart what is cut."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 40]}…{digest_of(name)}"


def _truth(hints: Mapping[str, Any], name: str) -> bool | None:
    said = hints.get(name)
    return said if isinstance(said, bool) else None


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names of members too, in the order of the text."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            waiting.extend(reversed(each))
        elif isinstance(each, dict):
            for key, inner in reversed(each.items()):
                waiting += (inner, key)
