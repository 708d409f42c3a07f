"""From the paths, folders and inline texts of a request to its targets: one per file, one per server in it.

Whatever is wrong with one file becomes a target with a problem; it never stops the others.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from autocoder_components.assessments.dialects import DIALECTS, choose_dialect, servers
from autocoder_components.assessments.document import DEFAULT_LIMITS, Document, parse
from autocoder_components.assessments.locations import (
    DEFAULT_WALK,
    Found,
    WalkLimits,
    user_locations,
    walk,
)
from autocoder_components.assessments.model import Candidate, Discovery, Place, Request, Target

MAX_TARGETS_PER_FILE = 2000
MAX_TARGETS = 10_000
"""Of one assessment of the service: what others ask for meanwhile waits behind its checks."""
OTHER_FORMATS = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}
"""What some clients keep their servers in, and nobody reads here, by the suffix of the file."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of the machine that discovery depends on, so that a test (or a service) can give its own."""

    folder: Path
    environment: Mapping[str, str]
    limits: WalkLimits = DEFAULT_WALK

    @classmethod
    def current(cls) -> Machine:
        """The machine as this process sees it."""
        return cls(Path.cwd(), os.environ)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A target's document, or why it cannot be judged: exactly one of the two is None."""

    document: Document | None
    problem: str | None


class UnreadableFileError(Exception):
    """A configuration file could not be read; the message says why, without its path."""


def discover(request: Request, machine: Machine | None = None) -> Discovery:
    """The targets of a request, in a stable order: files as they were given or found, servers as they are written.

    With neither paths nor candidates these are the client configurations of this machine and below the working
    folder. Never raises for what it finds in files. Each file gives one target for itself (`server` None) and one for
    every server that matches `server_filter` (globs, case-insensitive; none means all).
    """
    machine = machine or Machine.current()
    targets: list[Target] = []
    seen: set[str] = set()
    for candidate in request.candidates:
        targets += _candidate_targets(request, candidate)
    if request.paths:
        found = _given(request.paths, machine)
    elif request.candidates:
        found = iter(())
    else:
        found = _default(machine)
    for entry in found:
        identity = os.path.realpath(entry.path)
        if identity not in seen or entry.problem:
            seen.add(identity)
            targets += _file_targets(request, entry, machine)
    matched, unmatched = _filter(request.server_filter, targets)
    return Discovery(request, matched if request.attempt is None else _not_too_many(matched), unmatched)


def _not_too_many(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The first of them, and behind these, as a target that cannot be judged, where it ends and why."""
    if len(targets) <= MAX_TARGETS:
        return targets
    number, most = f"{len(targets):,}", f"{MAX_TARGETS:,}"
    why = f"is where the assessment ends: of {number} files and servers only the first {most} are assessed; name fewer files"
    return (*targets[:MAX_TARGETS], replace(targets[MAX_TARGETS], server=None, problem=why))


def _given(paths: tuple[str, ...], machine: Machine) -> Iterator[Found]:
    for given in paths:
        path = machine.folder / given
        try:
            path = machine.folder / Path(given).expanduser()
            mode = path.stat().st_mode
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~user of a user that does not exist
            yield Found(path, "given", f"cannot be read: {_reason(error)}")
            continue
        if stat.S_ISDIR(mode):
            yield from walk(path, "project", machine.limits)
        else:
            yield Found(path, "given")


def _default(machine: Machine) -> Iterator[Found]:
    for path in user_locations(machine.environment):
        if os.path.lexists(path) and not path.is_dir():
            yield Found(path, "user")
    yield from walk(machine.folder, "project", machine.limits)


def _file_targets(request: Request, entry: Found, machine: Machine) -> list[Target]:
    shown = _shown(entry.path, machine)
    bare = Target(request.assessment_id, shown, str(entry.path), "", entry.scope, "", "", place=Place(shown))
    if entry.problem is not None:
        return [replace(bare, problem=entry.problem)]
    try:
        content = read_bounded(entry.path)
    except UnreadableFileError as error:
        return [replace(bare, problem=str(error))]
    other = OTHER_FORMATS.get(entry.path.suffix.casefold())
    if other is not None and _load_bytes(content).errors:  # a .yaml file may well hold JSON
        return [
            replace(bare, problem=f"is {other}, which is not supported: client configurations are read as JSON only")
        ]
    found = _targets(bare, content)
    settings_without_servers = len(found) == 1 and entry.scope != "given" and _is_shared_settings(entry.path)
    return [] if settings_without_servers and not _load_bytes(content).errors else found


def _is_shared_settings(path: Path) -> bool:
    """Whether the file is one of an editor's many settings files, which is of interest only when it names servers."""
    return path.suffix == ".code-workspace" or path.name in {"settings.json", "config.json", "default.json"}


def _candidate_targets(request: Request, candidate: Candidate) -> list[Target]:
    name = shown_text(candidate.name)
    bare = Target(
        request.assessment_id,
        name,
        "",
        candidate.client or "",
        "inline",
        "",
        "",
        place=Place(name),
        candidate=candidate,
    )
    return _targets(bare, candidate.text.encode("utf-8", "surrogatepass"))


def _targets(bare: Target, content: bytes) -> list[Target]:
    """The file's own target, then one for each of its servers."""
    document = _load_bytes(content)
    named = [entry for entry in DIALECTS if bare.client.casefold() in {entry.id, entry.title.casefold()}]
    dialect = named[0] if named else choose_dialect(bare.path or bare.file, document)
    whole = replace(
        bare, client=bare.client or dialect.title, dialect=dialect.id, sha256=hashlib.sha256(content).hexdigest()
    )
    found = [whole]
    named_servers = servers(document, dialect)
    if len(named_servers) > MAX_TARGETS_PER_FILE:
        most = f"names {len(named_servers)} servers, of which only the first {MAX_TARGETS_PER_FILE} are assessed"
        found.append(replace(whole, problem=most))
    for server in named_servers[:MAX_TARGETS_PER_FILE]:
        place = Place(whole.file, shown_text(server.node.pointer), server.key.line, server.key.column)
        found.append(replace(whole, server=shown_text(server.name), place=place))
    return found


def _filter(globs: tuple[str, ...], targets: list[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets whose server matches one of the globs (files always stay), and the globs that match no server."""
    if not globs:
        return tuple(targets), ()
    hit: set[str] = set()
    kept = []
    for target in targets:
        matching = [glob for glob in globs if matches(target.server, glob)]
        hit.update(matching)
        if target.server is None or matching:
            kept.append(target)
    return tuple(kept), tuple(glob for glob in globs if glob not in hit)


def matches(name: str | None, glob: str) -> bool:
    """Whether a server's name matches a glob, whatever the case of either; None, which is a file as a whole, never does."""
    return name is not None and fnmatch.fnmatchcase(name.casefold(), glob.casefold())


def _shown(path: Path, machine: Machine) -> str:
    """The path as a person wrote or would write it: below the working folder, below `~`, or in full."""
    absolute = Path(os.path.normpath(machine.folder / path))
    home = machine.environment.get("HOME") or machine.environment.get("USERPROFILE")
    for root, prefix in ((machine.folder, ""), (Path(home) if home else None, "~/")):
        if root is not None and absolute.is_relative_to(root):
            return shown_text(prefix + absolute.relative_to(root).as_posix())
    return shown_text(absolute.as_posix())


def shown_text(text: str) -> str:
    """The text with what no file or terminal can hold (lone surrogates, control characters) written as escapes."""
    encodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in encodable)


def read_bounded(path: Path, limit: int = DEFAULT_LIMITS.max_bytes) -> bytes:
    """The file's bytes, at most one more than `limit` (enough for the parser to say that the file is too large).

    Raises UnreadableFileError when the path is no regular file (a pipe would block the reader) or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnreadableFileError("is not a regular file")
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (error.strerror or "unknown reason") if isinstance(error, OSError) else str(error)


class _Documents:
    """The documents used last, by the hash of their bytes: every server's checks read the same file. Used by threads."""

    def __init__(self, characters: int) -> None:
        self._most = characters
        self._characters = 0
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: str) -> Document | None:
        with self._lock:
            document = self._kept.get(digest)
            if document is not None:
                self._kept.move_to_end(digest)
            return document

    def put(self, digest: str, document: Document) -> None:
        """Keep one more; the oldest go until the texts are short enough, but never the new one."""
        with self._lock:
            if digest in self._kept:
                return
            self._kept[digest] = document
            self._characters += len(document.text)
            while len(self._kept) > 1 and self._characters > self._most:
                self._characters -= len(self._kept.popitem(last=False)[1].text)


_documents = _Documents(characters=8 * 1024 * 1024)  # of text; its nodes take several times that


def _load_bytes(content: bytes, digest: str | None = None) -> Document:
    """The document of these bytes (`digest` is their SHA-256, where it is known), parsed or kept from before."""
    digest = digest or hashlib.sha256(content).hexdigest()
    document = _documents.get(digest)
    if document is None:
        document = parse(content)
        _documents.put(digest, document)
    return document


def load(target: Target) -> Loaded:
    """The target's document as it was discovered, or the problem: unreadable, or changed since then. Never raises."""
    if target.problem is not None:
        return Loaded(None, target.problem)
    if target.candidate is not None:
        content = target.candidate.text.encode("utf-8", "surrogatepass")
    else:
        try:
            content = read_bounded(Path(target.path))
        except UnreadableFileError as error:
            return Loaded(None, str(error))
    if hashlib.sha256(content).hexdigest() != target.sha256:
        return Loaded(None, "the file has changed since it was discovered; assess it again")
    return Loaded(_load_bytes(content, target.sha256), None)


__all__ = [
    "Discovery",
    "Loaded",
    "Machine",
    "UnreadableFileError",
    "discover",
    "load",
    "matches",
    "read_bounded",
    "shown_text",
]
