"""Rule packs (controls, and the rules that judge them) and mappings (requirements of a framework, and their controls).

Both are YAML: those in the pack's `data/`, and a user's own, which are read in the same way and held to the same checks. A
framework is named by its title, its requirements by their identifiers alone: their text belongs to who publishes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from autocoder import Place, Problem
from autocoder_components.assessments.controls.documents import (
    KEY,
    ControlsError,
    Written,
    parse,
    read_text,
    suggestion,
    validated,
)
from autocoder_components.assessments.reports.text import visible
from autocoder_components.assessments.rules import CATALOGUE

SHIPPED: Final = ("controls", "frameworks")
"""The folders of the pack's `data/` that hold rule packs and mappings."""


def _shown(text: str) -> str:
    if visible(text, keep_newlines=True) != text:
        raise ValueError("holds a character that nobody sees; take it out")
    return " ".join(text.split())


def token_of(identifier: str) -> str:
    """An identifier as a token of OSCAL: letters, digits and `.-_`, a letter first (`IA-5(7)`: `ia-5.7`)."""
    plain = re.sub(r"[^a-z0-9.\-_]", "-", re.sub(r"\(([^)]*)\)", r".\1", identifier).lower())
    return plain if plain[:1].isalpha() or plain[:1] == "_" else f"_{plain}"


Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_shown)]
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(_shown)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.\-]{0,63}$")]
RequirementId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:()\-_]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Control(_Strict):
    """What is promised, in words, and the rules whose silence shows that it holds.

    `subject` says whose checks show it: those of each server, or those of each file as a whole.
    """

    title: Title
    statement: Prose
    subject: Literal["servers", "files"] = "servers"
    rules: list[str] = Field(default_factory=list, description="none: nothing here can judge it")


class RulePackSpec(_Strict):
    """A file of controls."""

    rule_pack: Name
    version: Title
    title: Title
    controls: dict[Name, Control]


class MappingSpec(_Strict):
    """A file that maps the requirements of a framework to controls; none: nothing here can judge it."""

    framework: Name
    version: Title
    title: Title
    requirements: dict[RequirementId, list[str]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that outcomes are mapped to."""

    rule_packs: tuple[RulePackSpec, ...]
    frameworks: tuple[MappingSpec, ...]

    @property
    def controls(self) -> Mapping[str, Control]:
        """All controls by id, in the order of their packs."""
        return {name: each for pack in self.rule_packs for name, each in pack.controls.items()}


def load_catalogue(own: Iterable[Path] = (), frameworks: Sequence[str] | None = None) -> Catalogue:
    """The shipped rule packs and mappings with a user's `own`; only the `frameworks` named, all of them for None.

    A framework of one's own takes the place of a shipped one of the same id. Raises ControlsError with every problem of every
    file: what is no such document, an unknown rule or control, an id that is taken, a framework that is not there. Blocks.
    """
    shipped = [_parsed(text, name) for name, text in _shipped_files()]
    problems: list[Problem] = []
    written: list[Written[Any]] = []
    for path in own:
        try:
            written.append(_parsed(read_text(path), str(path)))
        except ControlsError as error:
            problems += error.problems
    packs = [each for each in (*shipped, *written) if isinstance(each.value, RulePackSpec)]
    own_mappings = [each for each in written if isinstance(each.value, MappingSpec)]
    replaced = {each.value.framework for each in own_mappings}
    mappings = [
        each for each in shipped if isinstance(each.value, MappingSpec) and each.value.framework not in replaced
    ]
    mappings += own_mappings
    problems += _twice(packs, own_mappings)
    controls = {name for pack in packs for name in pack.value.controls}
    if not problems:
        problems += [each for pack in packs for each in _unknown_rules(pack)]
        problems += [each for mapping in mappings for each in _wrong_requirements(mapping, controls)]
    chosen = [each.value for each in mappings]
    if frameworks is not None and not problems:
        chosen = _chosen(chosen, frameworks)
    if problems:
        raise ControlsError(problems)
    return Catalogue(tuple(each.value for each in packs), tuple(chosen))


@cache
def shipped_catalogue() -> Catalogue:
    """The rule packs and mappings that come with the pack. Blocks the first time."""
    return load_catalogue()


def _shipped_files() -> list[tuple[str, str]]:
    data = files("autocoder_components.assessments").joinpath("data")
    found = [each for folder in SHIPPED for each in data.joinpath(folder).iterdir() if each.name.endswith(".yaml")]
    return [(each.name, each.read_text(encoding="utf-8")) for each in sorted(found, key=lambda each: each.name)]


def _parsed(text: str, file: str) -> Written[Any]:
    value, places = parse(text, file)
    kinds = {"rule_pack": RulePackSpec, "framework": MappingSpec}
    kind = next((kinds[name] for name in kinds if isinstance(value, dict) and name in value), None)
    if kind is None:
        what = "is neither a rule pack (`rule_pack: name`) nor a mapping (`framework: name`)"
        raise ControlsError([Problem(places[()], what)])
    return validated(kind, value, places, file)


def _twice(packs: Sequence[Written[RulePackSpec]], mappings: Sequence[Written[MappingSpec]]) -> list[Problem]:
    """What has the id of something else."""
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for pack in packs:
        for name in pack.value.controls:
            if name in seen:
                cure = f"choose another id; {seen[name]} has it"
                problems.append(pack.problem(("controls", name, KEY), f"the control {name!r} is there already", cure))
            seen.setdefault(name, pack.file)
    names: set[str] = set()
    for mapping in mappings:
        if mapping.value.framework in names:
            problems.append(mapping.problem(("framework",), f"two files map {mapping.value.framework!r}"))
        names.add(mapping.value.framework)
    return problems


def _unknown_rules(pack: Written[RulePackSpec]) -> list[Problem]:
    return [
        pack.problem(("controls", name, "rules", at), f"there is no rule {rule!r}", suggestion(rule, list(CATALOGUE)))
        for name, control in pack.value.controls.items()
        for at, rule in enumerate(control.rules)
        if rule not in CATALOGUE
    ]


def _wrong_requirements(mapping: Written[MappingSpec], controls: set[str]) -> list[Problem]:
    problems = [
        mapping.problem(("requirements", name, at), f"there is no control {each!r}", suggestion(each, sorted(controls)))
        for name, asked in mapping.value.requirements.items()
        for at, each in enumerate(asked)
        if each not in controls
    ]
    tokens: dict[str, str] = {}
    for name in mapping.value.requirements:
        other = tokens.setdefault(token_of(name), name)
        if other != name:
            what = f"{name!r} and {other!r} would have one name in OSCAL"
            problems.append(mapping.problem(("requirements", name, KEY), what))
    return problems


def _chosen(mappings: Sequence[MappingSpec], wanted: Sequence[str]) -> list[MappingSpec]:
    by_name = {each.framework: each for each in mappings}
    unknown = [each for each in dict.fromkeys(wanted) if each not in by_name]
    if unknown:
        place, known = Place("frameworks"), list(by_name)
        raise ControlsError(
            Problem(place, f"there is no framework {each!r}", cure=suggestion(each, known)) for each in unknown
        )
    return [by_name[each] for each in dict.fromkeys(wanted)]
