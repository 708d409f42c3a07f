"""Rules on credentials and personal data. Findings carry the place, the shape and a keyed hash, never the value."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autocoder_components.assessments.clients import INPUT
from autocoder_components.assessments.credential_shapes import ASSIGNMENT, PUBLIC_KEY, UUID
from autocoder_components.assessments.document import Node
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.rules.base import (
    FileContext,
    ServerContext,
    Theme,
    conceivable,
    found,
    quote,
    start_of,
)
from autocoder_components.assessments.secrets import (
    Secret,
    evidence,
    find_secrets,
    is_placeholder,
    is_reference,
    is_secret_name,
    jwt_claims,
    merged,
    secrets_of_words,
    url_path_secrets,
)

LITERAL_SECRET = RuleInfo(
    "AC-301",
    "LiteralSecret",
    "A credential written into the configuration",
    Severity.HIGH,
    "MCP01:2025",
    "Whoever reads the file, its backups or its history has the credential. It stands for as long as nobody revokes it.",
    "Revoke the credential, and refer to a variable, an input of the client or a secret store instead",
)
SECRET_IN_ARGV = RuleInfo(
    "AC-302",
    "SecretInArguments",
    "A credential on the command line",
    Severity.MEDIUM,
    "MCP01:2025",
    "Every process of the machine can read the command lines of the others; they also end in logs and crash reports.",
    "Pass the credential in an environment variable or a file that only the server's user can read",
)
JWT_NO_EXPIRY = RuleInfo(
    "AC-303",
    "TokenWithoutExpiry",
    "A token that never expires",
    Severity.MEDIUM,
    "MCP01:2025",
    "A JSON Web Token without `exp` is good until its signing key changes. One leak is enough, for ever.",
    "Issue tokens with a short life, and refresh them",
)
PERSONAL_DATA = RuleInfo(
    "AC-304",
    "PersonalData",
    "A person's e-mail address",
    Severity.LOW,
    "MCP10:2025",
    "The address goes wherever the file and the server go, and names whom to phish.",
    "Use a role address, or refer to a variable",
)
NO_INPUT = RuleInfo(
    "AC-305",
    "NoInputVariable",
    "The client could ask for this credential",
    Severity.LOW,
    "MCP01:2025",
    "The client keeps what it asks for with `inputs` in the system's secret store and out of the file.",
    "Define an input with password: true and refer to it as ${input:id}",
)
WRONG_CREDENTIAL = RuleInfo(
    "AC-306",
    "WrongCredential",
    "A public key where a credential is expected",
    Severity.LOW,
    None,
    "A public key cannot sign in to a service. The server fails, and its owner may have pasted the private half elsewhere.",
    "Write a reference to the token that the service issued",
)
READABLE_FILE = RuleInfo(
    "AC-307",
    "FilePermissions",
    "Other users can read or change the file",
    Severity.MEDIUM,
    "MCP01:2025",
    "Whoever can change the file decides what runs with its owner's rights; whoever can read it has its credentials.",
    "Remove the rights of others: chmod go-rwx on the file",
)

EMAIL = re.compile(r"(?<![\w.+%/:@-])([A-Za-z0-9._%+-]+)@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24})(?![\w/:@.-])")
ROLES = re.compile(
    r"(?i)^(?:your?[\W_]?\w*|users?|username|name|me|e-?mail|example|test\w*|admin\w*|info|support|no-?reply|git|bot|root|"
    r"someone|somebody|foo|bar|john[._]?doe|jane[._]?doe|contact|hello|team|security|sales|office|help|service|service-account\w*|"
    r"first[._]?name|my[\W_]?\w*|notifications?|postmaster|webmaster)$"
)
SERVICE_DOMAIN = re.compile(r"(?i)(?:gserviceaccount\.com|users\.noreply\.github\.com|\.local|\.internal)$")
SHORTEST = 6
SECRET_FLAG = re.compile(r"^--?([A-Za-z][\w.-]*)$")
# Of what these flags introduce, many are as random as a key and none is one.
IDENTIFIER = re.compile(
    r"(?i)(?:^|[-_.])(?:commit|sha\d*|rev|revision|ref|digest|checksum|hash|uuid|guid|id|tag|branch|version|fingerprint)$"
)
CARRIER_FLAG = re.compile(
    r"(?i)^--?(?:config|header|headers|env|e|h|data|params?|connection(?:-?string)?|dsn|uri|url|database-?url|set)$"
)


@dataclass(frozen=True, slots=True)
class Spot:
    """A string of the server, the name it stands under, and the flag before it when it is an argument."""

    node: Node
    text: str
    name: str | None
    flag: Node | None = None
    in_argv: bool = False


def spots(context: ServerContext) -> Iterator[Spot]:
    """Every string of the server where a credential can stand."""
    server = context.server
    for key, value in (*server.env, *server.headers):
        if value.text:
            yield Spot(value, value.text, key.text)
    flag: Node | None = None
    for node in server.argv:
        text = node.text or ""
        name = SECRET_FLAG.match(flag.text or "") if flag is not None else None
        # A UUID names something; it is a key only where the flag before it says so.
        names = IDENTIFIER.search(name[1]) or UUID.fullmatch(text) if name is not None else None
        tells = name is not None and (is_secret_name(name[1]) or names)
        yield Spot(node, text, name[1] if name and tells else None, flag, in_argv=True)
        flag = node if SECRET_FLAG.match(text) else None
    if server.url is not None and server.url.text:
        yield Spot(server.url, server.url.text, None)
    known = {id(value) for _, value in (*server.env, *server.headers)} | {id(node) for node in server.argv}
    for node in server.node.walk():  # credentials under keys that the dialect does not know
        if node.text and id(node) not in known and node is not server.url:
            under = node.pointer.rsplit("/", 1)[-1]
            if find_secrets(node.text, under):
                yield Spot(node, node.text, under)


def spots_with_secrets(context: ServerContext) -> Iterator[tuple[Spot, tuple[Secret, ...]]]:
    """Every such string with the credentials in it; of an argument also those that the arguments before it give away."""
    argv = context.server.argv
    by_words = secrets_of_words([node.text or "" for node in argv])
    of_node = {id(argv[index]): secrets for index, secrets in by_words.items()}
    for spot in spots(context):
        secrets = merged(spot.text, find_secrets(spot.text, spot.name), of_node.get(id(spot.node), ()))
        if not secrets and spot.node is context.server.url:
            secrets = url_path_secrets(spot.text)
        yield spot, secrets
    for script in context.launch.scripts:
        if script.encoded and (secrets := find_secrets(script.text.text)):
            yield Spot(script.text.node, script.text.text, None, in_argv=True), secrets


def values(context: ServerContext) -> frozenset[str]:
    """The credentials of the server in every form that a message could quote; short ones would take words out of it."""
    return frozenset(
        form
        for spot, secrets in spots_with_secrets(context)
        for secret in secrets
        if secret.end - secret.start >= SHORTEST
        for form in conceivable(spot.text[secret.start : secret.end])
    )


def literal_secrets(context: ServerContext) -> Iterator[Finding]:
    """Credentials, credentials on command lines, tokens without an end, and what the client would rather ask for."""
    asks = context.dialect.expands is not None and INPUT in context.dialect.expands
    for spot, secrets in spots_with_secrets(context):
        for number, secret in enumerate(secrets):
            yield _secret(context, spot, secret, number)
        if spot.in_argv:
            yield from _on_command_line(context, spot, bool(secrets))
        if not secrets:
            continue
        if asks:
            yield found(context, NO_INPUT, spot.node, f"{context.dialect.title} can ask for this and keep it safe")
        claims = jwt_claims(spot.text)
        if claims is not None and "exp" not in claims:
            yield found(context, JWT_NO_EXPIRY, spot.node, "The token has no 'exp' claim")


def _secret(context: ServerContext, spot: Spot, secret: Secret, number: int) -> Finding:
    value = spot.text[secret.start : secret.end]
    where = f" in {quote(spot.name)}" if spot.name else " among the arguments" if spot.in_argv else ""
    severity = None if secret.certain else Severity.MEDIUM
    if re.search(
        r"://[^/@\s]*@(?:localhost|127\.|\[::1\]|host\.docker\.internal|db|postgres|mysql|redis|mongo)(?:[:/?]|$)",
        spot.text,
    ):
        severity = Severity.MEDIUM  # a development database of this machine
    message = f"{secret.what[0].upper()}{secret.what[1:]}{where}"
    shape = evidence(value, context.options.salt)
    return found(context, LITERAL_SECRET, spot.node, message, severity=severity, evidence=shape, distinct=str(number))


def _on_command_line(context: ServerContext, spot: Spot, is_secret: bool) -> Iterator[Finding]:
    """A credential among the arguments: reported at the flag that introduces it, else at the argument."""
    flag = spot.flag.text or "" if spot.flag is not None else ""
    by_flag = spot.flag is not None and (spot.name is not None or CARRIER_FLAG.match(flag))
    if spot.flag is not None and flag in {"-e", "--env", "-y"}:
        by_flag = False  # docker's -e is the carrier of the assignment, which itself has the name
    where = spot.flag if by_flag and spot.flag is not None else spot.node
    if is_secret:
        yield found(context, SECRET_IN_ARGV, where, "A credential is passed as an argument", distinct=spot.node.pointer)
        return
    match = ASSIGNMENT.match(spot.text)
    name, value = (match[1], match[2].strip("\"'")) if match else (spot.name or "", spot.text)
    if not value or not name or not is_secret_name(name):
        return
    if is_reference(value):
        message = f"The value of {quote(name)} ends on the command line once the reference is replaced"
        yield found(context, SECRET_IN_ARGV, where, message, severity=Severity.INFO, distinct=spot.node.pointer)
    elif is_placeholder(value):
        message = f"{quote(name)} is meant to be written on the command line"
        yield found(context, SECRET_IN_ARGV, where, message, severity=Severity.LOW, distinct=spot.node.pointer)


def wrong_credentials(context: ServerContext) -> Iterator[Finding]:
    """A public key in the place of a token."""
    for spot in spots(context):
        if spot.name and is_secret_name(spot.name) and PUBLIC_KEY.search(spot.text):
            yield found(context, WRONG_CREDENTIAL, spot.node, f"{quote(spot.name)} holds a public key")


def personal_data(context: ServerContext) -> Iterator[Finding]:
    """E-mail addresses of persons."""
    for spot in spots(context):
        for match in EMAIL.finditer(spot.text):
            if ROLES.match(match[1]) or SERVICE_DOMAIN.search(match[2]) or is_reference(match.group()):
                continue
            where = f" in {quote(spot.name)}" if spot.name else ""
            yield found(context, PERSONAL_DATA, spot.node, f"A person's e-mail address{where}")
            break


def permissions(context: FileContext) -> Iterator[Finding]:
    """A file that others can change, or read although it holds credentials or is one user's own."""
    if not context.options.check_files or not context.target.path:
        return
    try:
        mode = Path(context.target.path).stat().st_mode
    except OSError:
        return
    where = start_of(context)
    if mode & stat.S_IWOTH:
        message = "Every user of the machine can change this file"
        yield found(context, READABLE_FILE, where, message, severity=Severity.HIGH, distinct="write")
        return
    if not mode & stat.S_IROTH:
        return
    holds = any(
        node.text and find_secrets(node.text, node.pointer.rsplit("/", 1)[-1])
        for server in context.servers
        for node in server.node.walk()
    )
    if holds:
        yield found(
            context, READABLE_FILE, where, "Every user of the machine can read its credentials", distinct="read"
        )
    elif context.target.scope == "user":
        message = "Every user of the machine can read this file"
        yield found(context, READABLE_FILE, where, message, severity=Severity.INFO, distinct="read")


THEME = Theme(
    (LITERAL_SECRET, SECRET_IN_ARGV, JWT_NO_EXPIRY, PERSONAL_DATA, NO_INPUT, WRONG_CREDENTIAL, READABLE_FILE),
    file_rules=(permissions,),
    server_rules=(literal_secrets, wrong_credentials, personal_data),
)
