"""What a package or image reference names, and whether it names one thing for ever. Pure text; asks no registry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Pinning(StrEnum):
    """How firmly a reference names what is run."""

    EXACT = "exact"
    RANGE = "range"
    FLOATING = "floating"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Reference:
    """A package, image or repository as it is named in a command; `version` is the tag, range, branch or digest."""

    ecosystem: str
    name: str
    version: str | None
    pinning: Pinning


EXACT_VERSION = re.compile(r"^[=v]?\d+\.\d+(?:[-+.]?[0-9A-Za-z][0-9A-Za-z.+-]*)?$")
RANGE_VERSION = re.compile(r"^[\^~<>=*!]|^\d+(?:\.\d+)?$|^\d+(?:\.\d+)*\.[xX*]$|[\s|,*]")
NPM = re.compile(r"^(?P<name>(?:@[a-z0-9~._-]+/)?[a-z0-9~_][a-z0-9~._-]*)(?:@(?P<version>[^\s@/]+))?$", re.IGNORECASE)
PYPI = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:@\s*(?P<at>[^\s/]+)|(?P<spec>(?:===?|>=|<=|~=|!=|<|>).*))?$"
)
GIT = re.compile(r"^(?:git\+|git:|github:|gitlab:|bitbucket:|gist:|git@)|\.git(?:[#@]|$)")
SHORT_GITHUB = re.compile(r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+(?:#\S+)?$")
COMMIT = re.compile(r"^[0-9a-f]{7,40}$")
BRANCHES = frozenset({"main", "master", "head", "dev", "develop", "trunk", "next", "canary", "nightly", "latest"})
IMAGE = re.compile(
    r"^(?P<name>(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{16,64}))?$"
)
LOCAL = re.compile(r"^(?:[./~\\]|[A-Za-z]:[\\/]|file:)|\.(?:[cm]?[jt]sx?|py|sh|tgz|whl)$")
UNDECIDED = re.compile(r"[$<>{}%\s\"']")


def npm(text: str) -> Reference | None:
    """An argument of npx and its like; None when it is a local path, a reference or no package at all."""
    text = text.removeprefix("npm:")
    if GIT.search(text) or (SHORT_GITHUB.match(text) and not text.startswith("@")):
        return git(text)
    if LOCAL.search(text) or UNDECIDED.search(text):
        return None
    match = NPM.match(text)
    if match is None:
        return None
    version = match["version"]
    return Reference("npm", match["name"], version, _pinning(version))


def pypi(text: str) -> Reference | None:
    """An argument of uvx, pipx and their like; None when it is a local path or no package at all."""
    if "git+" in text or GIT.search(text):
        return git(text[text.index("git+") :] if "git+" in text else text)
    if LOCAL.search(text) or re.search(
        r"[$<>{}%\"'](?![=\d])", text.replace(">=", "").replace("<", "").replace(">", "")
    ):
        return None
    match = PYPI.match(text)
    if match is None:
        return None
    spec = match["spec"]
    if spec is None:
        return Reference("pypi", match["name"], match["at"], _pinning(match["at"]))
    exact = re.fullmatch(r"===?\s*([^\s,*]+)", spec)
    return Reference("pypi", match["name"], spec, Pinning.EXACT if exact else Pinning.RANGE)


def git(text: str) -> Reference:
    """A repository; the part after `#` or the last `@` of the path is its commit, tag or branch."""
    body, _, fragment = text.partition("#")
    path = body.split("://", 1)[-1]
    at = path.rfind("@")
    revision = path[at + 1 :] if at > path.find("/") > -1 else ""
    if fragment and "=" not in fragment:
        revision = revision or fragment
    name = body[: len(body) - len(revision) - 1] if revision and body.endswith("@" + revision) else body
    revision = revision.removeprefix("semver:")
    if not revision:
        return Reference("git", name, None, Pinning.NONE)
    fixed = bool(COMMIT.match(revision) or EXACT_VERSION.match(revision) or re.match(r"^[\w.-]*\d+\.\d+", revision))
    return Reference("git", name, revision, Pinning.EXACT if fixed else Pinning.FLOATING)


def image(text: str) -> Reference | None:
    """The image argument of docker and podman; None when it cannot be one (a variable, a placeholder)."""
    match = IMAGE.match(text)
    if match is None:
        return None
    if match["digest"]:
        return Reference("docker", match["name"], match["digest"], Pinning.EXACT)
    tag = match["tag"]
    if tag is None:
        return Reference("docker", match["name"], None, Pinning.NONE)
    floating = tag in BRANCHES or tag in {"stable", "edge", "beta", "alpha", "rc"}
    return Reference("docker", match["name"], tag, Pinning.FLOATING if floating else Pinning.EXACT)


def go_module(text: str) -> Reference | None:
    """An argument of `go run` that names a module (`host/path@version`); None for a local path."""
    if LOCAL.search(text) or "." not in text.split("/", 1)[0]:
        return None
    name, _, version = text.partition("@")
    return Reference("go", name, version or None, _pinning(version or None))


def deno(text: str) -> Reference | None:
    """An argument of `deno run`: `npm:`, `jsr:` or an address."""
    if text.startswith(("npm:", "jsr:")):
        found = npm(text[4:])
        return found and Reference(text[:3], found.name, found.version, found.pinning)
    match = re.match(r"^(https?://[^@\s]+)(?:@([^/\s]+))?", text)
    if match is None:
        return None
    return Reference("deno", match[1], match[2], _pinning(match[2]))


def _pinning(version: str | None) -> Pinning:
    if not version:
        return Pinning.NONE
    if RANGE_VERSION.search(version):
        return Pinning.RANGE
    return Pinning.EXACT if EXACT_VERSION.match(version) else Pinning.FLOATING
