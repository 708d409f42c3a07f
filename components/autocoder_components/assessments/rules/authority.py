"""Rules on what a server may do unasked: approvals given in advance, privileged identities, words hidden from people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from autocoder_components.assessments.document import Kind, Node
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.rules.base import FileContext, ServerContext, Theme, found, quote
from autocoder_components.assessments.secrets import WORD_END

AUTO_APPROVE = RuleInfo(
    "AC-701",
    "AutoApprove",
    "Tools run without being asked for",
    Severity.LOW,
    "MCP02:2025",
    "The client runs these tools whenever the model says so. Text that the model reads can make it say so.",
    "Approve in advance only what reads, and reads nothing confidential",
)
AUTO_APPROVE_DANGEROUS = RuleInfo(
    "AC-702",
    "DangerousAutoApprove",
    "Tools that change or run things are approved in advance",
    Severity.HIGH,
    "MCP02:2025",
    "A tool that runs code, changes data or drives the desktop does so without a person, whenever text that the model "
    "reads makes it want to.",
    "Remove these tools from the list, so that the client asks each time",
)
PRIVILEGED_PROFILE = RuleInfo(
    "AC-703",
    "PrivilegedIdentity",
    "The server works under an administrator's identity",
    Severity.MEDIUM,
    "MCP02:2025",
    "What the model asks for is done with an administrator's rights.",
    "Give the server an identity of its own with the rights that its tools need",
)
READ_ONLY_OFF = RuleInfo(
    "AC-704",
    "ReadOnlyOff",
    "A read-only mode is named and not switched on",
    Severity.LOW,
    "MCP02:2025",
    "The server can be limited to reading, and the variable or option for it is empty or false.",
    "Switch the read-only mode on, unless the server has to change things",
)
HIDDEN_TEXT = RuleInfo(
    "AC-705",
    "HiddenText",
    "Characters that nobody sees",
    Severity.HIGH,
    "MCP06:2025",
    "Invisible and direction-changing characters show a reviewer something other than what the program reads.",
    "Delete the characters, and find out how they came there",
)
INSTRUCTIONS = RuleInfo(
    "AC-706",
    "EmbeddedInstructions",
    "A description that instructs the model",
    Severity.HIGH,
    "MCP03:2025",
    "Descriptions are read by the model as well. One that tells it to hide, ignore or send something is an attack.",
    "Remove the server until its origin is clear",
)

# One finding per class and list: a list of forty approved tools is one decision, not forty.
EVERY, CODE, DELETES, POINTER, CHANGES, SENDS = (
    "every tool",
    "running code or commands",
    "deleting or overwriting",
    "acting on the desktop or in a browser",
    "changing data or files",
    "sending or paying",
)
# Driving the desktop is asked before changing data: `move` and `type` are the pointer's and the keyboard's there.
DANGERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        (
            CODE,
            r"(?:^|_)(?:execute|exec|eval|evaluate|bash|shell|terminal|powershell|repl|sudo)(?=_|$)"
            r"|(?:^|_)(?:run|spawn|invoke|start|use|launch)_(?:\w{1,40}_)?(?:command|code|script|shell|python|sql|query|process"
            r"|bash|cmd|terminal|js|javascript|notebook|cell|program|cli)s?(?=_|$)|(?:^|_)commands?$|^run(?:_in_\w+)?$",
        ),
        (
            DELETES,
            r"(?:^|_)(?:delete|remove|drop|destroy|purge|truncate|wipe|kill|terminate|uninstall|reset|revert|rollback"
            r"|overwrite)(?=_|$)",
        ),
        (
            POINTER,
            r"^(?:type|click|app|drag|move|scroll|key|keys|press|shortcut|clipboard|keyboard|mouse)$"
            r"|(?:^|_)(?:click|keypress|press|drag|swipe|launch|fill|keyboard|mouse)(?=_|$)"
            r"|(?:press|type|send)_(?:keys?|text|input|control|character)",
        ),
        (
            CHANGES,
            r"(?:^|_)(?:create|commit|checkout|rebase|stash|write|edit|move|rename|apply|migrate|migration|update|insert"
            r"|upsert|replace|patch|merge|push|deploy|publish|install|upload)(?=_|$)|^git_(?:add|branch|tag)$",
        ),
        (
            SENDS,
            r"(?:^|_)(?:send|post|email|mail|messages?|reply|tweet|pay|payment|transfer|purchase|buy|order|trade"
            r"|transaction)(?=_|$)",
        ),
    )
)
READ_VERBS = (
    r"get|list|read|search|find|show|describe|view|fetch|query|check|analy[sz]e|count|resolve|lookup|browse|poll|wait"
)
HARMLESS = re.compile(
    rf"^(?:status|info|{READ_VERBS})(?:_|$)|^[a-z0-9]+(?:_[a-z0-9]+){{0,3}}_(?:{READ_VERBS})_"
    r"|_(?:status|info|list|history|logs?|results?)$"
)
APPROVES_ALL = frozenset({"chat.tools.autoApprove", "chat.tools.global.autoApprove"})
PRIVILEGED_NAMES = re.compile(
    r"(?i)^(?:.*[-_./])?(?:root|admin|administrator|superuser|super[-_]?admin|org[-_]?admin|full[-_]?access|poweruser"
    r"|cluster[-_]?admin|sysadmin|sa|domain[-_]?admin)(?:[-_./].*)?$"
)
PROFILE_NAME = re.compile(r"(?i)(?:^|_)(?:profile|role|role_arn|context|iam_role|service_account|run_as)$")
USER_NAME = re.compile(r"(?i)(?:^|_)(?:user|username|login|uid)$")
PRIVILEGED_USERS = re.compile(r"(?i)^(?:root|sa|admin|administrator|postgres|sysdba|system|superuser)$")
READ_ONLY = re.compile(r"(?i)(?:^|[_-])read[_-]?only(?:[_-]mode)?$")
WRITE_ON = re.compile(
    r"(?i)(?:^|_)(?:allow|enable|with)_?(?:all_?)?(?:write|writes|dangerous|destructive|insert_operation"
    r"|update_operation|delete_operation|ddl\w*|admin)(?:_|$)"
)
INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\u00ad\U000e0000-\U000e007f]")
ORDERS = re.compile(
    r"(?i)<\s*(?:important|system|secret|instructions?)\s*>"
    r"|ignore (?:all |any )?(?:previous|prior|other|above) (?:instructions|prompts|rules)"
    r"|do(?:es)? not (?:tell|mention|inform|reveal|show)[^.]{0,40}\buser|without (?:telling|informing|asking) the user"
    r"|never (?:tell|mention)[^.]{0,30}\buser|before (?:using|calling) (?:this|any) tool[^.]{0,60}(?:read|send|include)"
    r"|(?:read|send|include|append)[^.]{0,60}(?:\.ssh|id_rsa|\.env\b|credentials|password)"
)


def snake(name: str) -> str:
    """A tool's name in lower case with `_` between its words, however it is written."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"[\s./:-]+", "_", text).lower()


def danger_of(tool: str) -> str | None:
    """What a tool of that name may do to the machine or to data; None when the name speaks of reading only."""
    if tool.strip() == "*":
        return EVERY
    name = snake(tool)
    if HARMLESS.search(name):
        return None
    return next((what for what, pattern in DANGERS if pattern.search(name)), None)


def approvals(context: ServerContext) -> Iterator[Finding]:
    """Lists of tools that run unasked, and switches that approve everything."""
    for key, node in context.server.approvals:
        if node.scalar is True or node.text == "*":
            message = f"{quote(key)} approves every tool of the server"
            yield found(context, AUTO_APPROVE_DANGEROUS, node, message)
        elif node.kind is Kind.ARRAY and node.items:
            yield from _approved(context, node)
    tools = context.server.node.get("tools")
    approved = [(tools.get(name)) for name in ("always_allow", "auto_approve")] if tools is not None else []
    for extra in approved:
        if extra is not None and extra.kind is Kind.ARRAY and extra.items:
            yield from _approved(context, extra)


def approvals_of_all(context: FileContext) -> Iterator[Finding]:
    """A switch of the client that approves every tool of every server."""
    root = context.document.root
    for key, node in root.members if root is not None and context.dialect.id == "vscode-settings" else ():
        if key.text in APPROVES_ALL and node.scalar is True:
            message = f"{quote(key)} approves every tool of every server"
            yield found(context, AUTO_APPROVE_DANGEROUS, node, message)


def _approved(context: ServerContext, node: Node) -> Iterator[Finding]:
    names = [item.text for item in node.items if item.text is not None]
    worst: dict[str, list[Node]] = {}
    for item in node.items:
        danger = danger_of(item.text) if item.text is not None else None
        if danger is not None:
            worst.setdefault(danger, []).append(item)
    severity = None if worst or len(names) > 10 else Severity.INFO
    shown = ", ".join(quote(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    yield found(
        context, AUTO_APPROVE, node, f"{len(names)} tools run without being asked for: {shown}", severity=severity
    )
    for danger, items in worst.items():
        which = ", ".join(quote(item.text or "") for item in items[:5])
        more = f" and {len(items) - 5} more" if len(items) > 5 else ""
        grave = danger in {EVERY, CODE, DELETES}
        severity = None if grave else Severity.MEDIUM
        message = f"Approved in advance, {danger}: {which}{more}"
        yield found(
            context,
            AUTO_APPROVE_DANGEROUS,
            items[0],
            message,
            severity=severity,
            distinct=danger,
            judged=WORD_END.join(item.text or "" for item in items),
        )


def identities(context: ServerContext) -> Iterator[Finding]:
    """Administrators' profiles and roles, and the all-powerful accounts of databases."""
    for key, value in context.server.env:
        text = value.text or ""
        if PROFILE_NAME.search(key.text) and PRIVILEGED_NAMES.match(text):
            yield found(context, PRIVILEGED_PROFILE, value, f"{quote(key)} is {quote(text)}", judged=text)
        elif USER_NAME.search(key.text) and PRIVILEGED_USERS.match(text):
            message = f"{quote(key)} is {quote(text)}"
            yield found(context, PRIVILEGED_PROFILE, value, message, severity=Severity.LOW, judged=text)
    flag = ""
    for node in context.server.argv:
        text = node.text or ""
        name, equals, value_text = text.partition("=")
        name, value_text = (name, value_text) if equals else (flag, text)
        if re.match(r"^--(?:aws-)?(?:profile|role|context|kube-context)$", name) and PRIVILEGED_NAMES.match(value_text):
            yield found(context, PRIVILEGED_PROFILE, node, f"{quote(name)} is {quote(value_text)}", judged=value_text)
        flag = text if text.startswith("-") else ""


def read_only(context: ServerContext) -> Iterator[Finding]:
    """A read-only switch that is there and off."""
    for key, value in context.server.env:
        text = str(value.scalar if value.scalar is not None else "").strip().lower()
        if READ_ONLY.search(key.text) and text in {"", "0", "false", "no", "off"}:
            yield found(context, READ_ONLY_OFF, value, f"{quote(key)} is off")
        elif WRITE_ON.search(key.text) and text in {"1", "true", "yes", "on"}:
            yield found(context, READ_ONLY_OFF, value, f"{quote(key)} allows changes", severity=Severity.INFO)
    for node in context.server.argv:
        if re.match(r"(?i)^--read-?only=(?:false|0|no)$", node.text or ""):
            yield found(context, READ_ONLY_OFF, node, "The read-only mode is switched off")


def hidden_text(context: FileContext) -> Iterator[Finding]:
    """Invisible characters in any string or key of the servers, and descriptions that give orders."""
    for server in context.servers:
        for node in server.node.walk():
            keys = " ".join(key.text for key, _ in node.members)
            match = INVISIBLE.search(node.text or "") or INVISIBLE.search(keys)
            if match is not None and not _joins_emoji(match):
                name = unicodedata.name(match.group(), f"U+{ord(match.group()):04X}")
                yield found(context, HIDDEN_TEXT, node, f"An invisible character ({name}) in {quote(server.key)}")
            if node.pointer.endswith(("/description", "/instructions", "/prompt")) and ORDERS.search(node.text or ""):
                yield found(
                    context, INSTRUCTIONS, node, "The description gives orders to the model", judged=node.text or ""
                )


def _joins_emoji(match: re.Match[str]) -> bool:
    """Whether the character is the joiner inside an emoji or of a script that needs it."""
    before = match.string[: match.start()][-1:]
    return match.group() in "\u200d\u200c" and bool(before) and ord(before) > 0x2FF


THEME = Theme(
    (AUTO_APPROVE, AUTO_APPROVE_DANGEROUS, PRIVILEGED_PROFILE, READ_ONLY_OFF, HIDDEN_TEXT, INSTRUCTIONS),
    file_rules=(approvals_of_all, hidden_text),
    server_rules=(approvals, identities, read_only),
)
