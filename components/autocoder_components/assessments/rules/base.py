"""What every rule works with: the contexts it judges, and how a finding is made. Holds the guarantee on secrets.

A rule is a function from a context to findings; its presentation is a `RuleInfo`. Every message that quotes a part of
a configuration does so through `quote`, which shows only what cannot hold a secret; and where a word looks harmless but is
known to be the credential of its server, `found` takes it out again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_bytes

from autocoder_components.assessments.clients import BY_ID, Dialect
from autocoder_components.assessments.dialects import GENERIC, Container, ServerView
from autocoder_components.assessments.discover import shown_text
from autocoder_components.assessments.document import Document, Key, Node, Note
from autocoder_components.assessments.launch_parts import Launch, program_name
from autocoder_components.assessments.model import Finding, Place, RuleInfo, Severity, Target
from autocoder_components.assessments.secrets import WORD_END, redact, without_secrets
from autocoder_components.assessments.showing import presentable

QUOTED_LENGTH = 80
QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """What an installation tells the rules.

    `salt` keys the hashes of secrets (random when not given, so that hashes of two runs cannot be compared);
    `inventory` are the approved servers, by name or package (None: there is none, and nothing is judged by it);
    `check_files` allows looking at the file's permissions and at whether the paths it names exist.
    """

    salt: bytes = field(default_factory=lambda: token_bytes(32), repr=False)
    inventory: frozenset[str] | None = None
    check_files: bool = True


@dataclass(frozen=True, slots=True)
class FileContext:
    """A whole file."""

    target: Target
    document: Document
    options: RuleOptions
    containers: tuple[Container, ...]
    servers: tuple[ServerView, ...]

    @property
    def dialect(self) -> Dialect:
        """The dialect that discovery chose for the file."""
        return BY_ID.get(self.target.dialect, GENERIC)


@dataclass(frozen=True, slots=True)
class ServerContext:
    """One server of a file. `source` is the context of the file; `credentials` are the forms that no message may quote,
    `line` is what `digest_of_line` makes of its command."""

    source: FileContext
    server: ServerView
    launch: Launch
    credentials: frozenset[str] = field(default=frozenset(), repr=False)
    line: str = ""

    @property
    def target(self) -> Target:
        """The server's target."""
        return self.source.target

    @property
    def document(self) -> Document:
        """The whole document."""
        return self.source.document

    @property
    def options(self) -> RuleOptions:
        """The installation's options."""
        return self.source.options

    @property
    def dialect(self) -> Dialect:
        """The dialect of the file."""
        return self.server.dialect


FileRule = Callable[[FileContext], Iterator[Finding]]
ServerRule = Callable[[ServerContext], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Theme:
    """The rules of one file of this package: their presentation, and the functions that find."""

    catalogue: tuple[RuleInfo, ...]
    file_rules: tuple[FileRule, ...] = ()
    server_rules: tuple[ServerRule, ...] = ()


def quote(value: str | Key) -> str:
    """A part of a configuration fit for a message; the one way for a rule to show any.

    Of a value only what cannot hold a secret is shown: of a script the known programs, of an assignment the name. The name
    of a member stands in the pointer of every finding, so it is shown as it is, credentials masked. At most 80 characters.
    """
    return _quoted(redact(value.text) if isinstance(value, Key) else presentable(value))


def excerpt(text: str) -> str:
    """What a server says of itself, in its own words, credentials masked: for the rules on tools, never on configurations."""
    return _quoted(redact(text))


def _quoted(text: str) -> str:
    shown = shown_text(text)
    return f"'{shown if len(shown) <= QUOTED_LENGTH else shown[: QUOTED_LENGTH - 1] + '…'}'"


def found(
    context: FileContext | ServerContext,
    rule: RuleInfo,
    where: Node | Note | Key,
    message: str,
    *,
    severity: Severity | None = None,
    evidence: str | None = None,
    distinct: str = "",
    judged: str = "",
    pointer: str | None = None,
) -> Finding:
    """A finding of `rule` at `where`; `distinct` tells apart two findings of one rule at one pointer (never a secret).

    `judged` is the text that the rule judged, where that is what is executed, fetched or reached: with another text it is
    another finding, which no baseline and no waiver of the old one covers. Credentials are taken out of it first.
    A key has no pointer of its own: give its value's as `pointer`.
    """
    if pointer is None:
        pointer = "" if isinstance(where, Key) else where.pointer
    place = Place(context.target.file, shown_text(pointer), where.line, where.column)
    if isinstance(context, ServerContext) and context.credentials:
        message, distinct = (
            concealed(message, context.credentials),
            concealed(f"'{distinct}'", context.credentials)[1:-1],
        )
    return found_at(
        context.target, rule, place, message, severity=severity, evidence=evidence, distinct=distinct, judged=judged
    )


def conceivable(value: str) -> Iterator[str]:
    """The forms in which a credential could be quoted."""
    for form in (value, presentable(value), program_name(value)):
        yield form.lower()


def concealed(message: str, credentials: frozenset[str]) -> str:
    """The message without those of its quoted parts that are credentials: a runner's argument can look like a package."""
    return QUOTED.sub(lambda match: "'…'" if match[1].lower() in credentials else match.group(), message)


def found_at(
    target: Target,
    rule: RuleInfo,
    place: Place,
    message: str,
    *,
    severity: Severity | None = None,
    evidence: str | None = None,
    distinct: str = "",
    judged: str = "",
) -> Finding:
    """As `found`, for a place that is known without the document; its pointer is one that may be shown."""
    identity = [rule.id, place.file, place.pointer, shown_text(distinct)]
    # Only where there is one, so that the fingerprints of all other rules are what they always were.
    identity += [shown_text(without_secrets(judged))] if judged else []
    parts = "\0".join(identity)
    return Finding(
        rule=rule.id,
        severity=severity or rule.severity,
        message=shown_text(message),
        remedy=rule.remedy,
        place=place,
        fingerprint=hashlib.sha256(parts.encode()).hexdigest()[:32],
        server=target.server,
        owasp=rule.owasp,
        evidence=evidence,
    )


def digest_of_line(server: ServerView) -> str:
    """The command and its arguments as one word for `judged`, made once for all findings."""
    line = WORD_END.join(node.text or "" for node in server.argv)
    return hashlib.sha256(without_secrets(line).encode("utf-8", "surrogatepass")).hexdigest()


def start_of(context: FileContext) -> Node | Note:
    """The place to report what is true of the whole file: its root, or its first line when nothing could be read."""
    return context.document.root or context.document.notes[0]
