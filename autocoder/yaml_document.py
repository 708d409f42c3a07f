"""YAML text as a tree of frozen nodes that know their place; knows nothing of pipelines.

The tree is built from the parser's events rather than from its object constructors: nothing can be instantiated by
a document, depth and size are bounded while reading, and every key and value keeps its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from autocoder.errors import Place, Problem
from autocoder.yaml_scalars import CORE, TAGGED, resolve
from autocoder.yaml_syntax import syntax_problem

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value. `literal` text is never interpolated (again); text with `secrets` in it is never shown.

    `unresolved` means that the value could not be determined and the problem was reported already.
    """

    place: Place
    value: str | int | float | bool | None
    literal: bool = False
    secrets: frozenset[str] = frozenset()
    unresolved: bool = False

    @property
    def size(self) -> int:
        """Nodes in this subtree, aliases expanded."""
        return 1

    @property
    def depth(self) -> int:
        """Levels of this subtree."""
        return 1


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list of nodes."""

    place: Place
    items: tuple[Node, ...]
    size: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its place, and its value."""

    key: str
    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys with values, in the order of the file."""

    place: Place
    entries: tuple[Entry, ...]
    size: int = 1
    depth: int = 1

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def find(self, key: str) -> Entry | None:
        """The entry of a key."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = ScalarNode | SequenceNode | MappingNode


def mapping(place: Place, entries: Sequence[Entry]) -> MappingNode:
    """A mapping node, measured."""
    children = [entry.value for entry in entries]
    return MappingNode(place, tuple(entries), _size(children), _depth(children))


def sequence(place: Place, items: Sequence[Node]) -> SequenceNode:
    """A sequence node, measured."""
    return SequenceNode(place, tuple(items), _size(items), _depth(items))


def _size(children: Sequence[Node]) -> int:
    return 1 + sum(child.size for child in children)


def _depth(children: Sequence[Node]) -> int:
    return 1 + max((child.depth for child in children), default=0)


def from_python(value: Any, place: Place) -> Node:
    """Plain Python data as nodes that all stand at `place`; its text is literal, whatever `$` it contains."""
    if isinstance(value, Mapping):
        return mapping(place, [Entry(str(key), place, from_python(item, place)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return sequence(place, [from_python(item, place) for item in value])
    return ScalarNode(place, value, literal=True)


def to_python(node: Node) -> Any:
    """The tree as plain Python data."""
    if isinstance(node, MappingNode):
        return {entry.key: to_python(entry.value) for entry in node}
    if isinstance(node, SequenceNode):
        return [to_python(item) for item in node.items]
    return node.value


def show(node: Node) -> str:
    """A node as a message shows it: what was found."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if node.secrets:
        return "***"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    text = repr(node.value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_yaml(path: Path, file: str | None = None) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML file of at most 1 MiB, and everything wrong with it; `file` is the name shown."""
    place = Place(file or str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None, [Problem(place, "there is no such file", cure=_siblings(path))]
    except IsADirectoryError:
        return None, [Problem(place, "this is a folder", cure="name the YAML file in it")]
    except OSError as error:
        return None, [Problem(place, f"cannot be read: {error.strerror or type(error).__name__}")]
    except ValueError as error:
        return None, [Problem(place, f"is no file name: {error}")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) > MAX_BYTES:
            return None, [_too_big(place)]
        line = data.count(b"\n", 0, error.start) + 1
        return None, [
            Problem(
                Place(place.file, line, 1), "this is no UTF-8 text", f"byte 0x{data[error.start]:02x}",
                "save the file as UTF-8",
            )
        ]  # fmt: skip
    return parse_yaml(text, place.file)


def _siblings(path: Path) -> str | None:
    try:
        names = sorted(each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return f"there is no folder {str(path.parent)!r} either"
    return f"YAML files beside it: {', '.join(names[:12])}" if names else None


def _too_big(place: Place) -> Problem:
    return Problem(
        place, f"is larger than {MAX_BYTES >> 20} MiB", cure="keep data out of the YAML, name a file instead"
    )


def parse_yaml(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML text, and everything wrong with it. The tree is None where nothing of use could be read."""
    place = Place(file)
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None, [_too_big(place)]
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        what = "this is a binary file" if bad.group() == "\0" else "a control character is no YAML text"
        return None, [Problem(Place(file, line, column), what, f"U+{ord(bad.group()):04X}")]
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _Stop:
        return None, builder.problems
    except yaml.MarkedYAMLError as error:
        return None, [*builder.problems, syntax_problem(error, text, file)]
    except yaml.YAMLError as error:
        return None, [*builder.problems, Problem(place, f"is no YAML: {' '.join(str(error).split())}")]
    root = builder.root
    if root is None or (isinstance(root, ScalarNode) and root.value is None):
        return None, [*builder.problems, Problem(place, "is empty")]
    return root, builder.problems


_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class _Stop(Exception):  # noqa: N818  control flow, not an error
    """Reading on would be of no use."""


@dataclass(slots=True)
class _Frame:
    """A collection being read."""

    place: Place
    is_mapping: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    seen: dict[str, Place] = field(default_factory=dict)
    key: tuple[str | None, Place] | None = None


class _Builder:
    """Builds the tree out of parser events, collecting problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._open_anchors: list[str] = []
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        """Read one event on."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, self._place(event))
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._count(1, self._place(event))
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(self._place(event), "a second document starts here", cure="keep one document in a file")

    def _place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _problem(self, place: Place, what: str, found: str | None = None, cure: str | None = None) -> None:
        self.problems.append(Problem(place, what, found, cure))

    def _stop(self, place: Place, what: str, found: str | None = None, cure: str | None = None) -> None:
        self._problem(place, what, found, cure)
        raise _Stop

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._stop(place, f"the document has more than {MAX_NODES:,} values once its aliases are expanded")

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        tag = event.tag
        value: str | int | float | bool | None = event.value
        if tag is None or tag == "!":
            if tag is None and event.implicit[0]:
                value = resolve(event.value)
        elif tag in TAGGED:
            value = resolve(event.value)
            if type(value) not in TAGGED[tag]:
                self._problem(place, f"this is no {tag.removeprefix(CORE)}, though its tag says so", repr(event.value))
        elif tag != f"{CORE}str":
            self._refuse_tag(tag, place)
        self._add(ScalarNode(place, value), event.anchor)

    def _refuse_tag(self, tag: str, place: Place) -> None:
        shown = tag.replace(CORE, "!!")
        self._problem(
            place,
            "tags are refused: a pipeline is plain data",
            shown,
            f"remove it, or put a text that starts with {shown[0]!r} in quotes",
        )

    def _open(self, event: Any) -> None:
        place = self._place(event)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{CORE}map" if is_mapping else f"{CORE}seq"):
            self._refuse_tag(event.tag, place)
        self._stack.append(_Frame(place, is_mapping, event.anchor))
        if len(self._stack) > MAX_DEPTH:
            self._stop(place, f"is nested deeper than {MAX_DEPTH} levels")

    def _close(self) -> None:
        frame = self._stack.pop()
        node: Node = mapping(frame.place, frame.entries) if frame.is_mapping else sequence(frame.place, frame.items)
        self._add(node, frame.anchor)

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        if any(frame.anchor == event.anchor for frame in self._stack):
            self._stop(place, "an alias stands inside its own anchor, so it would never end", f"*{event.anchor}")
        node = self._anchors.get(event.anchor)
        if node is None:
            self._problem(
                place, "there is no such anchor above", f"*{event.anchor}", "put a text that starts with * in quotes"
            )
            node = ScalarNode(place, None, unresolved=True)
        self._count(node.size, place)
        if len(self._stack) + node.depth > MAX_DEPTH:
            self._stop(place, f"is nested deeper than {MAX_DEPTH} levels")
        self._add(node, None)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = (self._key(frame, node), node.place)
        else:
            key, place = frame.key
            frame.key = None
            if key is not None:
                frame.entries.append(Entry(key, place, node))

    def _key(self, frame: _Frame, node: Node) -> str | None:
        """The text of a key, None where it was refused (its value is then left out)."""
        if not isinstance(node, ScalarNode):
            self._problem(node.place, "a key must be text", show(node), "put a value that starts with { or [ in quotes")
            return None
        if not isinstance(node.value, str):
            self._problem(node.place, "a key must be text", show(node), "put it in quotes")
            return None
        if node.value == "<<":
            self._problem(
                node.place,
                "merge keys are refused: what a mapping contains would depend on other places of the file",
                "<<",
                "write the keys out, or use an alias for a whole value",
            )
            return None
        first = frame.seen.setdefault(node.value, node.place)
        if first is not node.place:
            self._problem(
                node.place,
                f"the key {node.value!r} stands here twice, first at line {first.line}",
                cure="keep one of them",
            )
            return None
        return node.value
