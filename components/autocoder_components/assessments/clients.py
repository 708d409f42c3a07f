"""The configuration dialects of the known MCP clients, as data: where their files are, what a server may say in them.

Sources are the clients' own documentation. Where a client's behaviour is undocumented (`expands=None`) nothing is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

STDIO_KEYS = frozenset({"command", "args", "env"})
SHELL = "${NAME}"
DOLLAR = "$NAME"
ENV = "${env:NAME}"
INPUT = "${input:id}"
EDITOR = "${workspaceFolder}"
BRACE = "{env:NAME}"
SECRETS = "${{ secrets.NAME }}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a client looks: `path` relative to the project, or to one of the user's base folders.

    `base` is `project`, `home`, `config` (XDG, Application Support or APPDATA) or `system` (absolute). `path` may hold `*`.
    """

    base: str
    path: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one client writes its servers.

    `containers` are the dotted paths of the maps of servers; `types` the transports it can be told (empty: it has no
    such key); `expands` the reference syntaxes it replaces (None: undocumented); `settings` says that the file holds
    other settings too, so that foreign top-level keys and the absence of servers are nothing to report; `lists` that the
    servers may stand in a list.
    """

    id: str
    title: str
    containers: tuple[str, ...]
    locations: tuple[Location, ...]
    keys: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    expands: frozenset[str] | None = None
    comments: bool = False
    settings: bool = False
    unwrapped: bool = False
    roots: frozenset[str] = frozenset()
    remote: bool = True
    lists: bool = False


def _project(*paths: str) -> tuple[Location, ...]:
    return tuple(Location("project", path) for path in paths)


def _home(*paths: str) -> tuple[Location, ...]:
    return tuple(Location("home", path) for path in paths)


def _config(*paths: str) -> tuple[Location, ...]:
    return tuple(Location("config", path) for path in paths)


def _keys(*names: str) -> frozenset[str]:
    return STDIO_KEYS | frozenset(names)


WRAPPED = ("mcpServers",)
EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")
STORAGE = "{}/User/globalStorage/{}/settings/{}"
ROO_KEYS = _keys("type", "url", "headers", "cwd", "disabled", "alwaysAllow", "disabledTools", "timeout", "watchPaths")


def _extension(identity: str, name: str) -> tuple[Location, ...]:
    return _config(*(STORAGE.format(editor, identity, name) for editor in EDITORS))


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "claude-desktop",
        "Claude Desktop",
        WRAPPED,
        (*_config("Claude/claude_desktop_config.json"), *_project("claude_desktop_config.json")),
        keys=_keys("type", "cwd", "icon"),
        types=frozenset({"stdio"}),
        expands=frozenset(),
        settings=True,
        remote=False,
    ),
    Dialect(
        "claude-code",
        "Claude Code",
        (*WRAPPED, "projects.*.mcpServers"),
        (
            *_home(".claude.json"),
            *_project(".mcp.json", ".claude.json"),
            Location("system", "/etc/claude-code/managed-mcp.json"),
            Location("system", "/Library/Application Support/ClaudeCode/managed-mcp.json"),
        ),
        keys=_keys("type", "url", "headers", "headersHelper", "oauth", "timeout", "alwaysLoad", "cwd"),
        types=frozenset({"stdio", "sse", "http", "streamable-http", "ws", "sdk"}),
        expands=frozenset({SHELL}),
        unwrapped=True,
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "vscode",
        "VS Code",
        ("servers",),
        (*_project(".vscode/mcp.json"), *_config(*(f"{editor}/User/mcp.json" for editor in EDITORS[:3]))),
        keys=_keys(
            "type", "url", "headers", "envFile", "cwd", "dev", "gallery", "version", "sandboxEnabled", "sandbox"
        ),
        types=frozenset({"stdio", "http", "sse"}),
        expands=frozenset({ENV, INPUT, EDITOR}),
        comments=True,
        roots=frozenset({"inputs", "$schema", "sandbox"}),
    ),
    Dialect(
        "vscode-settings",
        "VS Code settings",
        ("mcp.servers", "settings.mcp.servers"),
        (
            *_project(".vscode/settings.json", "*.code-workspace"),
            *_config(*(f"{editor}/User/settings.json" for editor in EDITORS[:3])),
        ),
        keys=_keys("type", "url", "headers", "envFile", "cwd", "dev", "gallery", "version"),
        types=frozenset({"stdio", "http", "sse"}),
        expands=frozenset({ENV, INPUT, EDITOR}),
        comments=True,
        settings=True,
    ),
    Dialect(
        "visual-studio",
        "Visual Studio",
        ("servers",),
        (*_project(".vs/mcp.json", ".mcp.json"), *_home(".mcp.json")),
        keys=_keys("type", "url", "headers", "envFile", "cwd"),
        types=frozenset({"stdio", "http", "sse"}),
        expands=frozenset({ENV, INPUT, EDITOR}),
        comments=True,
        roots=frozenset({"inputs", "$schema"}),
    ),
    Dialect(
        "cursor",
        "Cursor",
        WRAPPED,
        (*_home(".cursor/mcp.json"), *_project(".cursor/mcp.json")),
        keys=_keys("type", "url", "headers", "envFile", "auth", "cwd"),
        types=frozenset({"stdio", "sse", "http", "streamable-http", "streamableHttp"}),
        expands=frozenset({ENV, EDITOR}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "windsurf",
        "Windsurf",
        WRAPPED,
        (
            *_home(".codeium/windsurf/mcp_config.json", ".codeium/mcp_config.json"),
            *_project(".windsurf/mcp_config.json", ".windsurf/mcp.json", ".codeium/windsurf/mcp_config.json"),
        ),
        keys=_keys("type", "url", "serverUrl", "headers", "disabled", "disabledTools", "alwaysAllow", "registry"),
        types=frozenset({"stdio", "sse", "http", "streamable-http", "streamableHttp"}),
        expands=frozenset({ENV}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "antigravity",
        "Antigravity",
        WRAPPED,
        (*_home(".gemini/antigravity/mcp_config.json"), *_project("mcp_config.json")),
        keys=_keys(
            "type", "url", "serverUrl", "headers", "disabled", "disabledTools", "cwd", "authProviderType", "oauth"
        ),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "cline",
        "Cline",
        WRAPPED,
        (
            *_extension("saoudrizwan.claude-dev", "cline_mcp_settings.json"),
            *_home(".cline/data/settings/cline_mcp_settings.json"),
            *_project("cline_mcp_settings.json"),
        ),
        keys=_keys("type", "transportType", "url", "headers", "cwd", "disabled", "autoApprove", "timeout"),
        types=frozenset({"stdio", "sse", "streamableHttp"}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "kilo",
        "Kilo Code",
        WRAPPED,
        (*_extension("kilocode.kilo-code", "mcp_settings.json"), *_project(".kilocode/mcp.json")),
        keys=ROO_KEYS | {"autoApprove"},
        types=frozenset({"stdio", "sse", "streamable-http"}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "roo",
        "Roo Code",
        WRAPPED,
        (
            *_extension("rooveterinaryinc.roo-cline", "mcp_settings.json"),
            *_project(".roo/mcp.json", "mcp_settings.json"),
        ),
        keys=ROO_KEYS,
        types=frozenset({"stdio", "sse", "streamable-http"}),
        expands=frozenset({ENV, EDITOR}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "gemini",
        "Gemini CLI",
        WRAPPED,
        (
            *_home(".gemini/settings.json", ".qwen/settings.json"),
            *_project(".gemini/settings.json", ".qwen/settings.json", "gemini-extension.json"),
        ),
        keys=_keys(
            *("type", "url", "httpUrl", "headers", "tcp", "cwd", "timeout", "trust", "description", "includeTools"),
            *("excludeTools", "extension", "oauth", "authProviderType", "targetAudience", "targetServiceAccount"),
        ),
        types=frozenset({"stdio", "sse", "http"}),
        expands=frozenset({SHELL, DOLLAR}),
        comments=True,
        settings=True,
    ),
    Dialect(
        "amazon-q",
        "Amazon Q Developer",
        WRAPPED,
        (
            *_home(".aws/amazonq/mcp.json", ".aws/amazonq/default.json", ".aws/amazonq/cli-agents/*.json"),
            *_project(".amazonq/mcp.json", ".amazonq/default.json", ".amazonq/cli-agents/*.json"),
        ),
        keys=_keys(
            "type", "url", "headers", "timeout", "disabled", "autoApprove", "disabledTools", "oauth", "oauthScopes"
        ),
        types=frozenset({"stdio", "http"}),
        expands=frozenset({ENV, SHELL}),
        settings=True,
    ),
    Dialect(
        "kiro",
        "Kiro",
        WRAPPED,
        (*_home(".kiro/settings/mcp.json"), *_project(".kiro/settings/mcp.json")),
        keys=_keys(
            "type", "url", "headers", "timeout", "disabled", "autoApprove", "disabledTools", "oauth", "oauthScopes"
        ),
        expands=frozenset({SHELL, ENV}),
        roots=frozenset({"$schema", "powers"}),
    ),
    Dialect(
        "opencode",
        "opencode",
        ("mcp",),
        (
            *_config("opencode/opencode.json", "opencode/opencode.jsonc"),
            *_project("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"),
        ),
        keys=frozenset({"type", "command", "environment", "enabled", "url", "headers", "oauth", "timeout", "cwd"}),
        types=frozenset({"local", "remote"}),
        expands=frozenset({BRACE}),
        comments=True,
        settings=True,
    ),
    Dialect(
        "crush",
        "Crush",
        ("mcp",),
        (*_config("crush/crush.json"), *_project("crush.json", ".crush.json")),
        keys=_keys("type", "url", "headers", "timeout", "disabled", "disabled_tools"),
        types=frozenset({"stdio", "sse", "http"}),
        expands=frozenset({SHELL, DOLLAR}),
        settings=True,
    ),
    Dialect(
        "zed",
        "Zed",
        ("context_servers",),
        (*_config("zed/settings.json"), *_home(".zed/settings.json"), *_project(".zed/settings.json")),
        keys=_keys("source", "enabled", "settings", "url", "headers", "timeout", "remote"),
        expands=frozenset(),
        comments=True,
        settings=True,
    ),
    Dialect(
        "continue",
        "Continue",
        (*WRAPPED, "experimental.modelContextProtocolServers"),
        (
            *_home(".continue/config.json", ".continue/mcpServers/*.json"),
            *_project(".continue/config.json", ".continue/mcpServers/*.json"),
        ),
        keys=_keys(
            "type", "url", "name", "cwd", "headers", "requestOptions", "connectionTimeout", "transport", "disabled"
        ),
        types=frozenset({"stdio", "sse", "streamable-http", "websocket"}),
        expands=frozenset({SECRETS}),
        settings=True,
        lists=True,
    ),
    Dialect(
        "copilot-cli",
        "GitHub Copilot CLI",
        WRAPPED,
        (*_home(".copilot/mcp-config.json"), *_project(".copilot/mcp-config.json", ".github/mcp.json")),
        keys=_keys("type", "url", "headers", "tools", "cwd", "timeout"),
        types=frozenset({"local", "stdio", "http", "sse"}),
        expands=frozenset({SHELL, DOLLAR}),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "amp",
        "Amp",
        ("amp.mcpServers",),
        (*_config("amp/settings.json"), *_project(".amp/settings.json")),
        keys=_keys("url", "headers", "oauth", "includeTools"),
        expands=frozenset({SHELL}),
        settings=True,
    ),
    Dialect(
        "lm-studio",
        "LM Studio",
        WRAPPED,
        _home(".lmstudio/mcp.json", ".cache/lm-studio/mcp.json"),
        keys=_keys("type", "url", "headers", "timeout", "disabled"),
        roots=frozenset({"$schema"}),
    ),
    Dialect(
        "generic",
        "an MCP client",
        WRAPPED,
        (
            *_home(".junie/mcp/mcp.json", ".factory/mcp.json", ".rovodev/mcp.json", ".trae/mcp.json"),
            *_project(
                *("mcp.json", "mcp.jsonc", "mcp.json5", ".junie/mcp/mcp.json", ".factory/mcp.json", ".trae/mcp.json"),
                *("mcp-config.json", "mcp-servers.json", "mcp_servers.json", "mcpServers.json", "mcp_settings.json"),
            ),
        ),
        unwrapped=True,
        lists=True,
    ),
)

BY_ID = {dialect.id: dialect for dialect in DIALECTS}
EVERY_SERVER_KEY = frozenset().union(*(dialect.keys for dialect in DIALECTS)) | {
    *("enabled", "transport", "environment", "auth", "alwaysAllow", "trust", "serverUrl", "httpUrl"),
    *("autoApprove", "envFile", "bearerToken", "startup_timeout_ms", "enabledTools", "_comment", "//", "comment"),
}
