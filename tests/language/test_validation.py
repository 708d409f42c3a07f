"""What was wrong with a value is said by the names that people write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import TypedDict

from autocoder.validation import Subject, explain, path_is_secret
from autocoder.yaml_document import parse_yaml, to_python


class Inner(BaseModel):
    """A part whose field is written by its alias."""

    model_config = ConfigDict(extra="forbid")

    word: SecretStr = Field(alias="pass-phrase-file")


class Outer(BaseModel):
    """Fields that are written otherwise than they are called."""

    model_config = ConfigDict(extra="forbid")

    order: list[str] = Field(alias="inputs", description="the names of the inputs")
    inner: Inner | None = Field(default=None, alias="part")
    size: int = 1


def said(text: str) -> list[str]:
    node, _ = parse_yaml(text, "p.yaml")
    assert node is not None
    try:
        Outer.model_validate(to_python(node))
    except ValidationError as error:
        return [str(each) for each in explain(error, Subject(Outer, node, node.place, "all"))]
    return []


def test_a_field_goes_by_its_alias() -> None:
    assert said("inputs: [a]\n") == []
    assert said("size: 2\n") == ["p.yaml:1:1: all: inputs is missing; write inputs: ... (the names of the inputs)"]
    assert said("inputs: [a]\ninptus: [b]\n") == ["p.yaml:2:1: all has no field 'inptus'; did you mean 'inputs'?"]
    assert said("inputs: [a]\nz: 1\n") == ["p.yaml:2:1: all has no field 'z'; its fields: inputs, part, size"]
    # The name in Python is nobody's business: it is not understood, and not recommended.
    assert said("inputs: [a]\norder: [b]\n") == ["p.yaml:2:1: all has no field 'order'; its fields: inputs, part, size"]


def test_a_part_is_found_by_its_alias() -> None:
    assert said("inputs: [a]\npart: {pass-phrase-fil: x}\n")[-1] == (
        "p.yaml:2:8: all: part has no field 'pass-phrase-fil'; did you mean 'pass-phrase-file'?"
    )
    assert said("inputs: [a]\npart: {pass-phrase-file: [hunter22]}\n") == [
        "p.yaml:2:26: all: part.pass-phrase-file: must be text; found ***"
    ]
    assert path_is_secret(("part", "pass-phrase-file"), Outer) and not path_is_secret(("part",), Outer)


def test_the_place_of_what_is_missing() -> None:
    assert said("inputs: [a]\npart: {}\n") == [
        "p.yaml:2:7: all: part.pass-phrase-file is missing; write pass-phrase-file: ..."
    ]


@dataclass
class Corner:
    """A part that is a dataclass."""

    across: int
    down: int = 0


class Named(TypedDict):
    """A part that is a typed mapping."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    label: str


class Parts(BaseModel):
    """Parts of every form, and mappings that say what their keys are."""

    model_config = ConfigDict(extra="forbid")

    inner: Inner | None = None
    corner: Corner | None = None
    corners: list[Corner] = []
    named: Named | None = None
    either: Corner | Named | None = None
    by_word: dict[Literal["left", "right"], str] = {}
    by_number: dict[int, str] = {}
    sizes: list[str] = Field(default=[], validation_alias=AliasChoices("sizes", "sizeList"))
    depth: int = Field(default=0, validation_alias="how-deep")


def said_of_parts(text: str) -> list[str]:
    node, _ = parse_yaml(text, "p.yaml")
    assert node is not None
    with pytest.raises(ValidationError) as caught:
        Parts.model_validate(to_python(node))
    return [str(each) for each in explain(caught.value, Subject(Parts, node, node.place, "all"))]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("corner: {across: 1, dwon: sk-abc}\n", ["1:21: all: corner has no field 'dwon'; did you mean 'down'?"]),
        ("corners: [{across: 1, z: sk-abc}]\n", ["1:23: all: corners.0 has no field 'z'; its fields: across, down"]),
        ("named: {label: a, lable: sk-abc}\n", ["1:19: all: named has no field 'lable'; did you mean 'label'?"]),
        ("named: {label: a, z: {sk-abc: sk-abc}}\n", ["1:19: all: named has no field 'z'; its fields: label"]),
        ("either: {label: a, dwon: sk-abc}\n", ["1:20: all: either has no field 'dwon'; did you mean 'down'?"]),
        ("by_word: {lfet: sk-abc}\n", ["1:11: all: by_word: the key 'lfet' must be 'left' or 'right'; did you mean 'left'?"]),
        ("by_number: {one: sk-abc}\n", ["1:13: all: by_number: the key 'one' must be a whole number"]),
        ("sizeLst: [sk-abc]\n", ["1:1: all has no field 'sizeLst'; did you mean 'sizeList' or 'sizes'?"]),
        (
            "z: sk-abc\n",
            [
                "1:1: all has no field 'z'; its fields: by_number, by_word, corner, corners, either, how-deep, inner, "
                "named, sizes"
            ],
        ),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_and_its_value_never_shown(text: str, problems: list[str]) -> None:
    found = said_of_parts(text)
    assert not any("sk-abc" in each for each in found)
    # A union says what each of its members misses, too.
    assert set(found) >= {f"p.yaml:{each}" for each in problems}
    assert "either" in text or len(found) == len(problems)
