"""Rules on whether a server is up and keeps its promises: their presentation alone. The probes find, by asking the server."""

from __future__ import annotations

from autocoder_components.assessments.model import RuleInfo, Severity
from autocoder_components.assessments.rules.base import Theme

PROGRAM_MISSING = RuleInfo(
    "AC-801",
    "ProgramMissing",
    "The program of the server cannot be started",
    Severity.MEDIUM,
    None,
    "The client would fail the same way: there is no such program on the PATH, it may not be executed, or its working "
    "folder is not there.",
    "Install the program, or correct the command or the working folder",
)
DIES = RuleInfo(
    "AC-802",
    "DiesOnStart",
    "The server ends before it has answered",
    Severity.MEDIUM,
    None,
    "The program was started as the configuration says, and ended or closed its output in the middle of the conversation.",
    "Start the server by hand with the same arguments and variables, and mend what it complains of",
)
UNREACHABLE = RuleInfo(
    "AC-803",
    "HostUnreachable",
    "The host of the server cannot be reached",
    Severity.MEDIUM,
    None,
    "Its name is not known, nothing listens there, or the connection breaks off.",
    "Start the server, or correct its address",
)
CERTIFICATE_EXPIRED = RuleInfo(
    "AC-804",
    "CertificateExpired",
    "The certificate of the server is not valid today",
    Severity.HIGH,
    "MCP07:2025",
    "Clients refuse the connection; whoever switches the check off to go on working is open to any machine on the way.",
    "Renew the certificate",
)
CERTIFICATE_HOST = RuleInfo(
    "AC-805",
    "CertificateOfAnotherHost",
    "The certificate belongs to another host",
    Severity.HIGH,
    "MCP07:2025",
    "Either the address is wrong, or another machine answers in the server's place.",
    "Use the name that the certificate is for, or have one made for this name",
)
CERTIFICATE_CHAIN = RuleInfo(
    "AC-806",
    "CertificateNotTrusted",
    "No known authority vouches for the certificate",
    Severity.HIGH,
    "MCP07:2025",
    "The certificate signs itself, its authority is not known here, or a link of the chain is missing.",
    "Use a certificate of a known authority; give a private authority's certificate with ca_file",
)
CERTIFICATE_SOON = RuleInfo(
    "AC-807",
    "CertificateExpiresSoon",
    "The certificate expires soon",
    Severity.LOW,
    None,
    "From that day on clients refuse the connection.",
    "Renew the certificate, and have it renewed by itself from then on",
)
NO_TLS = RuleInfo(
    "AC-808",
    "NoTls",
    "No encrypted connection can be made",
    Severity.MEDIUM,
    "MCP07:2025",
    "The address says https, and what answers there speaks no TLS, or none that is still accepted.",
    "Correct the address, or the server's TLS settings",
)
HTTP_REFUSED = RuleInfo(
    "AC-809",
    "HttpRefused",
    "The server refuses the request",
    Severity.MEDIUM,
    None,
    "It answers HTTP and says no: the path is wrong, the credential is not accepted, or the server is broken.",
    "Correct the address and the credential; look into the server's log",
)
REDIRECT_REFUSED = RuleInfo(
    "AC-810",
    "RedirectRefused",
    "The server redirects to where no client should follow",
    Severity.HIGH,
    "MCP02:2025",
    "It leads away from the address that was approved: to a private address, to another host that is not allowed, or off "
    "encryption. Who follows asks in the inside of a network what the outside wants to know.",
    "Give the final address in the configuration",
)
NO_MCP = RuleInfo(
    "AC-811",
    "NotMcp",
    "What answers does not speak MCP",
    Severity.MEDIUM,
    None,
    "The answers are no JSON-RPC messages of the protocol, break its rules, or are larger than any server needs.",
    "Correct the command or the address; update the server",
)
SILENT = RuleInfo(
    "AC-812",
    "NoAnswer",
    "The server does not answer in time",
    Severity.MEDIUM,
    None,
    "A client waits as long, and its user with it.",
    "Look what the server waits for; raise the timeout where it only needs longer",
)
NO_TOOLS = RuleInfo(
    "AC-813",
    "ToolsNotListed",
    "The server does not list its tools",
    Severity.MEDIUM,
    None,
    "It offers tools, and the list of them fails or holds what is no tool: a client can call none.",
    "Update the server, or mend its tools",
)
SLOW = RuleInfo(
    "AC-814",
    "SlowTools",
    "The tools are listed slowly",
    Severity.LOW,
    None,
    "Clients list the tools at each start, and mostly wait for it.",
    "Look what the server does before it answers",
)
UNCLEAN_EXIT = RuleInfo(
    "AC-815",
    "UncleanExit",
    "The server does not end with its client",
    Severity.LOW,
    None,
    "A server of the standard streams ends when its input closes. One that does not, or leaves processes behind, stays "
    "in memory after each start, with the credentials that it was given.",
    "End the server, and what it started, when its input ends",
)
STRAY_OUTPUT = RuleInfo(
    "AC-816",
    "StrayOutput",
    "The server writes on its output what is no message",
    Severity.LOW,
    None,
    "The standard output belongs to the protocol. Some clients pass over other lines, others break off.",
    "Write logs to the standard error",
)
OLD_TRANSPORT = RuleInfo(
    "AC-817",
    "OldTransport",
    "The server speaks only the HTTP+SSE transport of 2024",
    Severity.LOW,
    None,
    "It was replaced in 2025 and clients are giving it up.",
    "Update the server to one that speaks Streamable HTTP",
)

THEME = Theme(
    (
        *(PROGRAM_MISSING, DIES, UNREACHABLE, CERTIFICATE_EXPIRED, CERTIFICATE_HOST, CERTIFICATE_CHAIN),
        *(CERTIFICATE_SOON, NO_TLS, HTTP_REFUSED, REDIRECT_REFUSED, NO_MCP, SILENT, NO_TOOLS, SLOW, UNCLEAN_EXIT),
        *(STRAY_OUTPUT, OLD_TRANSPORT),
    )
)
