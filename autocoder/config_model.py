"""Turns the annotated fields of a component class into the pydantic model that validates, coerces and documents them."""

from __future__ import annotations

import types
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema, create_model

from autocoder.errors import ComponentDefinitionError
from autocoder.handler import UnresolvedHints
from autocoder.port import In, Out
from autocoder.state import _Declared

BUILTIN_TYPES: Final = {each.__name__: each for each in (str, int, float, bool, bytes, dict, list)}


def build_config_model(owner: type, root: type, local: Mapping[str, Any]) -> type[BaseModel]:
    """A model with the fields that `owner` and its bases above `root` declare; unknown keys are refused."""
    fields: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base is root or not issubclass(base, root):
            continue
        for name in vars(base).get("__annotations__", {}):
            if name.startswith("_") or isinstance(vars(base).get(name), In | Out | _Declared):
                continue
            hint = _hint(base, name, local)
            if get_origin(hint) is ClassVar or hint is ClassVar:
                continue
            default = vars(base).get(name, ...)
            fields[name] = (_payload_type(hint), default)
    with warnings.catch_warnings():  # a field may be called `schema` or `json`: the model is never shown to anyone
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        try:
            model: type[BaseModel] = create_model(
                owner.__name__, __config__=_CONFIG, __doc__=owner.__doc__, __module__=owner.__module__, **fields
            )
        except ComponentDefinitionError:
            raise
        except Exception as error:
            raise ComponentDefinitionError(
                f"{owner.__qualname__}: its fields are no valid configuration: {error}"
            ) from error
    return model


def config_values(validated: BaseModel) -> dict[str, Any]:
    """The validated fields by name."""
    return {name: validated.__dict__[name] for name in type(validated).model_fields}


_CONFIG: Final = ConfigDict(
    extra="forbid",
    arbitrary_types_allowed=True,
    protected_namespaces=(),
    validate_default=True,
    hide_input_in_errors=True,
    use_attribute_docstrings=False,
)


def _hint(base: type, name: str, local: Mapping[str, Any]) -> Any:
    # A class of its own, so that one field's forward reference does not hide the others.
    holder = type(
        "holder", (), {"__annotations__": {name: vars(base)["__annotations__"][name]}, "__module__": base.__module__}
    )
    try:
        return typing.get_type_hints(holder, localns=dict(local), include_extras=True)[name]
    except NameError as error:
        raise UnresolvedHints(str(error)) from error


def _payload_type(hint: Any) -> Any:
    """A field annotated `type[...]` names a payload type: in YAML it is `module:Class`, found by the import rules."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_payload_type(each) for each in get_args(hint))]
    if get_origin(hint) is not type:
        return hint
    schema = {"type": "string", "description": "a payload type: str, int, float, bool, dict, list, or module:Class"}
    return Annotated[type, BeforeValidator(_import_type), WithJsonSchema(schema)]


def _import_type(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    if value in BUILTIN_TYPES:
        return BUILTIN_TYPES[value]
    find: Callable[[str], Any] | None = (info.context or {}).get("import_type")
    if find is None:
        raise ValueError("give the type itself")
    return find(value)


def payload_type_bindings(component: Any, root: type) -> dict[Any, Any]:
    """What the fields annotated `type[T]` of a component say about its TypeVars."""
    owner = type(component)
    found: dict[Any, Any] = {}
    for base in reversed(owner.__mro__):
        if base is root or not issubclass(base, root):
            continue
        for name in vars(base).get("__annotations__", {}):
            if name in component.__dict__:
                hint = _hint(base, name, owner._locals)
                if get_origin(hint) is type and isinstance(get_args(hint)[0], typing.TypeVar):
                    found[get_args(hint)[0]] = getattr(component, name)
    return found
