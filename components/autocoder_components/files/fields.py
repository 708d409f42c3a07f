"""The configuration that several components of this pack share, as annotated types: one meaning, said once."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from typing_extensions import TypeVar

_ASCII: Final = bytes(range(32, 127)) + b"\t\r\n"

T = TypeVar("T", default=dict[str, Any])


def _cuts_at_newline(encoding: str) -> str:
    """Refuse what cannot be cut into lines as bytes: UTF-16, UTF-32, EBCDIC."""
    try:
        found = codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}; known are utf-8, latin-1, cp1252 and others") from None
    name = "utf-8" if found.name == "utf-8-sig" else found.name
    try:
        superset = _ASCII.decode(name).encode(name) == _ASCII and _ASCII.decode(name).isascii()
    except (LookupError, UnicodeError):
        superset = False
    if not superset:
        raise ValueError(f"lines cannot be found in {encoding!r} without decoding it; convert the file to utf-8 first")
    return name


FilePattern = Annotated[
    str,
    Field(
        min_length=1,
        description="a file, or a glob (`*`, `?`, `[...]`, `**` for any depth) whose files are read in the order of "
        "their names; relative to the working folder; `.gz` files are decompressed",
    ),
]
OutputPath = Annotated[
    str,
    Field(min_length=1, description="the file to write, relative to the working folder; `.gz` compresses it"),
]
Encoding = Annotated[
    str,
    AfterValidator(_cuts_at_newline),
    Field(description="of the text; a byte order mark at the beginning of a UTF-8 file is skipped"),
]
Follow = Annotated[
    bool,
    Field(description="go on waiting for more: lines appended to the files, and new files that match"),
]
Poll = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="with `follow`: seconds between two looks at the files")
]
BatchSize = Annotated[int, Field(ge=1, description="the most lines read at once (fewer when they are long)")]
MaxLineBytes = Annotated[
    int,
    Field(ge=16, description="a line longer than this is rejected and never held in memory as a whole"),
]
Delimiter = Annotated[str, Field(min_length=1, max_length=1, description='between two cells; a tab is "\\t"')]
CreateFolders = Annotated[bool, Field(description="make the folder of `path` where it does not exist")]
Append = Annotated[
    bool,
    Field(description="keep what the file holds and add to it (to a copy, so that it still changes in one step)"),
]

BATCH: Final = 1000
MAX_LINE_BYTES: Final = 16 * 1024 * 1024


def check_delimiter(delimiter: str) -> None:
    """Refuse a delimiter that CSV uses for something else."""
    if delimiter in '"\r\n' or not delimiter.isascii():
        raise ValueError(f"delimiter {delimiter!r} is taken or not ASCII; use one such as a comma, semicolon, | or tab")


def check_columns(columns: Sequence[str], where: str) -> None:
    """Refuse two columns of one name."""
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(f"{where}: two columns are called {name!r}; rename one, or give `columns`")
