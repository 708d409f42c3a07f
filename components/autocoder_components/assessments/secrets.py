"""Judge whether a text is a credential, by its shape and its place; never keep or show one.

A value is one of: a reference (`${X}`), a placeholder (`YOUR_API_KEY`), a secret, or none of these. Entropy alone was
rejected: it misses short passwords and cries at hashes and identifiers. Known prefixes and the names of keys decide first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from urllib.parse import unquote

from autocoder_components.assessments.command_secrets import in_line, in_words
from autocoder_components.assessments.credential_shapes import (
    ALL_CAPITALS,
    ASSIGNMENT,
    AUTHORIZATION,
    BEARER,
    BRACKETED,
    CONNECTION_PASSWORD,
    DUMMY,
    EMBEDDED,
    FILE_OR_HOST,
    HEADER_LINE,
    HEX,
    JWT,
    MENTIONS,
    NEUTRAL_ENDINGS,
    NUMERIC_ADDRESS,
    OPAQUE_PARAMETERS,
    PASSWORD_WORDS,
    PATH_LIKE,
    PATH_SEGMENT,
    PLACEHOLDER,
    PLAIN_VALUE,
    PREFIXED,
    PUBLIC_KEY,
    QUALIFIERS,
    QUERY,
    REFERENCE,
    SECRET_WORDS,
    STRONG_DUMMY,
    TOKEN,
    URL_LOGIN,
    UUID,
    WORDS,
)
from autocoder_components.assessments.lines import is_line

PUBLIC_PREFIX = re.compile(
    r"gh[pousr]_|github_pat_|sk-ant-|sk-proj-|sk-or-|sk-|pplx-|sbp_|napi_|hf_|npm_|xox[a-z]-|AIza|AKIA|eyJ|fc-"
)

WORD_END = "\0"
"""Between the words of a command line that is one text."""
# Keys of a keyboard, and lists of names: `ctrl-a,ctrl-b`, `checkout.title,checkout.button`.
KEY_PRESSES = re.compile(
    r"(?i)(?:(?:ctrl|control|alt|option|shift|cmd|command|super|meta|win|fn|esc|escape|tab|enter|space|f\d{1,2}|up|down|left"
    r"|right|home|end|del|delete)(?:[-+ ,]\w{1,12})*+(?:,\s?|$))++|[a-z]+(?:[._-][a-z]+)*(?:,\s?[a-z]+(?:[._-][a-z]+)*)+"
)
SUBSTITUTION = re.compile(r"\$\(|`|[<>]\(")


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential found in a text: what it is, and its slice of the text. The value itself is not kept here."""

    what: str
    start: int
    end: int
    certain: bool = True


def is_reference(text: str) -> bool:
    """Whether the text takes its value from elsewhere (`${TOKEN}`, `Bearer $TOKEN`, `op://vault/item`)."""
    rest, found = REFERENCE.subn("", text)
    return bool(found) and not re.search(r"[A-Za-z0-9]{16,}", rest.replace("Bearer", "").replace("Basic", ""))


def is_placeholder(text: str) -> bool:
    """Whether the text is what a person is meant to replace: `YOUR_API_KEY`, `<token>`, `xxx`, `changeme`."""
    value = text.strip().strip("\"'")
    authorization = AUTHORIZATION.match(value)
    if authorization:
        value = authorization[2].strip().rstrip("\"'")
    if not value:
        return False
    if value.lower() in DUMMY or BRACKETED.search(value) or _is_one_character(value):
        return True
    return bool(PLACEHOLDER.search(value))


def _is_one_character(value: str) -> bool:
    """Whether the text is one filler over and over (`xxxx-xxxx`, `****`, `000000`)."""
    if len(value) < 3:
        return False
    letters = {character.lower() for character in value if character not in "-_. /"}
    return letters <= {"x"} or letters <= {"0"} or letters <= set("*•?#")


def has_placeholder_login(text: str) -> bool:
    """Whether a URL or connection string has a password that is still to be filled in (`user:password@host`)."""
    groups = [match[2] for match in URL_LOGIN.finditer(text)]
    groups += [match[1].strip("\"'") for match in CONNECTION_PASSWORD.finditer(text)]
    return any(is_placeholder(value) and not is_reference(value) for value in groups)


def is_fill_in(text: str) -> bool:
    """Whether the text asks to be replaced by its form alone; stricter than `is_placeholder`, for values whose name
    does not speak of a credential (`none`, `local` and `test` are values there)."""
    value = text.strip().strip("\"'")
    if PLAIN_VALUE.match(value) or NUMERIC_ADDRESS.match(value) or value.lower() in DUMMY - STRONG_DUMMY:
        return False
    return is_placeholder(value) and not ALL_CAPITALS.match(value)


def is_secret_name(name: str) -> bool:
    """Whether a key, flag or header of that name holds a credential (`GITHUB_TOKEN`, `--api-key`, `x-ref-api-key`)."""
    words = [word.lower() for word in WORDS.findall(name)]
    if not words:
        return False
    joined = "".join(words)
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    if words[-1] in NEUTRAL_ENDINGS or "public" in words or {"max", "tokens"} <= set(words):
        return False
    last = words[-2] if words[-1] in QUALIFIERS and len(words) > 1 else words[-1]
    if last in SECRET_WORDS:
        return words[0] not in {"no", "enable", "disable", "use", "is", "has", "allow", "max", "skip"} or len(words) > 2
    return any(joined.endswith(word) for word in ("apikey", "token", "secret", "password", "accesskey", "authkey"))


def mentions_secret(name: str) -> bool:
    """Whether the name speaks of access at all: enough for a value that nobody would choose, too little for a word."""
    words = {word.lower() for word in WORDS.findall(name)}
    return not words.isdisjoint(MENTIONS) and words.isdisjoint({"public", "pub"})


def looks_random(text: str) -> bool:
    """Whether a text without any context is so irregular that nobody chose it: a key, not a name.

    Letters, digits and case alternate in a random text far more often than in words; this also holds for short ones,
    where Shannon entropy says little.
    """
    if not TOKEN.fullmatch(text) or PATH_LIKE.match(text) or "/" in text.rstrip("="):
        return False
    digits = sum(character.isdigit() for character in text)
    if digits < 3 or digits == len(text):
        return False
    classes = ["d" if c.isdigit() else "u" if c.isupper() else "l" if c.islower() else "" for c in text]
    known = [c for c in classes if c]
    turns = sum(1 for before, after in pairwise(known) if before != after)
    return turns >= len(known) * 0.3 and len(known) >= len(text) * 0.8


@lru_cache(maxsize=64)  # the rules ask for the same text one after another
def find_secrets(text: str, name: str | None = None) -> tuple[Secret, ...]:
    """The credentials in a text that stands under `name` (an environment variable, a header, a flag; None for none).

    Looks, in this order, for known prefixes, logins in URLs, passwords of connection strings, what a command line gives
    its programs, authorization headers, assignments and members of embedded JSON whose name says so, and lastly at the
    whole text when `name` says so.
    """
    if len(text) > 100_000:
        text = text[:100_000]
    return _apart(text, _candidates(text, name))


def secrets_of_words(words: Sequence[str]) -> dict[int, tuple[Secret, ...]]:
    """The credentials among the words of one command that only the words before them give away, by number of the word."""
    found: dict[int, list[Secret]] = {}
    for each in in_words(words, _named_secret):
        found.setdefault(each.index, []).append(Secret(each.what, each.start, each.end))
    return {index: _apart(words[index], secrets) for index, secrets in found.items()}


def merged(text: str, *found: tuple[Secret, ...]) -> tuple[Secret, ...]:
    """Credentials of one text that were found in several ways; of two that overlap the first."""
    return _apart(text, (secret for secrets in found for secret in secrets))


def _apart(text: str, candidates: Iterable[Secret]) -> tuple[Secret, ...]:
    """Those of the candidates that are no placeholders or references, each place of the text once, in their order."""
    found: list[Secret] = []
    taken = bytearray(len(text))
    for secret in candidates:
        value = text[secret.start : secret.end]
        if not value.strip() or is_placeholder(value) or is_reference(value):
            continue
        if not any(taken[secret.start : secret.end]):
            found.append(secret)
            taken[secret.start : secret.end] = b"\1" * len(value)
    return tuple(sorted(found, key=lambda secret: secret.start))


def _candidates(text: str, name: str | None) -> Iterator[Secret]:
    if PUBLIC_KEY.search(text):
        return
    yield from _shapes(text)
    authorization = AUTHORIZATION.match(text)
    if authorization and (name is None or is_secret_name(name) or "authorization" in name.lower()):
        value = authorization[2].rstrip().rstrip("\"'")
        if authorization[1].lower() != "basic" or decoded_login(value):
            start = authorization.start(2)
            yield Secret(f"{authorization[1].title()} credential", start, start + len(value))
        return
    for match in BEARER.finditer(text):
        value = match[1]
        if len(value) >= 20 or (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)):
            yield Secret("Bearer credential", *match.span(1))
    yield from _named_parts(text)
    if name is not None and is_secret_name(name) and _may_be_secret(text, name):
        start = len(text) - len(text.lstrip("\"' "))
        yield Secret("credential", start, len(text.rstrip("\"' ")))
    if name is None or not text.startswith(("http:", "https:")):
        stripped = text.strip("\"'")
        if (HEX.fullmatch(stripped) or looks_random(stripped)) and (name is None or mentions_secret(name)):
            yield Secret("random value that looks like a key", 0, len(text), certain=False)


def _shapes(text: str) -> Iterator[Secret]:
    """Credentials that can be told without the name that the text stands under."""
    for what, pattern in PREFIXED:
        for match in pattern.finditer(text):
            yield Secret(what, *match.span())
    for match in URL_LOGIN.finditer(text):
        yield Secret("password in a URL", *match.span(2))
    for match in CONNECTION_PASSWORD.finditer(text):
        yield Secret("password in a connection string", *match.span(1))
    if is_line(text):
        for what, start, end in in_line(text, _named_secret):
            yield Secret(what, start, end)


def _named_parts(text: str) -> Iterator[Secret]:
    """Credentials whose name stands in the text itself: NAME=value, Name: value, ?name=value, {"name": "value"}."""
    for pattern in (ASSIGNMENT, HEADER_LINE):
        match = pattern.match(text)
        if match and is_secret_name(match[1]) and _may_be_secret(match[2], match[1]):
            start = match.start(2)
            inner = match[2].rstrip() if pattern is HEADER_LINE else match[2]
            end = start + len(inner)
            yield Secret("credential", start + len(inner) - len(inner.lstrip("\"'")), end - (inner[-1:] in "\"'"))
    for match in QUERY.finditer(text):
        value = unquote(match[2])
        opaque = match[1].lower() in OPAQUE_PARAMETERS and (looks_random(value) or HEX.fullmatch(value))
        if opaque or (is_secret_name(match[1]) and _may_be_secret(value, match[1])):
            yield Secret("credential in a URL", *match.span(2))
    for match in EMBEDDED.finditer(text):
        if is_secret_name(match[1]) and _may_be_secret(match[2], match[1]):
            yield Secret("credential", *match.span(2))


def url_path_secrets(url: str) -> tuple[Secret, ...]:
    """Segments of a URL's path that are keys by their look: such an address alone gives access."""
    start = url.find("/", url.find("://") + 3 if "://" in url else 0)
    if start < 0:
        return ()
    found = []
    for match in PATH_SEGMENT.finditer(url, start):
        segment = match.group()
        if UUID.fullmatch(segment) or HEX.fullmatch(segment) or looks_random(segment):
            found.append(Secret("key in the path of a URL", *match.span(), certain=False))
    return tuple(found)


def _may_be_secret(value: str, name: str) -> bool:
    """Whether the value of something called like a credential can be one: not a path, a flag, a URL or a short word."""
    text = value.strip().strip("\"'")
    if not text or PLAIN_VALUE.match(text):
        return bool(text) and _is_password(name) and text.isdigit()
    if PATH_LIKE.match(text) or "://" in text or text.startswith(("--", "@")) or FILE_OR_HOST.search(text):
        return False
    if _is_password(name):
        return True
    if KEY_PRESSES.fullmatch(text):
        return False
    if re.search(r"\s", text):
        return False
    return len(text) >= 8


def _named_secret(value: str, name: str) -> bool:
    """Whether the name is that of a credential and the value can be one."""
    return is_secret_name(name) and _may_be_secret(value, name)


def _is_password(name: str) -> bool:
    words = [word.lower() for word in WORDS.findall(name)]
    return any(word in PASSWORD_WORDS or word.endswith(("password", "passwd")) for word in words)


def decoded_login(text: str) -> bool:
    """Whether the text is the base64 of `user:password`."""
    try:
        decoded = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return False
    return ":" in decoded


def jwt_claims(text: str) -> dict[str, object] | None:
    """The claims of the first JSON Web Token in the text, unverified; None when there is none that can be read."""
    match = JWT.search(text)
    if match is None:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    except (binascii.Error, UnicodeDecodeError, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def evidence(value: str, salt: bytes) -> str:
    """What may be stored of a secret: its masked shape and a keyed hash that only this installation can compare."""
    digest = hmac.new(salt, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
    return f"{masked(value)} hmac-sha256:{digest}"


def masked(value: str) -> str:
    """At most the public prefix of a token and its length: `sk-…(48 chars)`."""
    prefix = PUBLIC_PREFIX.match(value)
    shown = prefix.group() if prefix and len(value) >= 20 else ""
    return f"{shown}…({len(value)} chars)"


def redact(text: str, name: str | None = None) -> str:
    """The text with every credential in it masked, for messages that quote a part of a configuration."""
    parts = []
    at = 0
    for secret in find_secrets(text, name):
        parts += [text[at : secret.start], masked(text[secret.start : secret.end])]
        at = secret.end
    rest = "".join([*parts, text[at:]])
    if "://" in rest:
        for secret in reversed(url_path_secrets(rest)):
            rest = rest[: secret.start] + masked(rest[secret.start : secret.end]) + rest[secret.end :]
    return rest


def without_secrets(text: str) -> str:
    """The text without what is, or could be, a credential in it: fit to be hashed, for no hash of it lets one be guessed.

    What nobody can guess because it is random stays, as half of all addresses have it; so does a substitution in the place
    of a value, which is executed. NUL separates the words of a command line.
    """
    words = text.split(WORD_END)
    by_words = secrets_of_words(words) if len(words) > 1 else {}
    return WORD_END.join(_without(word, by_words.get(index, ())) for index, word in enumerate(words))


def _without(text: str, known: tuple[Secret, ...]) -> str:
    parts: list[str] = []
    at = 0
    for secret in merged(text, find_secrets(text), known):
        if not secret.certain:
            continue
        substitution = SUBSTITUTION.search(text, secret.start, secret.end)
        parts += [text[at : secret.start], "…"]
        at = substitution.start() if substitution else secret.end
    return "".join([*parts, text[at:]])
