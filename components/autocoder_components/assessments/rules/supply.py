"""Rules on where the program comes from: packages, images and repositories that can change under a configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from autocoder_components.assessments.launch_parts import PackageUse
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.packages import Pinning
from autocoder_components.assessments.rules.base import ServerContext, Theme, found, quote

UNPINNED = RuleInfo(
    "AC-401",
    "UnpinnedPackage",
    "A package without an exact version",
    Severity.MEDIUM,
    "MCP04:2025",
    "Each start may fetch another version. Whoever takes over the package, or one of its publishers, runs code here at "
    "the next start.",
    "Name an exact version, and change it on purpose",
)
LATEST = RuleInfo(
    "AC-402",
    "FloatingPackage",
    "A package at a tag that moves",
    Severity.MEDIUM,
    "MCP04:2025",
    "`@latest` and its like name whatever was published last. Each start may run other code than was reviewed.",
    "Name an exact version, and change it on purpose",
)
IMAGE_UNPINNED = RuleInfo(
    "AC-403",
    "UnpinnedImage",
    "A container image without a tag or digest",
    Severity.MEDIUM,
    "MCP04:2025",
    "Without a tag an image is `latest`: whatever was pushed last.",
    "Name the image by its digest (image@sha256:...)",
)
IMAGE_LATEST = RuleInfo(
    "AC-404",
    "FloatingImage",
    "A container image at a tag that moves",
    Severity.MEDIUM,
    "MCP04:2025",
    "`latest`, `main` and their like name whatever was pushed last.",
    "Name the image by its digest (image@sha256:...)",
)
GIT_UNPINNED = RuleInfo(
    "AC-405",
    "UnpinnedRepository",
    "A repository without a commit or tag",
    Severity.MEDIUM,
    "MCP04:2025",
    "Each start may run what was pushed to the branch a moment ago, by anyone who may push.",
    "Name a commit (repository@<commit>)",
)
TYPOSQUAT = RuleInfo(
    "AC-406",
    "NearMiss",
    "A name one slip away from a well-known package",
    Severity.HIGH,
    "MCP04:2025",
    "Packages with almost the name of a popular one are a common way to get hostile code run.",
    "Check the name letter by letter against the project's own documentation",
)
ARCHIVED = RuleInfo(
    "AC-407",
    "ArchivedPackage",
    "A package that is no longer maintained",
    Severity.LOW,
    "MCP04:2025",
    "The project is archived: flaws found in it stay. Some of these packages have known ones.",
    "Move to the successor that the service's vendor maintains",
)
FOREIGN_INDEX = RuleInfo(
    "AC-408",
    "ForeignIndex",
    "Packages are fetched from another index",
    Severity.LOW,
    "MCP04:2025",
    "An additional index can answer for any package name. Which of two indexes wins is the tool's choice.",
    "Use one index that you trust, over HTTPS, and pin versions with hashes",
)
NOT_APPROVED = RuleInfo(
    "AC-409",
    "NotInInventory",
    "A server that nobody approved",
    Severity.HIGH,
    "MCP09:2025",
    "The inventory of approved servers has neither this server's name nor its package. Servers that nobody watches are "
    "where the rest of this list goes unseen.",
    "Have the server approved and added to the inventory, or remove it",
)

INDEX_FLAG = re.compile(r"^--(?:registry|index-url|extra-index-url|index|default-index|trusted-host|find-links)(?:=|$)")
INDEX_VARIABLE = re.compile(
    r"(?i)^(?:npm_config_registry|(?:pip|uv)_(?:extra_)?index(?:_url)?|uv_default_index|pip_trusted_host)$"
)


def pinning(context: ServerContext) -> Iterator[Finding]:
    """Everything fetched at start that can be something else tomorrow."""
    for use in context.launch.packages:
        reference = use.reference
        if reference.pinning is Pinning.EXACT:
            continue
        name = quote(reference.name)
        if reference.ecosystem == "docker":
            rule = IMAGE_UNPINNED if reference.pinning is Pinning.NONE else IMAGE_LATEST
            message = f"The image {name} has {_state(use)}"
        elif reference.ecosystem == "git":
            rule, message = GIT_UNPINNED, f"The repository {name} has {_state(use, 'no commit or tag')}"
        else:
            rule = LATEST if reference.pinning is Pinning.FLOATING else UNPINNED
            message = f"{use.runner} fetches {name}, which has {_state(use)}"
        yield found(
            context, rule, use.word.node, message, distinct=reference.name, judged=f"{use.runner} {use.word.text}"
        )


def _state(use: PackageUse, none: str = "no version") -> str:
    reference = use.reference
    if reference.pinning is Pinning.NONE:
        return "neither tag nor digest" if reference.ecosystem == "docker" else none
    kind = "the range" if reference.pinning is Pinning.RANGE else "the moving tag or branch"
    return f"{kind} {quote(reference.version or '')}"


@cache
def well_known() -> dict[str, frozenset[str]]:
    """The shipped lists: `npm`, `npm_scopes`, `pypi`, `archived`."""
    text = files("autocoder_components.assessments").joinpath("data/well_known.json").read_text("utf-8")
    lists = json.loads(text)
    return {name: frozenset(entries) for name, entries in lists.items() if isinstance(entries, list)}


def near_miss(ecosystem: str, name: str) -> str | None:
    """The well-known package or scope that the name is one slip from (and is not itself); None when there is none.

    Names under a well-known scope are their owner's and never a near miss; only a slip in the scope is.
    """
    known = well_known()
    name = name.lower()
    if name.startswith("@"):
        scope = name.partition("/")[0]
        candidates = known["npm_scopes"]
        return None if scope in candidates else next((c for c in sorted(candidates) if _one_slip(scope, c)), None)
    candidates = known["pypi" if ecosystem == "pypi" else "npm"]
    if name in known["npm"] | known["pypi"]:
        return None
    return next((candidate for candidate in sorted(candidates) if _one_slip(name, candidate)), None)


def _one_slip(name: str, known: str) -> bool:
    """Whether one insertion, deletion, replacement or exchange of neighbours turns one name into the other."""
    if name == known or abs(len(name) - len(known)) > 1 or min(len(name), len(known)) < 6:
        return False
    start = next((i for i, (a, b) in enumerate(zip(name, known, strict=False)) if a != b), min(len(name), len(known)))
    a, b = name[start:], known[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def names(context: ServerContext) -> Iterator[Finding]:
    """Near misses and archived packages."""
    for use in context.launch.packages:
        reference = use.reference
        if reference.ecosystem not in {"npm", "pypi"}:
            continue
        meant = near_miss(reference.ecosystem, reference.name)
        if meant is not None:
            message = f"{quote(reference.name)} is one slip from the well-known '{meant}'"
            yield found(context, TYPOSQUAT, use.word.node, message, distinct=reference.name)
        if reference.name.lower() in well_known()["archived"]:
            message = f"{quote(reference.name)} is archived by its authors"
            yield found(context, ARCHIVED, use.word.node, message, distinct=reference.name)


def indexes(context: ServerContext) -> Iterator[Finding]:
    """Another registry named by an option or a variable."""
    argv = context.server.argv
    for index, node in enumerate(argv):
        text = node.text or ""
        if not INDEX_FLAG.match(text) or not any(use.runner for use in context.launch.packages):
            continue
        value = text.partition("=")[2] or (argv[index + 1].text if index + 1 < len(argv) else "") or ""
        severity = Severity.MEDIUM if value.startswith("http:") or text.startswith("--trusted-host") else None
        yield found(context, FOREIGN_INDEX, node, f"Packages come from {quote(value)}", severity=severity, judged=value)
    for key, value_node in context.server.env:
        if INDEX_VARIABLE.match(key.text) and value_node.text:
            yield found(
                context,
                FOREIGN_INDEX,
                value_node,
                f"Packages come from {quote(value_node.text)}",
                judged=value_node.text,
            )


def inventory(context: ServerContext) -> Iterator[Finding]:
    """A server that the inventory has neither by its name nor by one of its packages, nor by its address."""
    approved = context.options.inventory
    if approved is None:
        return
    server = context.server
    ours = {server.name, *(use.reference.name for use in context.launch.packages)}
    ours |= {
        f"{use.reference.name}@{use.reference.version}" for use in context.launch.packages if use.reference.version
    }
    if server.url is not None and server.url.text:
        ours |= {server.url.text, re.sub(r"^(\w+://[^/?#]+).*$", r"\1", server.url.text, flags=re.DOTALL)}
    if not ours & approved:
        yield found(context, NOT_APPROVED, server.node, f"The server {quote(server.key)} is not in the inventory")


THEME = Theme(
    (UNPINNED, LATEST, IMAGE_UNPINNED, IMAGE_LATEST, GIT_UNPINNED, TYPOSQUAT, ARCHIVED, FOREIGN_INDEX, NOT_APPROVED),
    server_rules=(pinning, names, indexes, inventory),
)
