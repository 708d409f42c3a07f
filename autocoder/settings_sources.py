"""Where settings come from: sources for pydantic-settings that remember the place of every value.

pydantic-settings asks its sources in the order of precedence and merges what they give. Values alone cannot say in
which line they stand, so each source also leaves a tree with places behind, by which mistakes are then explained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from autocoder.database_settings import replaced_keys
from autocoder.errors import Place, did_you_mean
from autocoder.interpolation import interpolate_tree
from autocoder.overrides import merge, read_overrides
from autocoder.reading import Reader
from autocoder.validation import fields_at, has_holes
from autocoder.yaml_document import Entry, MappingNode, Node, from_python, mapping, show, to_python

PREFIX: Final = "AUTOCODER_"
DELIMITER: Final = "__"


@dataclass(slots=True)
class Origin:
    """What settings are taken from: variables and a document. `reader` collects what is wrong with them.

    The sources fill in `layers`, the trees of what they gave, the strongest first, and the `secrets` of variables.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    document: MappingNode = field(default_factory=lambda: mapping(Place("defaults"), []))
    reader: Reader = field(default_factory=Reader)
    layers: list[Node] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def tree(self) -> Node:
        """Everything that holds, with its places."""
        merged: Node = mapping(self.document.place, [])
        for layer in reversed(self.layers):
            merged = merge(merged, layer)
        return merged


class VariablesSource(EnvSettingsSource):
    """The variables of `origin.environ`, such as `AUTOCODER_DATABASE__URL`; those without `__` mean something else.

    The process's variables are never used, unless they are what was given.
    """

    def __init__(self, settings_cls: type[BaseSettings], origin: Origin) -> None:
        super().__init__(settings_cls)
        self.origin = origin
        known = variable_names(settings_cls)
        self.paths: dict[str, tuple[str, ...]] = {}
        for name in sorted(origin.environ):
            if name in known:
                self.paths[name] = known[name]
            elif name.startswith(PREFIX) and DELIMITER in name:
                place = Place(f"environment variable {name}")
                origin.reader.refuse(place, "is no setting", cure=_suggestion(name, list(known)))
        self.env_vars = {name.lower(): origin.environ[name] for name in self.paths}

    def __call__(self) -> dict[str, Any]:
        """What the variables say, without what a stronger source replaces."""
        given = _without_replaced(super().__call__(), self.current_state)
        for name, path in self.paths.items():
            below: Any = given
            for key in path:
                below = below.get(key) if isinstance(below, Mapping) else None
            if below is not None:
                layer: Any = below
                for key in reversed(path):
                    layer = {key: layer}
                self.origin.layers.append(from_python(layer, Place(f"environment variable {name}")))
        return given


def variable_names(settings_cls: type[BaseSettings]) -> dict[str, tuple[str, ...]]:
    """The variables that set something, each with the way to the field that it sets."""
    return {f"{PREFIX}{DELIMITER.join(path)}".upper(): path for path in _paths(settings_cls, ()) if len(path) > 1}


def _paths(settings_cls: type[BaseSettings], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = fields_at(settings_cls, path)
    for name in below:
        yield from _paths(settings_cls, (*path, name))
    if not below:
        yield path


def _suggestion(name: str, known: Sequence[str]) -> str:
    """The cure for an unknown variable: section and key are compared apart, for the whole names are all alike."""
    section, _, key = name.removeprefix(PREFIX).partition(DELIMITER)
    parts = [each.removeprefix(PREFIX).partition(DELIMITER) for each in known]
    for near in get_close_matches(section, sorted({each for each, _, _ in parts}), n=1):
        keys = get_close_matches(key, [each for holder, _, each in parts if holder == near], n=1)
        if keys:
            return did_you_mean(name, [f"{PREFIX}{near}{DELIMITER}{keys[0]}"])
    return did_you_mean(name, known)


def _without_replaced(given: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    sections = {}
    for section, values in given.items():
        stronger = above.get(section)
        gone = replaced_keys(stronger) if section == "database" and isinstance(stronger, Mapping) else frozenset()
        sections[section] = {key: each for key, each in values.items() if key not in gone}
    return sections


class DocumentSource(PydanticBaseSettingsSource):
    """The environment's YAML document, its variables filled in.

    Only what no stronger source replaces is looked at: a variable in a line that does not count need not be set.
    """

    def __init__(self, settings_cls: type[BaseSettings], origin: Origin, sections: tuple[str, ...]) -> None:
        super().__init__(settings_cls)
        self.origin, self.sections = origin, sections
        self._entries: dict[str, Entry] = {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of a section: plain data, but for `pipelines`, whose overrides stay trees with places."""
        entry = self._entries.get(field_name)
        if entry is None:
            return None, field_name, False
        if field_name == "pipelines":
            return _pipelines(self.origin.reader, entry.value), field_name, False
        return to_python(entry.value), field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the document says, without what a stronger source replaces."""
        reader = self.origin.reader
        above = {name: self.current_state[name] for name in self.sections if name in self.current_state}
        filled = interpolate_tree(_still_counting(self.origin.document, above), self.origin.environ)
        reader.problems.extend(filled.problems)
        self.origin.secrets |= filled.secrets
        known = reader.keys(filled.node, self.sections, "the settings")
        # A section that is empty (its lines commented out) is a section left out.
        self._entries = {
            name: each for name, each in known.items() if to_python(each.value) is not None or has_holes(each.value)
        }
        self.origin.layers.append(mapping(filled.node.place, list(self._entries.values())))
        given: dict[str, Any] = {}
        for name, field_ in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field_, name)
            if name in self._entries:
                given[key] = value
        return given


def _still_counting(document: MappingNode, above: Mapping[str, Any]) -> MappingNode:
    """The document without what `above` replaces."""
    kept: list[Entry] = []
    for each in document:
        stronger = above.get(each.key)
        if isinstance(each.value, MappingNode) and isinstance(stronger, Mapping):
            gone = replaced_keys(stronger) if each.key == "database" else frozenset[str]()
            below = mapping(each.value.place, [entry for entry in each.value if entry.key not in gone])
            kept.append(Entry(each.key, each.place, _still_counting(below, stronger)))
        elif each.key not in above:
            kept.append(each)
    return mapping(document.place, kept)


def _pipelines(reader: Reader, node: Node) -> dict[str, MappingNode]:
    if not isinstance(node, MappingNode):
        reader.refuse(node.place, "pipelines must be a mapping from names to overrides", show(node))
        return {}
    named = [each for each in node if reader.name(each)]
    return {each.key: replace(read_overrides(reader, each.value), place=each.place) for each in named}
