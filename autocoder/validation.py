"""Puts the errors of a pydantic model at the lines of the YAML they speak of, in words for people, secrets left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Final, cast, get_args, get_type_hints

from pydantic import AliasChoices, BaseModel, InstanceOf, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from autocoder.errors import Place, Problem, did_you_mean
from autocoder.masking import MASK, is_secret_name
from autocoder.yaml_document import MappingNode, Node, ScalarNode, SequenceNode, show

Loc = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """What was validated: the model, the tree its values came from (None: nothing written), and how messages call it.

    `place` stands for what was not written; `prefix` comes before the name of a field; `secrets` never appear.
    """

    model: type[BaseModel]
    node: Node | None
    place: Place
    prefix: str
    secrets: frozenset[str] = frozenset()


def explain(error: ValidationError, subject: Subject) -> list[Problem]:
    """One problem for each value or key; where a union's members complain one by one, their wishes are joined."""
    problems: list[Problem] = []
    values: dict[Loc, list[Mapping[str, Any]]] = {}
    for each in error.errors(include_url=False):
        if each["type"] == "missing":
            problems.append(_missing(each["loc"], subject))
        elif each["type"] in _UNKNOWN_KEY:
            problems.append(_unknown(each["loc"], subject))
        elif each["loc"][-1:] == ("[key]",):
            problems.append(_unfit_key(each, subject))
        else:
            written = _find(subject.node, each["loc"]).path
            values.setdefault(written or each["loc"][:1], []).append(each)
    for path, members in values.items():
        node = _find(subject.node, path).node if path else subject.node
        if node is None or not has_holes(node):
            problems.append(_wrong(path, node, members, subject))
    return list(dict.fromkeys(problems))


def _missing(loc: Loc, subject: Subject) -> Problem:
    holder = _find(subject.node, loc[:-1])
    place = holder.node.place if holder.node is not None and holder.path else subject.place
    field = fields_at(subject.model, loc[:-1]).get(str(loc[-1]))
    said = getattr(field, "description", None)
    cure = f"write {loc[-1]}: ..." + (f" ({said})" if said else "")
    return Problem(place, f"{_name(subject, (*holder.path, loc[-1]))} is missing", cure=cure)


def _unknown(loc: Loc, subject: Subject) -> Problem:
    """A key that no field has; its value is nobody's business, for it may be a secret under a misspelt name."""
    key = str(loc[-1])
    holder = _find(subject.node, loc[:-1])
    entry = holder.node.find(key) if isinstance(holder.node, MappingNode) else None
    known = fields_at(subject.model, loc[:-1])
    cure = did_you_mean(key, [*known, *(name for field in known.values() for name in _spellings(field))])
    if not cure.startswith("did you mean"):
        cure = did_you_mean(key, known, plural="its fields") if known else "it takes none"
    what = f"{_name(subject, holder.path)} has no field {key!r}"
    return Problem(entry.place if entry else subject.place, what, cure=cure)


def _unfit_key(error: Mapping[str, Any], subject: Subject) -> Problem:
    """A key of a mapping that is not what its keys must be."""
    *above, key, _ = error["loc"]
    holder = _find(subject.node, tuple(above))
    entry = holder.node.find(str(key)) if isinstance(holder.node, MappingNode) else None
    what = _words(error)
    cure = _near(str(key), what) if error["type"] in _CHOICES else None
    place = entry.place if entry else subject.place
    return Problem(place, f"{_name(subject, holder.path)}: the key {str(key)!r} {what}", cure=cure)


def _wrong(path: Loc, node: Node | None, members: Sequence[Mapping[str, Any]], subject: Subject) -> Problem:
    what = _either(list(dict.fromkeys(_words(each) for each in members)))
    secret = path_is_secret(path, subject.model) or (node is not None and _holds_secret(node))
    if any(each["type"] in _AUTHORED for each in members):  # the author's words may repeat the value
        what = without(what, {*subject.secrets, *(_strings(node) if secret and node is not None else ())})
    found = None if node is None or not path else MASK if secret else without(show(node), subject.secrets)
    place = node.place if node is not None and path else subject.place
    return Problem(place, f"{_name(subject, path)}: {what}", found, _cure(members[0], node, what))


def _name(subject: Subject, path: Loc) -> str:
    """A field as the user would say it: `rows.0.name`."""
    parts = ".".join(str(part) for part in path)
    return f"{subject.prefix}: {parts}" if parts and subject.prefix else parts or subject.prefix


@dataclass(frozen=True, slots=True)
class _Found:
    """The node at an error's location, and the part of the location that the user wrote."""

    node: Node | None
    path: Loc


def _find(root: Node | None, loc: Loc) -> _Found:
    """The node of an error; parts of its location that no user wrote (union members, validators) are passed over."""
    node = root
    path: list[int | str] = []
    for number, part in enumerate(loc):
        entry = node.find(str(part)) if isinstance(node, MappingNode) else None
        if entry is not None:
            node = entry.value
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        elif number == 0:  # the default of a field that the YAML does not mention
            return _Found(None, ())
        else:
            continue
        path.append(part)
    return _Found(node, tuple(path))


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret masked."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def has_holes(node: Node) -> bool:
    """Whether any value below could not be determined (and was reported)."""
    return any(each.unresolved for each in scalars(node))


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Every single value of a tree."""
    if isinstance(node, MappingNode):
        for entry in node:
            yield from scalars(entry.value)
    elif isinstance(node, SequenceNode):
        for item in node.items:
            yield from scalars(item)
    else:
        yield node


def _strings(node: Node) -> list[str]:
    return [str(each.value) for each in scalars(node) if each.value is not None]


def _holds_secret(node: Node) -> bool:
    return any(each.secrets for each in scalars(node))


def written_secrets(node: Node, model: type[BaseModel] | None = None, path: Loc = ()) -> Iterator[str]:
    """The values of a tree that are secret: by their variable, their key's name, or the type of their field."""
    if isinstance(node, MappingNode):
        for entry in node:
            yield from written_secrets(entry.value, model, (*path, entry.key))
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.items):
            yield from written_secrets(item, model, (*path, number))
    else:
        yield from node.secrets
        if isinstance(node.value, str) and (node.secrets or path_is_secret(path, model)):
            yield node.value


def path_is_secret(path: Loc, model: type[BaseModel] | None) -> bool:
    """Whether the name of a key on the way, or the type of the field, says that what stands there is secret."""
    if any(isinstance(part, str) and is_secret_name(part) for part in path):
        return True
    if model is None or not path:
        return False
    field = fields_at(model, path[:-1]).get(str(path[-1])) or _written_fields(model).get(str(path[0]))
    return field is not None and _mentions_secret(field.annotation)


def _mentions_secret(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, SecretStr | SecretBytes):
        return True
    return any(_mentions_secret(argument) for argument in get_args(hint))


def fields_at(model: type[BaseModel], loc: Loc) -> dict[str, FieldInfo]:
    """The fields of what stands at a location, through lists, mappings and unions; none where that has no fields.

    They go by the names that are written.
    """
    holders: list[type] = [model]
    for part in loc:
        inner = [named[str(part)].annotation for named in map(_written_fields, holders) if str(part) in named]
        if inner:
            holders = [found for hint in inner for found in _holders(hint)]
    return {name: field for each in holders for name, field in _written_fields(each).items()}


def _written_fields(holder: type) -> dict[str, FieldInfo]:
    """The fields by the names that are written: an alias hides the name in Python."""
    if issubclass(holder, BaseModel):
        return {_spellings(field, name)[0]: field for name, field in holder.model_fields.items()}
    return {name: FieldInfo.from_annotation(hint) for name, hint in get_type_hints(holder, include_extras=True).items()}


def _spellings(field: FieldInfo, name: str = "") -> list[str]:
    """The names under which a field may be written, the one to recommend first; its own where it has no other."""
    if isinstance(field.validation_alias, AliasChoices):
        return [each for each in field.validation_alias.choices if isinstance(each, str)] or [name]
    return [field.validation_alias if isinstance(field.validation_alias, str) else field.alias or name]


def _holders(hint: Any) -> list[type]:
    """The types within a hint whose parts have names: models, dataclasses, typed mappings and named tuples."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or is_dataclass(hint) or hasattr(hint, "_fields")):
        return [hint]
    if is_typeddict(hint):
        return [hint]
    if any(isinstance(each, _AS_IT_IS) for each in get_args(hint)):  # never written in its parts
        return []
    return [found for argument in get_args(hint) for found in _holders(argument)]


_AS_IT_IS: Final = cast("type", InstanceOf)
_UNKNOWN_KEY: Final = ("extra_forbidden", "unexpected_keyword_argument")
_CHOICES: Final = ("literal_error", "enum")
_AUTHORED: Final = ("value_error", "assertion_error")
_KINDS: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "none_required": "nothing",
    "path_type": "a path",
    "url_type": "a URL",
}


def _words(error: Mapping[str, Any]) -> str:
    """What pydantic says, as a requirement: `must be greater than 0`."""
    if error["type"] in _KINDS:
        return f"must be {_KINDS[error['type']]}"
    said: str = error["msg"]
    if error["type"] in _AUTHORED:
        said = str(error.get("ctx", {}).get("error", said)) or said
    return sentence(re.sub(r"^(Input|Value|String|List|Set|Tuple|Dictionary|URL) should ", "must ", said))


def sentence(text: str) -> str:
    """A message inside another: on one line, without a capital or a full stop."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _either(texts: list[str]) -> str:
    wishes = [text.removeprefix("must be ") for text in texts if text.startswith("must be ")]
    if len(wishes) == len(texts):
        return f"must be {' or '.join(wishes)}"
    return "; or ".join(texts)


def _cure(error: Mapping[str, Any], node: Node | None, what: str) -> str | None:
    value = node.value if isinstance(node, ScalarNode) else None
    if error["type"] == "string_type" and value is not None:
        return "put it in quotes"
    return _near(value, what) if error["type"] in _CHOICES and isinstance(value, str) else None


def _near(found: str, what: str) -> str | None:
    """The nearest of the words that a requirement quotes."""
    near = did_you_mean(found, re.findall(r"'([^']*)'", what))
    return near if near.startswith("did you mean") else None
