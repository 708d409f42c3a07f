"""What an environment changes in a pipeline: how components are set up, never what they are or what feeds them."""

from __future__ import annotations

from typing import Final

from autocoder.errors import did_you_mean
from autocoder.reading import Reader
from autocoder.yaml_document import Entry, MappingNode, Node, mapping

OVERRIDE_KEYS: Final = ("components", "commit")
COMPONENT_OVERRIDE_KEYS: Final = ("with", "on_error", "concurrency", "ordered", "run_in")


def read_overrides(reader: Reader, node: Node) -> MappingNode:
    """The overrides of one pipeline, without what is refused: unknown keys, and anything that is no mapping."""
    entries = reader.keys(node, OVERRIDE_KEYS, "the overrides of a pipeline")
    kept = [entries["commit"]] if "commit" in entries else []
    named = entries.get("components")
    if named is not None and not isinstance(named.value, MappingNode):
        reader.keys(named.value, ("name",), "components")
    elif named is not None:
        assert isinstance(named.value, MappingNode)  # noqa: S101  the case above
        options = [(each, reader.keys(each.value, COMPONENT_OVERRIDE_KEYS, _of(each))) for each in named.value]
        components = [
            Entry(each.key, each.place, mapping(each.value.place, list(known.values()))) for each, known in options
        ]
        kept.append(Entry(named.key, named.place, mapping(named.value.place, components)))
    return mapping(node.place, kept)


def _of(each: Entry) -> str:
    return f"the overrides of {each.key!r}"


def lay_over(reader: Reader, root: MappingNode, overrides: Node) -> MappingNode:
    """A pipeline with its overrides laid over it; components that it does not have are refused."""
    over = read_overrides(reader, overrides)
    base, named = root.find("components"), over.find("components")
    if base is not None and named is not None and isinstance(base.value, MappingNode):
        names = [each.key for each in base.value]
        assert isinstance(named.value, MappingNode)  # noqa: S101  read_overrides keeps nothing else
        for each in named.value:
            if each.key not in names:
                what = f"the overrides name a component that the pipeline lacks: {each.key!r}"
                reader.refuse(each.place, what, cure=did_you_mean(each.key, names, plural="components"))
        known = [each for each in named.value if each.key in names]
        components = Entry(named.key, named.place, mapping(named.value.place, known))
        over = mapping(over.place, [components if each is named else each for each in over])
    merged = merge(root, over)
    assert isinstance(merged, MappingNode)  # noqa: S101  two mappings merge into one
    return merged


def merge(base: Node, over: Node) -> Node:
    """`over` laid over `base`: mappings key by key, anything else replaced as a whole."""
    if not (isinstance(base, MappingNode) and isinstance(over, MappingNode)):
        return over
    merged = {each.key: each for each in base}
    for each in over:
        below = merged.get(each.key)
        merged[each.key] = each if below is None else Entry(each.key, each.place, merge(below.value, each.value))
    return mapping(base.place, list(merged.values()))
