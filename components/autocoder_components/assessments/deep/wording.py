"""Orders to a model in the text of a definition, by kind. Each kind is a way to say it, not one phrase of an attack.

Say what a tool does, when to use it and what its parameters are: that is no order in this sense. Telling the model what to
think of other instructions, other tools, the user, or files that are no argument of the tool is one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from autocoder_components.assessments.deep.hidden import without_hidden
from autocoder_components.assessments.model import Severity

_LONGEST: Final = 120
_WINDOW: Final = 4096
_OVERLAP: Final = 512
_NOT: Final = r"(?:do\s?n[o']t|does not|must ?n[o']t|should ?n[o']t|shall not|never|not to|avoid|refrain from|without)"
_TELL: Final = r"(?:tell|mention|inform|notify|alert|disclos|reveal|report|admit)(?:e|ing|s)?"
_PERSON: Final = r"(?:users?|humans?|persons?|people|operators?|owners?|customers?|anyone|anybody|them)"
_ORDERS: Final = r"(?:instructions?|prompts?|guidelines?|directives?|guardrails?)"
_CONFIDENTIAL: Final = (
    r"(?:~?/?\.ssh\b|\bid_(?:rsa|ed25519|ecdsa|dsa)\b|\.aws/|\.env\b(?!\.)|/etc/(?:passwd|shadow)|\.netrc|\.npmrc|\.pypirc"
    r"|\.git-credentials|\.kube/config|\.docker/config|\.gnupg|\.bash_history|wallet\.dat|mcp\.json|mcp_config\.json"
    r"|claude_desktop_config|\.cursor/|\.claude(?:\.json|/)|keychain|cookies\.sqlite)"
)
_TAKE: Final = (
    r"(?:read|open|cat|load|access|fetch|get|retrieve|include|attach|append|add|pass|provide|send|copy|upload|extract|paste)"
    r"(?:s|ing)?"
)


@dataclass(frozen=True, slots=True)
class Order:
    """A kind of order that a text gives, the words that give it, and how grave the kind is."""

    kind: str
    severity: Severity
    words: str


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE)


_KINDS: Final = (
    (
        "sets other instructions aside",
        Severity.CRITICAL,
        _any(
            rf"\b(?:ignor|disregard|forget|overrid|bypass|supersed)(?:e|es|ing|s)?\b[^.]{{0,40}}"
            rf"\b(?:previous|prior|above|earlier|preceding|other|all|any|your|system|safety|user'?s?|existing|original)\b"
            rf"[^.]{{0,20}}\b{_ORDERS}\b",
            r"\b(?:ignor|disregard|forget|bypass)(?:e|ing)?\b[^.]{0,20}\b(?:previous|prior|above|earlier|your|safety)\b"
            r"[^.]{0,20}\b(?:rules?|polic(?:y|ies)|restrictions?|context|training)\b",
            r"\b(?:real|actual|true|new|updated|hidden|secret|highest[- ]priority) (?:system )?instructions?"
            r" ?(?:are|is|:|follow)",
            rf"\btakes? (?:precedence|priority) over\b[^.]{{0,30}}\b{_ORDERS}\b",
            r"\bignor(?:a|e|ez|iere|iert)\b[^.]{0,30}\b(?:instrucciones|instructions|anweisungen|istruzioni|instruções)\b",
            r"(?:忽略|无视|忘记).{0,12}(?:指令|指示|提示)",
        ),
    ),
    (
        "hides something from the person",
        Severity.CRITICAL,
        _any(
            rf"\b{_NOT}\b(?: \w+){{0,2}} {_TELL}\b[^.]{{0,30}}\b{_PERSON}\b(?! (?:for|to|which|what|if|whether|about which)\b)",
            rf"\b{_NOT}\b(?: \w+){{0,2}} (?:mention|disclos|reveal|report)(?:e|ing)? (?:this|that|it|these|the existence)\b",
            rf"\b(?:hidden|conceal(?:ed)?|secret|invisible) from (?:the |any )?{_PERSON}\b",
            rf"\b{_PERSON} (?:must|should|need|may|can|shall|do|does|will)\s?n[o']t"
            r" (?:be (?:told|aware|informed)|know|see|notice)",
            r"\b(?:secretly|covertly|surreptitiously|silently|discreetly)\b[^.]{0,20}\b"
            r"(?:read|send|include|add|copy|forward|upload|collect|call|invoke|execute|pass|log|record)\w*",
            r"\bkeep (?:this|it|that) (?:a )?secret\b",
            r"(?:不要|别|勿).{0,6}(?:告诉|告知|通知).{0,6}用户",
        ),
    ),
    (
        "speaks in the voice of the system",
        Severity.HIGH,
        _any(
            r"<\s*/?\s*(?:system|secret|instructions?|admin|assistant|hidden|priority|override)\s*>",
            r"<\|(?:im_start|im_end|system|endoftext|start_header_id|eot_id)[^>]{0,20}\|?>|\[/?INST\]|<<SYS>>",
            r"(?:^|[.!?:;] ?|#+ ?)(?:system|developer|assistant) (?:prompt|message|note|override|instruction)s? ?:",
            r"(?:^|[.!?;] )(?:SYSTEM|ASSISTANT) ?: ",
        ),
    ),
    ("stresses itself with a tag", Severity.MEDIUM, _any(r"<\s*(?:important|critical|mandatory|urgent)\s*>")),
    (
        "gives the model another role",
        Severity.HIGH,
        _any(
            r"\byou are (?:now|no longer|actually)\b",
            r"\bfrom now on\b[^.]{0,30}\b(?:you|always|never|act|respond|answer)\b",
            r"\byour (?:new|real|true|only|actual) (?:role|task|goal|purpose|objective|mission|identity)\b",
            r"\b(?:act|behave|respond) as (?:if you (?:were|are)|though you|an? (?:admin|root|unrestricted|jailbroken))",
        ),
    ),
    (
        "reaches for files or secrets that are no argument",
        Severity.CRITICAL,
        _any(
            rf"\b{_TAKE}\b[^.]{{0,80}}{_CONFIDENTIAL}",
            rf"{_CONFIDENTIAL}[^.]{{0,60}}\b(?:as|in|into|to|via) (?:the |an? )?[`'\"]?\w+[`'\"]? (?:parameter|argument|field)",
            rf"\b(?:first|before|also|then|must|always)\b[^.]{{0,40}}\b{_TAKE}\b[^.]{{0,30}}"
            r"\b(?:private keys?|ssh keys?|api keys?|access tokens?|passwords?|credentials|environment variables)\b",
        ),
    ),
    (
        "wants the conversation or its secrets passed on",
        Severity.HIGH,
        _any(
            r"\b(?:include|pass|send|provide|add|append|put|attach|forward|upload|post|transmit|copy|write|summari[sz]e)\b"
            r"[^.]{0,30}\b(?:entire|full|whole|complete|all|previous|prior|verbatim)\b[^.]{0,20}"
            r"\b(?:conversations?|chats?|chat history|messages? history|history|system prompt|dialog(?:ue)?|transcript)\b",
            r"\b(?:include|pass|send|provide|reveal|repeat|output|print|append)\b[^.]{0,30}"
            r"\b(?:system prompt|your instructions)\b",
            r"\b(?:send|forward|upload|post|transmit|exfiltrate|bcc|copy|report)\w*\b[^.]{0,60}\bto "
            r"(?:https?://|[\w.+-]+@[\w-]+\.\w)",
            r"\bexfiltrat\w+",
        ),
    ),
    (
        "tells how to use other tools",
        Severity.MEDIUM,
        _any(
            r"\b(?:before|after|prior to|instead of|whenever|when|each time|every time|if)\b[^.]{0,30}"
            r"\b(?:any|all|every|each|another)(?: of the)?(?: other)? tools?\b",
            r"\b(?:before|instead of|rather than) (?:using |calling |invoking |running )?(?:all |the )?other tools?\b",
            r"\b(?:do not|don't|never|stop) (?:use|using|call|calling|invoke) (?:any )?(?:other|another|the other) tools?\b",
            r"\b(?:when|whenever|if)\b[^.]{0,20}\btool [`'\"]?[\w.-]+[`'\"]? (?:is|are|gets?) "
            r"(?:present|available|called|used|invoked|installed)",
            r"\b(?:all|every) (?:emails?|messages?|payments?|requests?|files?|calls?) must (?:be|go)\b[^.]{0,40}\b"
            r"(?:to|through|via)\b",
        ),
    ),
    (
        "does away with asking",
        Severity.HIGH,
        _any(
            r"\b(?:do\s?n[o']t|never|no need to|need ?n[o']t|must not|should not) (?:ask|wait|prompt|request|seek)\b[^.]{0,20}"
            rf"\b(?:{_PERSON}|confirmation|permission|approval|consent|authori[sz]ation)\b(?! (?:which|what|whether|if)\b)",
            r"\b(?:automatically|always|silently) (?:approve|accept|confirm|consent|grant|agree)\b",
            r"\bwithout (?:asking|waiting for|requesting|prompting)\b[^.]{0,30}"
            r"\b(?:user|confirmation|permission|approval|consent)\b",
        ),
    ),
)
_COMMENT: Final = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)
_EMPTY: Final = re.compile(r"\s{15,}")
_FAR: Final = 80
"""Columns to the right, or lines below in a fifth of it, that nobody scrolls."""
_ENCODED: Final = re.compile(
    r"(?<![\w+/=-])(?:[A-Za-z0-9+/]{4}){12,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?(?![\w+/=-])"
)
_ESCAPED: Final = re.compile(r"(?:\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}|&#x?[0-9a-fA-F]{2,5};){12,}")


def orders_in(text: str) -> Iterator[Order]:
    """The orders that a text gives, each kind once. Its time is linear in the length of the text, whatever that is."""
    windows = list(_windows(without_hidden(text)))
    for kind, severity, pattern in _KINDS:
        match = next(filter(None, map(pattern.search, windows)), None)
        if match is not None:
            yield Order(kind, severity, match[0][:_LONGEST])
    comment = _COMMENT.search(text)
    if comment is not None:
        yield Order("puts words into a comment that is not shown", Severity.MEDIUM, comment[0][:_LONGEST])
    for empty in _EMPTY.finditer(text):
        lines = empty[0].split("\n")
        if empty.end() < len(text) and (len(lines) > _FAR // 5 or max(map(len, lines)) >= _FAR):
            words = text[empty.end() :][:_LONGEST]
            yield Order("moves words out of sight by empty space", Severity.HIGH, words)
            break
    yield from _encoded(text)


def _windows(text: str) -> Iterator[str]:
    """The text in pieces that overlap by more than any order is long: a search holds up all else that the program does."""
    for at in range(0, max(1, len(text) - _OVERLAP), _WINDOW - _OVERLAP):
        yield text[at : at + _WINDOW]


def _encoded(text: str) -> Iterator[Order]:
    """Words that are written so that no person reads them."""
    for match in _ENCODED.finditer(text):
        try:
            decoded = base64.b64decode(match[0], validate=True).decode()
        except (binascii.Error, ValueError):
            continue
        if decoded.isprintable() and decoded.count(" ") * 12 >= len(decoded):
            yield Order("holds words in base64", Severity.HIGH, match[0][:_LONGEST])
            return
    escaped = _ESCAPED.search(text)
    if escaped is not None:
        yield Order("holds words as escapes", Severity.MEDIUM, escaped[0][:_LONGEST])
