"""Makes a component out of its class and the `with` of a pipeline; the class's pydantic model judges the values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from autocoder.component import Component
from autocoder.errors import Problem, describe
from autocoder.reading import is_unresolved
from autocoder.validation import Subject, explain, has_holes, sentence, without, written_secrets
from autocoder.yaml_document import Entry, MappingNode, ScalarNode, show, to_python


@dataclass(frozen=True, slots=True)
class Configured:
    """A component (None where its configuration is wrong), the secrets it was given, and what is wrong."""

    component: Component | None
    secrets: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


def configure(
    kind: type[Component], name: str, use: Entry, config: Entry | None, import_type: Callable[[str], Any]
) -> Configured:
    """An instance of `kind` from the `with` entry of the component `name`; `use` is where a missing `with` would be."""
    node = config.value if config is not None else None
    if node is not None and is_unresolved(node):
        return Configured(None)
    if isinstance(node, ScalarNode) and node.value is None:
        node = None
    if node is not None and not isinstance(node, MappingNode):
        problem = Problem(node.place, f"{name}: with must be a mapping of fields to values", show(node))
        return Configured(None, problems=(problem,))
    place = config.place if config is not None else use.value.place
    try:
        model = kind.config_model()
    except Exception as error:
        return Configured(
            None, problems=(Problem(use.value.place, f"{kind.__qualname__} cannot be used: {describe(error)}"),)
        )
    secrets = frozenset(written_secrets(node, model)) if node is not None else frozenset()
    subject = Subject(model, node, place, name, secrets)
    component, problems = _build(kind, subject, {} if node is None else to_python(node), {"import_type": import_type})
    held = frozenset(_secret_values(vars(component))) if component is not None else frozenset()
    return Configured(component, secrets | held, tuple(problems))


def _build(
    kind: type[Component], subject: Subject, values: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[Component | None, list[Problem]]:
    try:
        if subject.node is not None and has_holes(subject.node):
            # Judged as far as it goes; `check` would see values that nobody wrote.
            subject.model.model_validate(values, context=context)
            return None, []
        return kind.configured(values, context=context), []
    except ValidationError as error:
        return None, explain(error, subject)
    except ValueError as error:
        said = sentence(str(error)) or "its fields do not go together"
    except Exception as error:  # the class's own validators may do anything
        said = f"{kind.__qualname__} could not be set up: {describe(error)}"
    return None, [Problem(subject.place, f"{subject.prefix}: {without(said, subject.secrets)}")]


def _secret_values(value: Any, depth: int = 0) -> Iterator[str]:
    """The values of the masking types inside a configured component."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode("utf-8", "replace")
    elif depth < 5:
        for each in _parts(value):
            yield from _secret_values(each, depth + 1)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, BaseModel):
        yield from value.__dict__.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, each.name, None) for each in dataclasses.fields(value))
