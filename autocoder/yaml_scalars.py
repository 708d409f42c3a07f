"""Plain scalars of YAML by the core schema of YAML 1.2, where 1.1 surprises people; knows nothing of a document.

`on`, `yes` and `no` are text (a field of type bool takes them all the same), and so are dates, `1:30` and numbers with a
leading zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

CORE: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: Final = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
TAGGED: Final[Mapping[str, tuple[type, ...]]] = {
    f"{CORE}int": (int,),
    f"{CORE}float": (int, float),
    f"{CORE}bool": (bool,),
    f"{CORE}null": (type(None),),
}


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar, by YAML 1.2's core schema (numbers with a leading zero stay text)."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) <= 400 and _INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    return text
