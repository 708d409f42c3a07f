"""YAML written by people, read into models: every mistake at once, each at its file, line and column.

Knows nothing of controls. Every scalar is text until a model says otherwise, so that `version: 2026.11` stays what was written
and a date stays a text. Nothing can be instantiated; size and depth are bounded, aliases and duplicate keys refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from autocoder import ConfigurationError, Place, Problem

MOST_BYTES: Final = 1024 * 1024
MOST_DEPTH: Final = 32
_Model = TypeVar("_Model", bound=BaseModel)
Steps = tuple[int | str, ...]


class ControlsError(ConfigurationError):
    """A file of controls or waivers is invalid; `problems` lists everything found, in the order of the file."""

    headline = "invalid controls or waivers"


@dataclass(frozen=True, slots=True)
class Written(Generic[_Model]):
    """A document as its model, and the place of each of its parts."""

    file: str
    value: _Model
    places: dict[Steps, Place]

    def place(self, *steps: int | str) -> Place:
        """Where the part at `steps` (keys and indexes) stands, or the nearest one around it."""
        return _nearest(self.places, steps, self.file)

    def problem(self, steps: Steps, what: str, cure: str | None = None) -> Problem:
        """A problem with the part at `steps`."""
        return Problem(self.place(*steps), what, cure=cure)


def read_text(path: Path) -> str:
    """The text of a file of at most 1 MiB. Raises ControlsError. Blocks."""
    place = Place(str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ControlsError([Problem(place, f"cannot be read: {error.strerror}", cure="check the path")]) from None
    if len(data) > MOST_BYTES:
        raise ControlsError([Problem(place, f"is larger than {MOST_BYTES:,} bytes", cure="split the file")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ControlsError([Problem(Place(str(path), line, 1), "is no UTF-8 text", cure="save it as UTF-8")]) from None


def parse(text: str, file: str) -> tuple[Any, dict[Steps, Place]]:
    """The mappings, lists and texts of one YAML document, and where each part stands. Raises ControlsError."""
    try:
        _refuse_hostile(text, file)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise ControlsError([Problem(place, f"is no valid YAML: {error.problem or 'it breaks off'}")]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        raise ControlsError([Problem(place, "a control character is no YAML text")]) from None
    if node is None:
        raise ControlsError([Problem(Place(file), "is empty")])
    places: dict[Steps, Place] = {}
    problems: list[Problem] = []
    value = _value(node, (), file, places, problems)
    if problems:
        raise ControlsError(problems)
    return value, places


def _refuse_hostile(text: str, file: str) -> None:
    """Look at the events first, which takes no recursion: what is too deep, or grows when it is expanded, is not composed."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        mark: Any = event.start_mark
        place = Place(file, mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ControlsError([Problem(place, "anchors and aliases are not understood", cure="write it out")])
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ControlsError([Problem(place, f"is nested deeper than {MOST_DEPTH} levels")])


def _value(node: yaml.Node, at: Steps, file: str, places: dict[Steps, Place], problems: list[Problem]) -> Any:
    places[at] = Place(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*at, index), file, places, problems) for index, each in enumerate(node.value)]
    made: dict[str, Any] = {}
    for key, value in node.value:
        place = Place(file, key.start_mark.line + 1, key.start_mark.column + 1)
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(place, "a key must be text"))
        elif key.value in made:
            problems.append(Problem(place, f"{key.value!r} is there twice", cure="leave one of them"))
        else:
            made[key.value] = _value(value, (*at, key.value), file, places, problems)
            places[*at, key.value, KEY] = place
    return made


KEY: Final = "\0key"
"""The last step to the place of a key, in place of that of its value."""


def validated(model: type[_Model], value: Any, places: dict[Steps, Place], file: str) -> Written[_Model]:
    """The document as `model`. Raises ControlsError with everything that is wrong with it."""
    try:
        return Written(file, model.model_validate(value), places)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise ControlsError(_problem(each, model, places, file) for each in found) from None


def _problem(found: Any, model: type[BaseModel], places: dict[Steps, Place], file: str) -> Problem:
    steps: Steps = tuple(step for step in found["loc"] if step != "[key]")
    said = ".".join(map(str, steps))
    if found["type"] == "extra_forbidden":
        known = _fields(model, steps[:-1])
        cure = suggestion(str(steps[-1]), known) if known else None
        return Problem(_nearest(places, (*steps, KEY), file), f"there is no field {str(steps[-1])!r} here", cure=cure)
    if found["type"] == "missing":
        return Problem(_nearest(places, steps[:-1], file), f"{said} is missing")
    what = found["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    return Problem(_nearest(places, steps, file), f"{said}: {what}" if said else what)


def _fields(model: type[BaseModel], steps: Steps) -> Sequence[str]:
    """The fields of the model that stands at `steps` of another one."""
    found: type[BaseModel] | None = model
    at = 0
    while found is not None and at < len(steps):
        field = found.model_fields.get(str(steps[at]))
        found, held = (None, False) if field is None else _inner(field.annotation)
        at += 2 if held else 1  # the index or key of what a field holds
    return [] if found is None else list(found.model_fields)


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field is, or with True the one that it holds, as `list[M]` and `dict[str, M]` do."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    held = [each for each in get_args(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    return (held[0] if held else None), True


def _nearest(places: dict[Steps, Place], steps: Steps, file: str) -> Place:
    return next((places[part] for part in _shorter(steps) if part in places), Place(file))


def _shorter(steps: Steps) -> Iterator[Steps]:
    for length in range(len(steps), -1, -1):
        yield steps[:length]


def suggestion(found: str, known: Sequence[str]) -> str:
    """The cure for a name that is not known: the nearest ones, or some of them all."""
    near = difflib.get_close_matches(found, known, n=3, cutoff=0.75)
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    names = sorted(known)
    return f"known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
