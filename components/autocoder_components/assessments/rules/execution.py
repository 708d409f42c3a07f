"""Rules on how the program is run: shells, raised rights, weakened sandboxes, containers that contain nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from autocoder_components.assessments.downloads import runs_download
from autocoder_components.assessments.launch_parts import ContainerRun, Option, mounted
from autocoder_components.assessments.model import Finding, RuleInfo, Severity
from autocoder_components.assessments.nodes import MAX_TEXT
from autocoder_components.assessments.paths import CREDENTIALS, HOME, ROOT, is_placeholder_path
from autocoder_components.assessments.rules.base import ServerContext, Theme, found, quote
from autocoder_components.assessments.secrets import WORD_END, without_secrets

SHELL_WRAPPER = RuleInfo(
    "AC-501",
    "ShellWrapper",
    "The server is started through a shell script in the configuration",
    Severity.MEDIUM,
    "MCP05:2025",
    "A shell interprets the whole text: variables, substitutions and pipes included. What runs depends on the "
    "environment, and a review of the configuration cannot tell.",
    "Start the program itself, with its arguments in args and its folder in cwd",
)
LOGIN_SHELL = RuleInfo(
    "AC-502",
    "LoginShell",
    "A login shell runs the user's profile first",
    Severity.LOW,
    "MCP05:2025",
    "The profile may change what is run, and whatever it prints goes into the protocol on standard output.",
    "Start without -l, and name the program's full environment in env",
)
DOWNLOAD_AND_RUN = RuleInfo(
    "AC-503",
    "DownloadAndRun",
    "A download is run as it arrives",
    Severity.CRITICAL,
    "MCP04:2025",
    "Whoever answers at that address, or sits on the way to it, decides at each start what runs with the user's rights.",
    "Install a pinned, checked version once and start that",
)
RAISED_RIGHTS = RuleInfo(
    "AC-504",
    "RaisedRights",
    "The server runs with raised rights",
    Severity.HIGH,
    "MCP02:2025",
    "A model decides what the server does. With root's rights each of its mistakes, and each injected instruction, is root's.",
    "Run the server as an ordinary user with only the rights it needs",
)
SANDBOX_DISABLED = RuleInfo(
    "AC-505",
    "SandboxDisabled",
    "A sandbox or safeguard is switched off",
    Severity.MEDIUM,
    "MCP02:2025",
    "The server handles content from elsewhere. Without its sandbox a flaw in it is a flaw of the whole account.",
    "Remove the switch, and mend what made it necessary",
)
DANGEROUS_ENV = RuleInfo(
    "AC-506",
    "DangerousVariable",
    "A variable that loads other code or opens a debugger",
    Severity.HIGH,
    "MCP05:2025",
    "Loaders and interpreters run what these variables name before the program itself.",
    "Remove the variable",
)
TOO_LONG = RuleInfo(
    "AC-507",
    "TooLongToJudge",
    "A text that is too long to be judged whole",
    Severity.HIGH,
    "MCP05:2025",
    "The rules read a bounded part of every text, so that a hostile file cannot stop the assessment. What lies beyond was not "
    "judged, and no setting of a client needs a text that long: it may be there to hide something.",
    "Put the text in a file of its own that is reviewed, and name the file here",
)
PRIVILEGED = RuleInfo(
    "AC-511",
    "PrivilegedContainer",
    "A container with the host's rights",
    Severity.HIGH,
    "MCP02:2025",
    "A privileged container, or one with the capabilities and namespaces of the host, can do what root can do on the host.",
    "Drop the option, and add the one capability that is needed",
)
HOST_NETWORK = RuleInfo(
    "AC-512",
    "HostNetwork",
    "A container in the host's network",
    Severity.MEDIUM,
    "MCP02:2025",
    "The container reaches every service of the host that listens on loopback, and can pose as one.",
    "Use the default network and publish the one port that is needed on 127.0.0.1",
)
BIND_MOUNT = RuleInfo(
    "AC-513",
    "BindMount",
    "A folder of the host is mounted",
    Severity.LOW,
    "MCP02:2025",
    "What is in the folder is the server's to read, and without `:ro` to change.",
    "Mount the narrowest folder that will do, read-only where possible",
)
SENSITIVE_MOUNT = RuleInfo(
    "AC-514",
    "SensitiveMount",
    "The container gets the host itself",
    Severity.HIGH,
    "MCP02:2025",
    "With the engine's socket, the root or the home folder the container can become root on the host or take its credentials.",
    "Mount only the folder that the server works on",
)

METACHARACTER = re.compile(r"&&|\|\||[;|`]|\$\(|>|<\(")
SANDBOX = re.compile(
    r"(?:^|=|\s)--?(?:no-sandbox|disable-setuid-sandbox|disable-web-security|disable-site-isolation-trials|unsafe(?:ly)?[\w-]*"
    r"|dangerously-[\w-]+|allow-dangerous[\w-]*|skip-permissions|yolo|disable-security|no-security|allow-all(?=$|\s)"
    r"|allow-unsafe[\w-]*|no-auth|disable-auth|auto-approve-all)\b|security_opt=.{0,200}unconfined",
    re.IGNORECASE,
)
SANDBOX_VARIABLE = re.compile(
    r"(?i)^(?:DANGEROUSLY_\w+|\w{0,60}DISABLE_(?:SANDBOX|AUTH|SECURITY)|\w{0,60}NO_SANDBOX|\w{0,60}_?SKIP_PERMISSIONS|DISABLE_AUTH\w{0,60}|ALLOW_DANGEROUS\w{0,60})$"
)
LOADER = re.compile(
    r"^(?:LD_PRELOAD|LD_LIBRARY_PATH|LD_AUDIT|DYLD_\w+|BASH_ENV|ENV|PROMPT_COMMAND|PYTHONSTARTUP|PERL5OPT|RUBYOPT|JAVA_TOOL_OPTIONS)$"
)
NODE_LOADS = re.compile(
    r"(?:^|\s)(?:--require|-r|--import|--loader|--experimental-loader|--inspect(?:-brk)?)(?:[=\s]|$)"
)
FALSE = frozenset({"", "0", "false", "no", "off"})
SOCKETS = re.compile(
    r"(?:docker|podman|containerd|crio)\.sock|//\./pipe/docker_engine|\\\\\.\\pipe\\docker_engine", re.IGNORECASE
)
LONGEST_IMAGE = 512
CAPABILITIES = frozenset({"all", "sys_admin", "sys_ptrace", "sys_module", "dac_read_search", "net_admin", "sys_rawio"})


def shells(context: ServerContext) -> Iterator[Finding]:
    """Scripts in the configuration, login shells, downloads that are run."""
    for script in context.launch.scripts:
        text = script.text.text
        hard = bool(METACHARACTER.search(text)) or len(text.split()) > 1
        severity = Severity.HIGH if script.encoded else None if hard else Severity.LOW
        message = f"{quote(script.shell.text)} runs {'what nobody can read: ' if script.encoded else ''}{quote(text)}"
        yield found(
            context, SHELL_WRAPPER, script.text.node, message, severity=severity, distinct="script", judged=text
        )
    for word in context.launch.logins:
        yield found(context, LOGIN_SHELL, word.node, f"{quote(word.text)} makes it a login shell")
    texts = [(node, node.text or "") for node in context.server.argv]
    texts += [(script.text.node, script.text.text) for script in context.launch.scripts if script.encoded]
    seen: set[int] = set()
    for node, text in texts:
        if runs_download(text) and node.start not in seen:
            seen.add(node.start)
            yield found(context, DOWNLOAD_AND_RUN, node, "What is downloaded is run at once", judged=text)


def rights(context: ServerContext) -> Iterator[Finding]:
    """sudo and its like."""
    for word in context.launch.privileged_by:
        yield found(
            context,
            RAISED_RIGHTS,
            word.node,
            f"The server is started with {quote(word.program)}",
            judged=context.line,
        )
    for node in context.server.argv[1:]:
        if re.search(r"(?:^|[;&|]\s*)(?:sudo|doas|pkexec|su\s+-c)\s", node.text or ""):
            yield found(context, RAISED_RIGHTS, node, "A command is run with sudo", judged=node.text or "")


def safeguards(context: ServerContext) -> Iterator[Finding]:
    """Sandboxes switched off and loaders made to load."""
    for node in context.server.argv:
        match = SANDBOX.search(node.text or "")
        if match:
            yield found(
                context,
                SANDBOX_DISABLED,
                node,
                f"A safeguard is off: {quote(match.group().strip(' ='))}",
                judged=node.text or "",
            )
    for key, value in context.server.env:
        text = (value.text if value.text is not None else str(value.scalar)).strip()
        if SANDBOX_VARIABLE.match(key.text) and text.lower() not in FALSE:
            yield found(context, SANDBOX_DISABLED, value, f"A safeguard is off: {quote(key)}")
        if LOADER.match(key.text) and text:
            severity = Severity.MEDIUM if key.text in {"LD_LIBRARY_PATH", "JAVA_TOOL_OPTIONS", "ENV"} else None
            if key.text != "ENV" or "/" in text:
                yield found(
                    context, DANGEROUS_ENV, value, f"{key.text} names code to load", severity=severity, judged=text
                )
        if key.text == "NODE_OPTIONS" and NODE_LOADS.search(text):
            severity = Severity.MEDIUM if "--inspect" in text else None
            yield found(
                context,
                DANGEROUS_ENV,
                value,
                "NODE_OPTIONS loads code or opens a debugger",
                severity=severity,
                judged=text,
            )


def too_long(context: ServerContext) -> Iterator[Finding]:
    """Strings and names that the rules see the beginning of; said once for each string."""
    for node in context.server.node.walk():
        keys = max((len(key.text) for key, _ in node.members), default=0)
        length = max(len(node.scalar) if isinstance(node.scalar, str) else 0, keys)
        if length > MAX_TEXT:
            message = f"Of {length:,} characters the first {MAX_TEXT:,} are judged"
            yield found(context, TOO_LONG, node, message, distinct=_digest(node.scalar))


def _digest(scalar: object) -> str:
    """The hash of all of a text without its credentials, so that nothing behind the bound changes unseen."""
    text = scalar if isinstance(scalar, str) else ""
    digest = hashlib.sha256()
    for start in range(0, len(text), MAX_TEXT):
        digest.update(without_secrets(text[start : start + MAX_TEXT]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def containers(context: ServerContext) -> Iterator[Finding]:
    """The options of `docker run` that open the host to the container."""
    for run in context.launch.containers:
        for option in run.options:
            yield from _option(context, option, run)
            yield from _mount(context, option, run)


def _option(context: ServerContext, option: Option, run: ContainerRun) -> Iterator[Finding]:
    """An option is as dangerous as the image that gets it: another image is another finding."""
    judged = _judged(option, run)
    flag, value = option.flag, option.value.lower()
    where = option.value_word.node
    if flag == "--privileged" and value not in FALSE - {""}:
        yield found(context, PRIVILEGED, where, "The container is privileged", judged=judged)
    elif flag == "--cap-add" and value.removeprefix("cap_") in CAPABILITIES:
        yield found(
            context, PRIVILEGED, where, f"The container has the capability {quote(option.value)}", judged=judged
        )
    elif flag in {"--pid", "--ipc", "--userns", "--uts", "--cgroupns"} and value == "host":
        yield found(
            context,
            PRIVILEGED,
            where,
            f"The container shares the host's {flag.removeprefix('--')} namespace",
            judged=judged,
        )
    elif flag == "--security-opt" and re.search(r"unconfined|disable|no-new-privileges[:=]false", value):
        yield found(context, PRIVILEGED, where, f"The container runs unconfined: {quote(option.value)}", judged=judged)
    elif flag == "--device":
        yield found(
            context,
            PRIVILEGED,
            where,
            f"The container gets the device {quote(option.value)}",
            severity=Severity.MEDIUM,
            judged=judged,
        )
    elif flag in {"--network", "--net"} and value == "host":
        yield found(context, HOST_NETWORK, where, "The container is in the host's network", judged=judged)
    elif flag in {"-u", "--user"} and re.match(r"^(?:root|0)(?::|$)", value):
        yield found(context, RAISED_RIGHTS, where, "The container runs as root", severity=Severity.LOW, judged=judged)


def _mount(context: ServerContext, option: Option, run: ContainerRun) -> Iterator[Finding]:
    source, read_only = mounted(option)
    if not source or not re.match(r"^(?:[/~.$%\\<{]|[A-Za-z]:[\\/])", source):
        return  # a named volume
    where = option.value_word.node
    judged = _judged(option, run)
    access = "read-only" if read_only else "writable"
    if SOCKETS.search(source):
        message = f"The container gets the socket of {quote(run.engine.program)}, which is root on the host"
        yield found(context, SENSITIVE_MOUNT, where, message, severity=Severity.CRITICAL, judged=judged)
    elif ROOT.match(source) or HOME.match(source) or CREDENTIALS.search(source):
        yield found(
            context, SENSITIVE_MOUNT, where, f"The container gets {quote(source)} of the host, {access}", judged=judged
        )
    else:
        severity = Severity.INFO if read_only or is_placeholder_path(source) else None
        yield found(
            context,
            BIND_MOUNT,
            where,
            f"{quote(source)} of the host is mounted, {access}",
            severity=severity,
            judged=judged,
        )


def _judged(option: Option, run: ContainerRun) -> str:
    return WORD_END.join((option.flag, option.value, run.image.text[:LONGEST_IMAGE] if run.image is not None else ""))


THEME = Theme(
    (
        *(SHELL_WRAPPER, LOGIN_SHELL, DOWNLOAD_AND_RUN, RAISED_RIGHTS, SANDBOX_DISABLED, DANGEROUS_ENV),
        *(TOO_LONG, PRIVILEGED, HOST_NETWORK, BIND_MOUNT, SENSITIVE_MOUNT),
    ),
    server_rules=(shells, rights, safeguards, too_long, containers),
)
