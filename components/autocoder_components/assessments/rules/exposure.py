"""Rules on what a server can reach and who can reach it: folders, hosts, transport security."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autocoder_components.assessments.document import Node
from autocoder_components.assessments.launch_parts import mounted, program_name
from autocoder_components.assessments.lines import commands
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.paths import HERE, breadth
from autocoder_components.assessments.rules.base import ServerContext, Theme, found, quote
from autocoder_components.assessments.secrets import find_secrets, is_secret_name, url_path_secrets

FS_BROAD = RuleInfo(
    "AC-521",
    "BroadFolder",
    "A file server is given more than a project",
    Severity.MEDIUM,
    "MCP02:2025",
    "Everything in the folder, whatever is put there later included, is the model's to read, and mostly to change.",
    "Give the one project folder that the server works on",
)
FS_HOME = RuleInfo(
    "AC-522",
    "HomeFolder",
    "A file server is given the whole home folder",
    Severity.HIGH,
    "MCP02:2025",
    "The home folder holds keys, tokens, browser profiles and shell profiles: to read it is to have the accounts, to "
    "write it is to run code.",
    "Give the one project folder that the server works on",
)
FS_ROOT = RuleInfo(
    "AC-523",
    "WholeDisk",
    "A file server is given the whole disk",
    Severity.CRITICAL,
    "MCP02:2025",
    "Everything the user can read or change is the model's to read or change.",
    "Give the one project folder that the server works on",
)
PLAIN_HTTP = RuleInfo(
    "AC-601",
    "PlainHttp",
    "Unencrypted HTTP to another machine",
    Severity.MEDIUM,
    "MCP07:2025",
    "Whoever is on the way reads the credentials and the content, and can answer in the server's place.",
    "Use https, or a server on this machine",
)
TLS_DISABLED = RuleInfo(
    "AC-602",
    "TlsVerificationOff",
    "Certificates are not checked",
    Severity.HIGH,
    "MCP07:2025",
    "Without the check any machine on the way can pose as the server.",
    "Check certificates; add the private authority's certificate where there is one",
)
LISTENS_EVERYWHERE = RuleInfo(
    "AC-603",
    "ListensEverywhere",
    "The server listens on every network",
    Severity.MEDIUM,
    "MCP07:2025",
    "Whoever is in the same network can use the server, mostly without any credential.",
    "Listen on 127.0.0.1",
)
TUNNEL = RuleInfo(
    "AC-604",
    "TunnelHost",
    "The server is behind a personal tunnel",
    Severity.MEDIUM,
    "MCP09:2025",
    "A tunnel publishes one developer's machine on the internet. When it closes the name may become another's, who then "
    "gets what is sent there.",
    "Run the server on a host of your own",
)
PRIVATE_SERVICE = RuleInfo(
    "AC-605",
    "PrivateNetworkService",
    "A service at a private address",
    Severity.LOW,
    "MCP02:2025",
    "The address means another machine in another network, and shows how this one is built. Through the server a model "
    "reaches inside.",
    "Refer to a variable, and let the server reach only what it needs",
)
NO_AUTHENTICATION = RuleInfo(
    "AC-606",
    "NoAuthentication",
    "A remote server without a credential",
    Severity.INFO,
    "MCP07:2025",
    "The configuration names none. Either the client signs in by OAuth, or everyone may use the server.",
    "Check that the server asks for sign-in; configure a credential by reference where it does not",
)
METADATA = RuleInfo(
    "AC-607",
    "MetadataAddress",
    "The address of a cloud's metadata service",
    Severity.HIGH,
    "MCP02:2025",
    "At this address a machine in a cloud gets its own credentials. No tool server lives there.",
    "Remove the address",
)

URL = re.compile(r"\b(https?|wss?)://(\[[0-9A-Fa-f:.]+\]|[^\s/:?#\"'@,]+@)?([^\s/:?#\"',)]*)(?::(\d+))?", re.IGNORECASE)
HOST_PORT = re.compile(r"(?<![\w.])((?:\d{1,3}\.){3}\d{1,3})(?::(\d+))?(?![\w.])")
LOOPBACK = re.compile(
    r"(?i)^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[?::1\]?|host\.docker\.internal|gateway\.docker\.internal|0\.0\.0\.0|)$"
)
NAMESPACES = re.compile(
    r"(?i)^(?:www\.w3\.org|schemas?\..*|json-schema\.org|purl\.org|xmlns\..*|example\.(?:com|org|net))$"
)
TUNNELS = re.compile(
    r"(?i)(?:^|\.)(?:ngrok(?:-free)?\.(?:app|io|dev)|ngrok\.[a-z]+|trycloudflare\.com|devtunnels\.ms|loca\.lt|localhost\.run|lhr\.life"
    r"|lhr\.rocks|serveo\.net|bore\.(?:pub|digital)|pinggy\.(?:io|link|online)|zrok\.io|tunnelmole\.(?:net|com)|localxpose\.io|loclx\.io"
    r"|telebit\.(?:cloud|io)|pagekite\.me|app\.github\.dev|githubpreview\.dev|gitpod\.io|csb\.app|webhook\.site|pipedream\.net"
    r"|packetriot\.net|playit\.gg|portmap\.io|tunnelto\.dev|expose\.dev|sharedwithexpose\.com|asse\.devtunnels\.ms)$"
)
TLS_OFF = re.compile(
    r"(?i)(?:^|[\s;?&\"'{,])(?:trust_?server_?certificate\s*=\s*(?:true|yes|1)|sslmode=(?:disable|allow)|tls_?allow_?invalid_?(?:certificates|hostnames)=true"
    r"|(?:tls_?)?insecure_?(?:skip_?verify)?=(?:true|1|yes)|ssl_?verify=(?:false|0|no)|verify_?ssl=(?:false|0|no)|rejectUnauthorized=(?:false|0)|useSSL=false"
    r"|encrypt=(?:false|no|optional)|ssl=false|verify=false)"
    r"|(?:^|[=\s])--(?:insecure(?:-skip-(?:tls-)?verify)?|insecure-skip-tls-verify|no-verify-ssl|no-check-certificate|no-ssl-verify|no-tls-verify|skip-tls-verify|disable-ssl(?:-verification)?"
    r"|ignore-certificate-errors|ignore-https-errors|allow-insecure[\w-]*|no-verify-certs?|skip-ssl[\w-]*|ssl-no-verify|accept-?insecure-?certs|tls-skip-verify|trust-server-certificate)(?:$|=(?:true|1)|\s)"
)
TLS_ON_FLAG = re.compile(r"(?i)^--(?:verify-ssl|ssl-verify|verify-tls|tls-verify|strict-ssl)=(?:false|0|no)$")
TLS_VARIABLE_OFF = re.compile(
    r"(?i)^(?:NODE_TLS_REJECT_UNAUTHORIZED|PYTHONHTTPSVERIFY|\w{0,60}(?:SSL|TLS|CERT|CERTS|CERTIFICATE|CERTIFICATES)_?VERIFY\w{0,60}|\w{0,60}VERIFY_?(?:SSL|TLS|CERT|CERTS|HTTPS)\w{0,60}"
    r"|\w{0,60}REJECT_?UNAUTHORIZED|NPM_CONFIG_STRICT_SSL|\w{0,60}CHECK_?CERT\w{0,60}|\w{0,60}VALIDATE_?CERT\w{0,60})$"
)
TLS_VARIABLE_ON = re.compile(
    r"(?i)^(?:GIT_SSL_NO_VERIFY|\w{0,60}(?:IGNORE|SKIP|DISABLE|NO)_?(?:SSL|TLS|CERT|CERTIFICATE)\w{0,60}|\w{0,60}(?:TLS|SSL)_?(?:INSECURE|SKIP_VERIFY|NO_VERIFY|SKIP)\w{0,60}|CURL_INSECURE"
    r"|\w{0,60}INSECURE_?(?:SKIP|SSL|TLS|HTTPS)\w{0,60}|\w{0,60}ALLOW_?(?:INSECURE|SELF_?SIGNED|INVALID_CERT)\w{0,60}|\w{0,60}TRUST_?SERVER_?CERTIFICATE)$"
)
BIND_NAME = re.compile(
    r"(?i)(?:^|[_-])(?:host|bind|listen|address|addr|interface|hostname|server[_-]?host)$|^(?:-H|-b)$"
)
SHORT_INSECURE = re.compile(r"^-[a-zA-Z]*k[a-zA-Z]*$")
# Without an address a container engine publishes on all of them.
EVERY_INTERFACE = re.compile(r"^(?=.*\d)(?:(?:0\.0\.0\.0|\[::\]):)?[\d-]*(?::[\d-]+)?(?:/\w+)?$")
FALSE = frozenset({"0", "false", "no", "off", "none"})
TRUE = frozenset({"1", "true", "yes", "on"})
FILE_SERVER = re.compile(
    r"(?i)(?:^|[/_@.-])(?:file-?system|files?-?(?:server|access|ops|manager)|fs|local-?files?|rust-mcp-filesystem)(?:$|[/_@.-])"
)
FOLDER_FLAG = re.compile(
    r"(?i)^--?(?:allowed?|allow)[-_]?(?:dirs?|director(?:y|ies)|paths?|folders?|roots?)|^--?(?:roots?|root-?dir\w*|base-?(?:dir\w*|path)|dirs?|director(?:y|ies)|"
    r"folders?|workspace(?:[-_](?:dir|path|root))?|vault(?:-path)?|repository|repo|project(?:[-_](?:dir|path|root))?|mount|data-?dir|path)$"
)
FOLDER_VARIABLE = re.compile(
    r"(?i)(?:allowed|root|base|workspace|vault|project|data)_?(?:dir\w*|path\w*|folder\w*|root\w*)$|^(?:workspace|allowed_roots?)$"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host named in the server: in its own address, an argument, a variable or a header."""

    node: Node
    scheme: str
    host: str
    is_server: bool


def addresses(context: ServerContext) -> Iterator[Address]:
    """Every host of the server that stands in a URL. A host that is a reference cannot be judged and is left out."""
    for node, is_server in _strings(context):
        for match in URL.finditer(node.text or ""):
            host = (match[2] if (match[2] or "").startswith("[") else match[3]).lower().rstrip(".")
            if re.search(r"[${}<>%]", host) or NAMESPACES.match(host):
                continue
            yield Address(node, match[1].lower(), host, is_server)


def _strings(context: ServerContext) -> Iterator[tuple[Node, bool]]:
    server = context.server
    if server.url is not None:
        yield server.url, True
    for word in server.argv:
        yield word, False
    for _, value in (*server.env, *server.headers):
        if value.text is not None:
            yield value, False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, in any of the spellings that programs take: `2852039166`, `0xa9fea9fe`, IPv4 in IPv6."""
    try:
        if re.fullmatch(r"0x[0-9a-f]{1,8}|[0-9]{8,10}", host):
            return ipaddress.IPv4Address(int(host, 0) if host.startswith("0x") else int(host))
        number = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    inner = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return inner or number


def network(context: ServerContext) -> Iterator[Finding]:
    """Plain HTTP, tunnels, metadata services, private addresses."""
    said: set[tuple[int, str]] = set()
    for address in addresses(context):
        if (address.node.start, address.host) in said:
            continue
        said.add((address.node.start, address.host))
        number = _address(address.host)
        shown = quote(address.host)
        if address.scheme in {"http", "ws"} and not LOOPBACK.match(address.host):
            inside = (number is not None and number.is_private) or re.search(
                r"^[^.]*$|\.(?:local|lan|home|internal|home\.arpa)$", address.host
            )
            severity = Severity.LOW if not address.is_server and inside else Severity.HIGH if not inside else None
            yield found(
                context,
                PLAIN_HTTP,
                address.node,
                f"{shown} is reached by plain HTTP",
                severity=severity,
                distinct=address.host,
            )
        if number is not None and number.is_link_local and not HOST_PORT.search(address.host):
            message = f"{shown} is a link-local or metadata address"
            yield found(context, METADATA, address.node, message, distinct=address.host)
        if TUNNELS.search(address.host):
            yield found(
                context,
                TUNNEL,
                address.node,
                f"{shown} is a tunnel",
                distinct=address.host,
            )
    for node, _ in _strings(context):
        for match in HOST_PORT.finditer(node.text or ""):
            number = _address(match[1])
            if number is None or number.is_loopback or number.is_unspecified:
                continue
            if number.is_link_local:
                yield found(
                    context, METADATA, node, f"{quote(match[1])} is a link-local or metadata address", distinct=match[1]
                )
            elif number.is_private:
                yield found(
                    context, PRIVATE_SERVICE, node, f"{quote(match[1])} is a private address", distinct=match[1]
                )


def transport_security(context: ServerContext) -> Iterator[Finding]:
    """Options, variables and connection strings that switch the check of certificates off."""
    for word in _unchecked_downloads(context):
        yield found(context, TLS_DISABLED, word, "The check of certificates is switched off", distinct="download")
    for node, _ in _strings(context):
        text = node.text or ""
        if TLS_OFF.search(text) or TLS_ON_FLAG.match(text):
            yield found(context, TLS_DISABLED, node, "The check of certificates is switched off")
    for key, value in context.server.env:
        text = str(value.scalar).strip().lower()
        off = TLS_VARIABLE_OFF.match(key.text) and text in FALSE
        on = TLS_VARIABLE_ON.match(key.text) and text in TRUE
        if off or on:
            yield found(context, TLS_DISABLED, value, f"{quote(key)} switches the check of certificates off")


def _unchecked_downloads(context: ServerContext) -> Iterator[Node]:
    """`curl -k`, and `-k` among other letters: means something else for most other programs."""
    argv = context.server.argv
    if argv and program_name(argv[0].text or "") == "curl":
        yield from (node for node in argv[1:] if SHORT_INSECURE.match(node.text or ""))
    for node in argv:
        for command in commands(node.text or "") if "curl" in (node.text or "") else ():
            if command.program == "curl" and any(SHORT_INSECURE.match(piece.text) for piece in command.words[1:]):
                yield node
                break


def listening(context: ServerContext) -> Iterator[Finding]:
    """Listening on every interface: by option, variable, published port, or as an address to connect to."""
    name = ""
    for node in context.server.argv:
        text = node.text or ""
        flag, equals, value = text.partition("=")
        value = value if equals else text
        if re.search(r"^(?:\w+://)?(?:0\.0\.0\.0|\[::\]|::|\*)(?::\d+)?$", value) and (
            equals or BIND_NAME.search(name) or ":" in value
        ):
            yield found(context, LISTENS_EVERYWHERE, node, "The server listens on every interface")
        name = flag if text.startswith("-") else ""
    for run in context.launch.containers:
        for option in run.options:
            if option.flag in {"-p", "--publish"} and EVERY_INTERFACE.match(option.value):
                yield found(
                    context,
                    LISTENS_EVERYWHERE,
                    option.value_word.node,
                    "A port is published on every interface",
                    distinct="port",
                )
    for key, value_node in context.server.env:
        if BIND_NAME.search(key.text) and re.match(r"^(?:0\.0\.0\.0|::|\[::\]|\*)(?::\d+)?$", value_node.text or ""):
            yield found(context, LISTENS_EVERYWHERE, value_node, f"{quote(key)} is every interface")


def authentication(context: ServerContext) -> Iterator[Finding]:
    """A remote server for which the configuration has no credential: worth knowing, or worse where OAuth is unlikely."""
    server = context.server
    if server.url is None or not server.url.text:
        return
    address = next((item for item in addresses(context) if item.is_server), None)
    if address is None or LOOPBACK.match(address.host):
        return
    named = any(is_secret_name(key.text) or "auth" in key.text.lower() for key, _ in server.headers)
    stated = any(server.node.get(key) is not None for key in ("oauth", "auth", "headersHelper", "authProviderType"))
    in_url = find_secrets(server.url.text) or url_path_secrets(server.url.text) or "${" in server.url.text
    if named or stated or in_url:
        return
    number = _address(address.host)
    exposed = address.scheme in {"http", "ws"} or TUNNELS.search(address.host) or number is not None
    severity = Severity.MEDIUM if exposed else None
    message = f"No credential is configured for {quote(address.host)}"
    yield found(context, NO_AUTHENTICATION, server.url, message, severity=severity, judged=server.url.text)


def folders(context: ServerContext) -> Iterator[Finding]:
    """Folders given to a file server (every argument), or by a flag or variable that names a folder (any server)."""
    names = [context.server.name, *(use.reference.name for use in context.launch.packages)]
    names += [word.program for word in context.launch.programs]
    scripts = [word.text for word in context.launch.server_words if re.search(r"\.(?:[cm]?[jt]s|py)$", word.text)]
    is_file_server = any(FILE_SERVER.search(name) for name in (*names, *scripts))
    flag = ""
    seen: set[int] = set()
    on_host = {id(word) for word in context.launch.host_words}
    for word in context.launch.server_words:
        text = word.text
        named = FOLDER_FLAG.search(flag or text.partition("=")[0]) is not None
        flag = text if text.startswith("-") and "=" not in text else ""
        if (
            word.node.start in seen
            or (context.launch.containers and id(word) not in on_host)
            or not (is_file_server or named)
        ):
            continue
        if not is_file_server and HERE.match(text):
            continue
        width = None if text.startswith("-") and "=" not in text else breadth(text)
        if width is not None:
            seen.add(word.node.start)
            yield _folder(context, word.node, text, width)
    for run in context.launch.containers if is_file_server else ():
        for option in run.options:
            source = mounted(option)[0]
            if source and breadth(source) == "broad":  # the root and the home are sensitive mounts for any server
                yield _folder(context, option.value_word.node, source, "broad")
    for key, value in context.server.env:
        if value.text and FOLDER_VARIABLE.search(key.text):
            width = breadth(value.text)
            if width in {"root", "home"} or (width and is_file_server):
                yield _folder(context, value, value.text, width)


def _folder(context: ServerContext, node: Node, text: str, width: str) -> Finding:
    rule = {"root": FS_ROOT, "home": FS_HOME, "broad": FS_BROAD}[width]
    what = {"root": "the whole disk", "home": "a whole home folder", "broad": "more than one project"}[width]
    return found(context, rule, node, f"The server is given {quote(text)}: {what}", judged=text)


THEME = Theme(
    (
        *(FS_BROAD, FS_HOME, FS_ROOT, PLAIN_HTTP, TLS_DISABLED, LISTENS_EVERYWHERE, TUNNEL, PRIVATE_SERVICE),
        *(NO_AUTHENTICATION, METADATA),
    ),
    server_rules=(network, transport_security, listening, authentication, folders),
)
