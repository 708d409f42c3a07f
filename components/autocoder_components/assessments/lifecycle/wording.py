"""What pydantic finds wrong with what somebody asks for, in words for them: by field, and with the cure for an unknown one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import AliasChoices, BaseModel, ValidationError

_PLAIN: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "model_type": "has to be a JSON object",
    "dict_type": "has to be a JSON object",
    "model_attributes_type": "has to be a JSON object",
}
_LONGEST: Final = 100
"""A longer name is near none of ours, and takes long to compare."""


def told(error: ValidationError, model: type[BaseModel], whole: str) -> tuple[list[str], str]:
    """The fields at fault, `whole` for all of it, and one line that says of each what is wrong; no value is quoted."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [".".join(map(str, each["loc"])) or whole for each in found]
    said = "; ".join(f"{field}: {_said(each, model)}" for field, each in zip(fields, found, strict=True))
    return fields, said


def _said(each: Any, model: type[BaseModel]) -> str:
    kind: str = each["type"]
    if kind == "extra_forbidden":
        known = _names_of(model) if len(each["loc"]) == 1 else ()
        near = get_close_matches(str(each["loc"][0])[:_LONGEST], known, n=1, cutoff=0.6)
        return "there is no such field" + (f"; did you mean {near[0]!r}?" if near else "")
    return _PLAIN.get(kind) or str(each["msg"]).removeprefix("Value error, ")


def _names_of(model: type[BaseModel]) -> Sequence[str]:
    names = list(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names += [each for each in choices if isinstance(each, str)]
    return list(dict.fromkeys(names))
