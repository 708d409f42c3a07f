"""What was wrong with a value is said by the names that people write."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

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
