"""Variables in text values: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, and `$$` for a dollar.

It happens in string values after YAML was parsed, so that no variable can change the shape of a document; keys and
comments are left alone. The rules:

- `${VAR}`: the variable, which must be set (it may be empty);
- `${VAR:-default}`: the default where the variable is unset or empty; the default may contain variables and `$$`
  itself, and ends at its `}`;
- `${VAR:?message}`: the variable, or the message as the problem where it is unset or empty;
- `$$`: one dollar; a dollar before anything else but `{` stays as it is (`^\\d+$`, `$1`, `$.path` need no escaping);
- the value of a variable is never interpolated again, and stays text: the field decides what it becomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from autocoder.errors import Place, Problem, did_you_mean
from autocoder.masking import is_secret_name
from autocoder.yaml_document import Entry, MappingNode, Node, ScalarNode, SequenceNode, mapping, sequence

MAX_NESTING: Final = 16
_STEP: Final = re.compile(r"\$\$|\$\{|\}|[^$}]+|\$")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS: Final = "write ${NAME}, ${NAME:-default}, ${NAME:?message}, or $$ for a dollar"


class InterpolationError(ValueError):
    """A text whose variables cannot be filled in; `cure` says what to do. `others` are the further ones of the same text."""

    def __init__(self, what: str, cure: str | None = None) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure
        self.others: list[InterpolationError] = []


@dataclass(slots=True)
class _Found:
    """What comes up while a text is read: secret values, and variables that are missed."""

    secrets: set[str] = field(default_factory=set)
    missed: list[InterpolationError] = field(default_factory=list)


def escape(text: str) -> str:
    """`text` such that interpolating it gives `text` back."""
    return text.replace("$", "$$")


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """`text` with its variables filled in, and the secret values among them; raises InterpolationError."""
    if "$" not in text:
        return text, frozenset()
    found = _Found()
    try:
        result, end = _read(text, 0, environ, found, 0)
        assert end == len(text)  # noqa: S101  only a nested text ends before its end
    except InterpolationError as error:  # behind it nothing can be read
        found.missed.append(error)
    if found.missed:
        first, *others = found.missed
        first.others = others
        raise first
    return result, frozenset(found.secrets)


def _read(text: str, at: int, environ: Mapping[str, str], found: _Found, nesting: int) -> tuple[str, int]:
    """The text from `at` on: to its end, or, in a default, to the brace that closes it."""
    parts: list[str] = []
    while at < len(text):
        step = _STEP.match(text, at)
        assert step is not None  # noqa: S101  the pattern takes any character
        token = step.group()
        if token == "}" and nesting:  # noqa: S105  a brace
            return "".join(parts), at
        if token == "${":  # noqa: S105
            value, at = _variable(text, step.end(), environ, found, nesting)
            parts.append(value)
            continue
        parts.append("$" if token == "$$" else token)  # noqa: S105
        at = step.end()
    if nesting:
        raise InterpolationError("a ${ is never closed", _FORMS)
    return "".join(parts), at


def _variable(text: str, at: int, environ: Mapping[str, str], found: _Found, nesting: int) -> tuple[str, int]:
    """The value of the variable whose name starts at `at`, and where its closing brace has passed."""
    if nesting == MAX_NESTING:
        raise InterpolationError(f"defaults are nested deeper than {MAX_NESTING}")
    named = _NAME.match(text, at)
    if named is None:
        raise InterpolationError("a ${ must be followed by the name of a variable", _FORMS)
    name, at = named.group(), named.end()
    value = environ.get(name)
    if value is not None and is_secret_name(name):
        found.secrets.add(value)
    if text.startswith("}", at):
        if value is None:
            found.missed.append(InterpolationError(f"the variable {name} is not set", _cure(name, environ)))
        return value or "", at + 1
    if text.startswith(":-", at):
        # An unused default is read all the same (its form must be right) but no variable in it is missed.
        default, at = _read(
            text, at + 2, environ if not value else _Anything(), found if not value else _Found(), nesting + 1
        )
        if not value and is_secret_name(name) and default:
            found.secrets.add(default)
        return value or default, at + 1
    if text.startswith(":?", at):
        end = text.find("}", at)
        if end < 0:
            raise InterpolationError("a ${ is never closed", _FORMS)
        if not value:
            said = text[at + 2 : end].strip()
            what = f"the variable {name} is {'not set' if value is None else 'empty'}"
            found.missed.append(InterpolationError(f"{what}: {said}" if said else what, f"set {name}"))
        return value or "", end + 1
    if "}" not in text[at:]:
        raise InterpolationError("a ${ is never closed", _FORMS)
    raise InterpolationError(f"${{{name}... has an unknown form", _FORMS)


class _Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def get(self, _name: str, _default: object = None) -> str:
        return "-"


def _cure(name: str, environ: Mapping[str, str]) -> str:
    near = did_you_mean(name, [each for each in environ if abs(len(each) - len(name)) < 4])
    hint = f", {near}" if near.startswith("did you mean") else ""
    return f"set it, or give a default: ${{{name}:-...}}{hint}"


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A tree with its variables filled in, the secret values that went into it, and what went wrong."""

    node: Node
    secrets: frozenset[str]
    problems: tuple[Problem, ...]
    written: Mapping[str, str]
    """What stands in the file for each value that came out of variables, so that a problem can show that instead."""


def interpolate_tree(node: Node, environ: Mapping[str, str]) -> Interpolated:
    """Every string value of a tree interpolated, except literal ones; a failed one becomes `unresolved`."""
    walk = _Walk(environ)
    done = walk.node(node)
    return Interpolated(done, frozenset(walk.secrets), tuple(walk.problems.values()), walk.written)


@dataclass(slots=True)
class _Walk:
    environ: Mapping[str, str]
    secrets: set[str] = field(default_factory=set)
    written: dict[str, str] = field(default_factory=dict)
    problems: dict[tuple[Place, str], Problem] = field(default_factory=dict)  # an aliased value is reported once

    def node(self, node: Node) -> Node:
        if isinstance(node, MappingNode):
            return mapping(node.place, [Entry(each.key, each.place, self.node(each.value)) for each in node])
        if isinstance(node, SequenceNode):
            return sequence(node.place, [self.node(each) for each in node.items])
        if node.literal or not isinstance(node.value, str) or "$" not in node.value:
            return node
        return self._scalar(node, node.value)

    def _scalar(self, node: ScalarNode, text: str) -> ScalarNode:
        try:
            value, secrets = interpolate(text, self.environ)
        except InterpolationError as error:
            for each in (error, *error.others):
                self.problems[node.place, each.what] = Problem(node.place, each.what, cure=each.cure)
            return replace(node, value=None, literal=True, unresolved=True)
        self.secrets |= secrets
        if value != text:
            self.written[value] = text
        return replace(node, value=value, literal=True, secrets=secrets)
