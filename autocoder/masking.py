"""Keeps secrets out of everything that a person, a log or a table sees, and cuts long payloads short."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, Final
from urllib.parse import unquote, unquote_plus, urlsplit

from pydantic import BaseModel, SecretBytes, SecretStr

MASK: Final = "***"
PREVIEW_CHARACTERS: Final = 200
_SECRET_NAME = re.compile(
    r"pass$|password|passwd|passphrase|[_-]pwd$|secret|token|(api|access|private|signing|encryption|auth)[_-]?key|"
    r"authorization|credential|cookie",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)", re.IGNORECASE)
# A field of an object in JSON, up to the end of a value that is a text.
_FIELD: Final = re.compile(r'("(?P<name>[^"\\]{1,100})"\s{0,20}:\s{0,20}")(?:[^"\\]|\\.)+')
_DATABASE_URL: Final = re.compile(r"(sqlite|postgres(ql)?|rediss?|unix)(\+[a-z0-9]+)?://", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a field, key or variable of this name usually holds a secret."""
    return _SECRET_NAME.search(name) is not None


class Redactor:
    """Replaces the secret values that a pipeline was given, wherever they turn up in text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Remember secrets; those under 4 characters would mask ordinary words and are left to the masking types.

        Of the URL of a database or a Redis the passwords are secret; which file or server it names is what a person has to
        read.
        """
        for secret in secrets:
            parts = url_secrets(secret) if _DATABASE_URL.match(secret) else {secret}
            self._secrets.update(part for part in parts if len(part) >= 4)

    def __call__(self, text: str) -> str:
        """`text` without any known secret and without the password of any URL."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _URL_PASSWORD.sub(rf"\g<1>{MASK}\g<2>", text)

    def preview(self, payload: object, limit: int = PREVIEW_CHARACTERS) -> str:
        """`payload` in one line of at most `limit` characters, secrets masked by type, by name and by value."""
        text = self(" ".join(_render(payload, 0).split()))
        return text if len(text) <= limit else f"{text[: limit - 3]}..."


def url_secrets(url: str) -> frozenset[str]:
    """The passwords of a URL, the user's and those among its options, as they are written and as they are meant.

    All of it, where it cannot be read.
    """
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return frozenset((url,))
    options = (each.partition("=") for each in parts.query.split("&"))
    written = [value for name, _, value in options if value and is_secret_name(unquote(name))]
    written += [password] if password else []
    return frozenset(each for value in written for each in (value, unquote(value), unquote_plus(value)))


def masked(value: Any, redact: Redactor) -> Any:
    """A value in JSON's types with the fields masked whose names say that they are secret, and known secrets in any text.

    So are fields of that kind in a text that is itself JSON, such as a line of a file.
    """
    if isinstance(value, dict):
        return {
            redact(name): MASK if is_secret_name(name) and item not in (None, "") else masked(item, redact)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, redact) for item in value]
    return redact(_FIELD.sub(_without_secret, value)) if isinstance(value, str) else value


def _without_secret(field: re.Match[str]) -> str:
    return f"{field[1]}{MASK}" if is_secret_name(field["name"]) else field[0]


def unmasked(value: Any, shown: Any, original: Any, place: str = "") -> Any:
    """A value that was `shown` masked and then edited, with what is still masked put back from the original.

    Raises ValueError where nothing says what belongs in place of a mask: it was moved, or there are more or fewer than shown.
    """
    if isinstance(value, dict):
        return _unmasked_object(value, shown, original, place)
    if isinstance(value, list):
        as_long = isinstance(shown, list) and isinstance(original, list) and len(value) == len(original)
        both = zip(shown, original, strict=True) if as_long else repeat((None, None))
        return [
            unmasked(item, *each, f"{place}.{at}") for at, (item, each) in enumerate(zip(value, both, strict=False))
        ]
    # Only text is compared: to Python, true is 1 and 1 is 1.0, and such an edit is one.
    if not isinstance(value, str) or MASK not in value:
        return value
    if value == shown:
        return original
    return _unmasked_text(value, shown, original, place)


def _unmasked_object(value: dict[str, Any], shown: Any, original: Any, place: str) -> dict[str, Any]:
    if not isinstance(shown, dict) or not isinstance(original, dict):
        shown, original = {}, {}
    # A name may be masked, too; two that are masked alike are one in what was shown.
    names = (
        dict(zip(shown, original, strict=True)) if len(shown) == len(original) else {each: each for each in original}
    )
    whole = {}
    for name, item in value.items():
        if MASK in name and name not in names:
            raise _moved(f"{place}.{name}")
        named = names.get(name, name)
        whole[named] = unmasked(item, shown.get(name), original.get(named), f"{place}.{name}")
    return whole


def _unmasked_text(value: str, shown: Any, original: Any, place: str) -> str:
    if not isinstance(shown, str) or not isinstance(original, str) or MASK not in shown:
        raise _moved(place)
    pieces, before = value.split(MASK), shown.split(MASK)
    if len(pieces) != len(before):
        raise ValueError(
            f"{_field(place)}: a text was shown with {len(before) - 1} masked parts and has {len(pieces) - 1}; "
            f"leave each {MASK} in it, or none"
        )
    hidden = _hidden(before, original)
    if hidden is None:
        raise ValueError(
            f"{_field(place)}: nothing says what is masked in this text; write all of it, or leave it as it is"
        )
    return _alternated(pieces, hidden)


def _moved(place: str) -> ValueError:
    return ValueError(
        f"{_field(place)}: {MASK} stands where none was shown, so nothing says what belongs there; write the value itself, or "
        "leave the names of fields and the length of lists as they were"
    )


def _field(place: str) -> str:
    return place.lstrip(".") or "all of it"


def _alternated(pieces: list[str], hidden: list[str]) -> str:
    return "".join(part for both in zip(pieces, [*hidden, ""], strict=True) for part in both)


def _hidden(pieces: list[str], original: str) -> list[str] | None:
    """What stands in the original between the pieces of it that were shown; None where they are not pieces of it."""
    first, *others = pieces
    found, at = [], len(first)
    for number, piece in enumerate(others, 1):
        end = original.find(piece, at) if number < len(others) else len(original) - len(piece)
        found.append(original[at : max(end, at)])
        at = end + len(piece)
    return found if _alternated(pieces, found) == original else None


def _render(value: object, depth: int) -> str:
    if isinstance(value, SecretStr | SecretBytes):
        return repr(MASK)
    if depth > 4:
        return "..."
    fields = _fields(value)
    if fields is not None:
        body = ", ".join(f"{name}={_named(name, item, depth)}" for name, item in fields)
        return f"{type(value).__name__}({body})"
    if isinstance(value, Mapping):
        pairs = (f"{str(name)!r}: {_named(str(name), item, depth)}" for name, item in _first(value.items()))
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_render(item, depth + 1) for item in _first(value)) + "]"
    if isinstance(value, str):
        return repr(_FIELD.sub(_without_secret, value[: 2 * PREVIEW_CHARACTERS]))
    if isinstance(value, bytes):
        return repr(value[: 2 * PREVIEW_CHARACTERS])
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: repr failed: {type(error).__name__}>"


def _named(name: str, item: object, depth: int) -> str:
    return repr(MASK) if is_secret_name(name) and item not in (None, "") else _render(item, depth + 1)


def _first(items: Iterable[Any], most: int = 20) -> Iterable[Any]:
    for number, item in enumerate(items):
        if number == most:
            return
        yield item


def _fields(value: object) -> list[tuple[str, object]] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value) if each.repr]
    if isinstance(value, BaseModel):
        return [(name, getattr(value, name, None)) for name, each in type(value).model_fields.items() if each.repr]
    return None
