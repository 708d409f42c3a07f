"""What a tool can do, read off its name, its description and its parameters: words, and therefore a judgement, no proof."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

from autocoder_components.assessments.deep.definitions import Tool
from autocoder_components.assessments.model import Severity
from autocoder_components.assessments.rules.authority import CHANGES, CODE, DELETES, READ_VERBS, SENDS, danger_of, snake

_READ_AT: Final = 600
"""Characters of a description that say what a tool is for; what follows are examples and exceptions."""
_DESTROY: Final = r"delet|remov|drop|destroy|eras|wip|purg|truncat|overwrit|uninstall|terminat|revok"
_CHANGE: Final = (
    rf"{_DESTROY}|creat|writ|updat|modif(?:y|i)|send|post|publish|upload|transfer|execut|install|deploy|insert|renam|mov|edit"
    r"|add|replac|set|submit|cancel|kill|run|append|commit|push|merg|pay|assign|archiv"
)
_LEAD: Final = (
    r"^\W*(?:use this (?:tool )?(?:to|for|when you want to)|this (?:tool|function) (?:can |will |is used to |lets you )?"
    r"|tool to|allows? (?:you|users) to|can|used to|permanently|safely|immediately)?\W*(?:permanently |immediately |safely )?"
)
_ENDING: Final = r"(?:e|es|s|y|ies|ing|ping|ting|ning|t)?\b"
_DESTROYS: Final = re.compile(rf"{_LEAD}(?:{_DESTROY}){_ENDING}", re.IGNORECASE)
_CHANGES_SOMETHING: Final = re.compile(rf"{_LEAD}(?:{_CHANGE}){_ENDING}", re.IGNORECASE)
_ONLY_MAKES_A_VIEW: Final = re.compile(
    r"^\W*(?:\w+\W+){0,5}?(?:creat|run|execut|writ|add|set|submit|insert)\w*\W+(?:\w+\W+){0,4}?(?:query|queries|search|report|summary|preview|diagram|chart|list|view|analysis|plan|dry.?run|url"
    r"|link|select)\b",
    re.IGNORECASE,
)
_CHANGING_NAME: Final = re.compile(
    r"^(?:add|append|create|edit|insert|modify|move|patch|publish|put|rename|replace|save|send|submit|transfer|update|upload"
    r"|upsert|write|pay|buy|assign|archive|grant|revoke|install|deploy|commit|push|merge|approve|invite)(?:_|$)"
)
_READING_NAME: Final = re.compile(rf"^(?:{READ_VERBS}|is|has|can|preview|validate|dry)(?:_|$)")
_OUTSIDE: Final = re.compile(
    r"\b(?:web(?:sites?|pages?)?|internet|https?|urls?|e-?mails?|slack|discord|twitter|tweets?|browser?|crawl\w*|scrap(?:e|es|ing)"
    r"|rss|webhooks?)\b",
    re.IGNORECASE,
)
_REPEATED: Final = re.compile(
    r"^(?:send|post|append|pay|transfer|buy|order|increment|tweet|email|charge|refund)(?:_|$)"
)

_READS: Final = (
    rf"\b(?:{READ_VERBS}|open|load|retriev|access|download|export|dump|quer|select|captur|screenshot|return)\w*"
)
_PRIVATE: Final = re.compile(
    r"\b(?:files?|file.?systems?|director(?:y|ies)|folders?|disk|documents?|notes?|e-?mails?|mailbox|inbox|messages?|chats?"
    r"|conversations?|dms?|calendars?|contacts?|address book|databases?|tables?|sql|records?|customers?|users?|accounts?"
    r"|payments?|invoices?|orders?|secrets?|credentials?|passwords?|keychain|vault|tokens?|clipboard|screen(?:shot)?s?|cookies"
    r"|history|environment variables|(?:private )?repositor(?:y|ies)|source code|drive|wiki|memory|memories|photos?|health)\b",
    re.IGNORECASE,
)
_READS_SOMETHING: Final = re.compile(_READS, re.IGNORECASE)
_STRANGERS: Final = re.compile(
    r"\b(?:web ?(?:sites?|pages?)?|internet|urls?|https?|rss|feeds?|news|articles?|search (?:engine|results)|google|bing"
    r"|e-?mails?|inbox|mailbox|messages?|comments?|issues?|pull requests?|reviews?|tickets?|tweets?|posts?|forums?|reddit"
    r"|chats?|invitations?|attachments?|transcripts?|stack ?overflow|wikipedia|downloads?)\b",
    re.IGNORECASE,
)
_SENDS: Final = re.compile(
    r"\b(?:send|sends|sending|posts? (?:to|a|an|the)|publish\w*|upload\w*|e-?mails? (?:to|a)|repl(?:y|ies)|tweet|forward\w*"
    r"|webhooks?|http requests?|(?:make|makes|perform|performs) (?:a |an )?(?:http|web|api) \w+|share|shares|push(?:es)? to"
    r"|notif(?:y|ies)|invite)\b",
    re.IGNORECASE,
)
_SENDING_NAME: Final = re.compile(
    r"(?:^|_)(?:send|post|publish|upload|reply|tweet|share|forward|email|notify|webhook|invite)(?=_|$)"
    r"|(?:create|add|update|open|submit)_(?:\w+_)?(?:issue|pull_request|comment|gist|message|event|page|ticket|review)s?$"
)
_ADDRESS: Final = frozenset({"url", "uri", "href", "link", "endpoint", "webhook", "website"})


class Power(StrEnum):
    """What an injected instruction looks for. Running code is every way to read and to send."""

    PRIVATE = auto()
    STRANGERS = auto()
    SENDS = auto()
    CODE = auto()


@dataclass(frozen=True, slots=True)
class Lie:
    """An annotation that says less than the tool does, and what speaks against it."""

    hint: str
    severity: Severity
    against: str


def lies_of(tool: Tool) -> Iterator[Lie]:
    """The annotations of a tool that its own name or description contradicts."""
    hints, name = tool.hints, snake(tool.name)
    destroys = _destroys(tool)
    if hints.read_only and (changes := destroys or _changes(tool)):
        yield Lie("readOnlyHint: true", Severity.HIGH, changes)
    elif hints.destructive is False and destroys:
        yield Lie("destructiveHint: false", Severity.MEDIUM, destroys)
    if hints.read_only and hints.destructive:
        yield Lie("readOnlyHint: true", Severity.LOW, "it says destructiveHint: true as well")
    if hints.open_world is False and (_OUTSIDE.search(tool.description[:_READ_AT]) or _takes_address(tool)):
        yield Lie("openWorldHint: false", Severity.LOW, "its description or a parameter speaks of the world outside")
    if hints.idempotent and _REPEATED.search(name):
        yield Lie("idempotentHint: true", Severity.LOW, "by its name each call does it once more")


def _destroys(tool: Tool) -> str | None:
    if danger_of(tool.name) == DELETES and not _READING_NAME.search(snake(tool.name)):
        return "by its name it deletes or overwrites"
    return "by its description it deletes or overwrites" if _DESTROYS.search(tool.description) else None


def _changes(tool: Tool) -> str | None:
    name = snake(tool.name)
    if not _READING_NAME.search(name):
        danger = danger_of(tool.name)
        if danger in {SENDS, CHANGES} and _CHANGING_NAME.search(name):
            return f"by its name it does more: {danger}"
        if danger == CODE and not re.search(rf"{READ_VERBS}|select|report|test|lint", name):
            return f"by its name it does more: {danger}"
        if _CHANGING_NAME.search(name):
            return "by its name it changes something"
    description = tool.description[:_READ_AT]
    if _CHANGES_SOMETHING.search(description) and not _ONLY_MAKES_A_VIEW.search(description):
        return "by its description it changes or sends something"
    return None


def powers_of(tool: Tool) -> frozenset[Power]:
    """What the tool can be used for."""
    name = snake(tool.name)
    said = f"{name.replace('_', ' ')}. {tool.description[:_READ_AT]}"
    found: set[Power] = set()
    if danger_of(tool.name) == CODE:
        found |= {Power.CODE, Power.PRIVATE, Power.SENDS}
    reads = _READS_SOMETHING.search(said) is not None
    if reads and _PRIVATE.search(said):
        found.add(Power.PRIVATE)
    if _takes_address(tool):
        found |= {Power.STRANGERS, Power.SENDS}  # what is asked for can carry something out
    if reads and _STRANGERS.search(said):
        found.add(Power.STRANGERS)
    if _SENDING_NAME.search(name) or _SENDS.search(said):
        found.add(Power.SENDS)
    return frozenset(found)


def _takes_address(tool: Tool) -> bool:
    return any(snake(each).split("_")[-1].removesuffix("s") in _ADDRESS for each in tool.parameters)


@dataclass(frozen=True, slots=True)
class Combination:
    """Tools that together can carry private data out, by what each is needed for."""

    private: str
    strangers: str
    sends: str


def means_of(tools: Sequence[Tool]) -> dict[Power, str]:
    """For each power that gets dangerous together with others a tool that has it: the one that is about nothing else."""
    powers = [(tool.name, powers_of(tool)) for tool in tools]
    means: dict[Power, str] = {}
    for wanted in (Power.PRIVATE, Power.STRANGERS, Power.SENDS):
        having = sorted((len(each), at) for at, (_, each) in enumerate(powers) if wanted in each)
        if having:
            means[wanted] = powers[having[0][1]][0]
    return means


def combination_of(tools: Sequence[Tool]) -> Combination | None:
    """A way out that the tools of one server make together; None where one of the three powers is missing.

    One tool alone may have all three: a shell, or a client of mail.
    """
    means = means_of(tools)
    if len(means) < 3:
        return None
    return Combination(means[Power.PRIVATE], means[Power.STRANGERS], means[Power.SENDS])
