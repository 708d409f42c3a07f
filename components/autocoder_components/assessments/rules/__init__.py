"""The rules: two entry points, one for whether a configuration is valid and one for whether it is safe; and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autocoder_components.assessments.clients import BY_ID
from autocoder_components.assessments.dialects import GENERIC, containers, server_at, servers
from autocoder_components.assessments.document import Document
from autocoder_components.assessments.launch import analyse
from autocoder_components.assessments.model import CheckKind, Finding, RuleInfo, Target
from autocoder_components.assessments.nodes import NoteCode
from autocoder_components.assessments.rules import (
    authority,
    credentials,
    execution,
    exposure,
    host_paths,
    request,
    status,
    structure,
    supply,
    text,
    tools,
    values,
)
from autocoder_components.assessments.rules.base import FileContext, RuleOptions, ServerContext, Theme, digest_of_line

__all__ = [
    "CATALOGUE",
    "KINDS",
    "RULE_PACK",
    "RuleOptions",
    "check_security",
    "left_out",
    "server_context",
    "validate_config",
]

RULE_PACK = "2026.11"
CONFIG: tuple[Theme, ...] = (text.THEME, structure.THEME, values.THEME, host_paths.THEME)
SECURITY: tuple[Theme, ...] = (credentials.THEME, supply.THEME, execution.THEME, exposure.THEME, authority.THEME)
CATALOGUE: dict[str, RuleInfo] = {
    rule.id: rule
    for theme in (request.THEME, *CONFIG, *SECURITY, status.THEME, tools.THEME)
    for rule in theme.catalogue
}

KINDS: dict[str, CheckKind] = {
    rule.id: kind
    for kind, themes in (
        (CheckKind.SKIPPED, (request.THEME,)),
        (CheckKind.CONFIG, CONFIG),
        (CheckKind.SECURITY, SECURITY),
        (CheckKind.STATUS, (status.THEME,)),
        (CheckKind.DEEP, (tools.THEME,)),
    )
    for theme in themes
    for rule in theme.catalogue
}
"""The check that judges each rule."""
_OF_TEXT = frozenset(rule.id for rule in text.THEME.catalogue)
_BREAKS = frozenset({NoteCode.SYNTAX, NoteCode.MERGE_CONFLICT, NoteCode.TOO_LARGE, NoteCode.TOO_DEEP})


def left_out(target: Target, document: Document, options: RuleOptions) -> tuple[str, ...]:
    """The rules that `options` leave out for the target; of a file that cannot be read whole, all but those on its text.

    That they find nothing there is no sign that there is nothing to find.
    """
    if target.server is None and (document.root is None or any(note.code in _BREAKS for note in document.notes)):
        return tuple(sorted(CATALOGUE.keys() - _OF_TEXT))
    unlisted = {supply.NOT_APPROVED.id} if options.inventory is None else set()
    unseen = {host_paths.DEAD_PATH.id, credentials.READABLE_FILE.id} if not options.check_files else set()
    if not target.path:
        unseen.add(credentials.READABLE_FILE.id)  # given inline, it has no permissions yet
    return tuple(sorted(unlisted | unseen))


def validate_config(target: Target, document: Document, options: RuleOptions | None = None) -> tuple[Finding, ...]:
    """Whether the target's configuration is valid: the text, its shape and its values. Worst first, then by place.

    For a file's target the rules on the file, for a server's those on the server; no finding is made by both.
    """
    return _apply(CONFIG, target, document, options)


def check_security(target: Target, document: Document, options: RuleOptions | None = None) -> tuple[Finding, ...]:
    """Whether the target's configuration is safe: credentials, origin, execution, exposure, authority. Worst first.

    No finding holds a secret value: at most its masked shape and a hash keyed with `options.salt`.
    """
    return _apply(SECURITY, target, document, options)


def server_context(target: Target, document: Document, options: RuleOptions | None = None) -> ServerContext:
    """The server of a target in its document; raises LookupError where the document does not have it."""
    return _server(FileContext(target, document, options or RuleOptions(), (), ()))


def _apply(
    themes: tuple[Theme, ...], target: Target, document: Document, options: RuleOptions | None
) -> tuple[Finding, ...]:
    dialect = BY_ID.get(target.dialect, GENERIC)
    of_file = servers(document, dialect) if target.server is None else ()
    source = FileContext(target, document, options or RuleOptions(), containers(document, dialect), of_file)
    unique: dict[str, Finding] = {}
    for finding in _found(themes, source):
        unique.setdefault(finding.fingerprint, finding)
    order = sorted(
        unique.values(), key=lambda f: (f.severity.rank, f.place.line, f.place.column, f.rule, f.fingerprint)
    )
    return tuple(order)


def _found(themes: tuple[Theme, ...], source: FileContext) -> Iterator[Finding]:
    if source.target.server is None:
        for theme in themes:
            for file_rule in theme.file_rules:
                yield from file_rule(source)
        return
    context = _server(source)
    for theme in themes:
        for server_rule in theme.server_rules:
            yield from server_rule(context)


def _server(source: FileContext) -> ServerContext:
    place = source.target.place
    server = server_at(source.document, source.dialect, place.line, place.column)
    if server is None:
        raise LookupError("the target names a server that its document does not have")
    context = ServerContext(source, server, analyse(server.argv))
    return replace(context, credentials=credentials.values(context), line=digest_of_line(server))
