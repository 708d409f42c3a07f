"""Which client a file belongs to, and its servers in one shape."""

from __future__ import annotations

import json

import pytest
from autocoder_components.assessments.clients import DIALECTS
from autocoder_components.assessments.dialects import ServerView, choose_dialect, dialect_of, server_at, servers
from autocoder_components.assessments.document import parse


def views(path: str, config: object) -> tuple[ServerView, ...]:
    document = parse(json.dumps(config))
    return servers(document, choose_dialect(path, document))


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/home/x/.config/Claude/claude_desktop_config.json", "claude-desktop"),
        ("repo/.mcp.json", "claude-code"),
        ("repo/.vscode/mcp.json", "vscode"),
        ("repo/.vscode/settings.json", "vscode-settings"),
        ("/home/x/.config/Code/User/settings.json", "vscode-settings"),
        ("repo/.cursor/mcp.json", "cursor"),
        ("C:\\repo\\.cursor\\mcp.json", "cursor"),
        ("/home/x/.codeium/windsurf/mcp_config.json", "windsurf"),
        ("cline_mcp_settings.json", "cline"),
        ("repo/.kilocode/mcp.json", "kilo"),
        ("repo/.roo/mcp.json", "roo"),
        ("repo/.gemini/settings.json", "gemini"),
        ("repo/.amazonq/mcp.json", "amazon-q"),
        ("repo/opencode.jsonc", "opencode"),
        ("repo/.zed/settings.json", "zed"),
        ("repo/.continue/mcpServers/x.json", "continue"),
        ("repo/.kiro/settings/mcp.json", "kiro"),
        ("repo/mcp.json", "generic"),
        ("whatever.txt", "generic"),
    ],
)
def test_the_place_tells_the_client(path: str, dialect: str) -> None:
    assert dialect_of(path)[0].id == dialect


def test_of_two_clients_of_one_place_the_key_decides() -> None:
    claude = parse('{"mcpServers": {"a": {"command": "x"}}}')
    studio = parse('{"servers": {"a": {"command": "x"}}}')
    assert choose_dialect(".mcp.json", claude).id == "claude-code"
    assert choose_dialect(".mcp.json", studio).id == "visual-studio"


def test_where_the_name_says_nothing_the_key_decides() -> None:
    assert choose_dialect("x.json", parse('{"context_servers": {"a": {"command": "x"}}}')).id == "zed"


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"mcpServers": {"s": {"command": "x"}}}, "/mcpServers/s"),
        ({"servers": {"s": {"command": "x"}}}, "/servers/s"),
        ({"mcp": {"servers": {"s": {"command": "x"}}}}, "/mcp/servers/s"),
        ({"mcp.servers": {"s": {"command": "x"}}}, "/mcp.servers/s"),
        ({"mcp": {"s": {"type": "local", "command": ["x"]}}}, "/mcp/s"),
        ({"context_servers": {"s": {"command": "x"}}}, "/context_servers/s"),
        ({"projects": {"/p": {"mcpServers": {"s": {"command": "x"}}}}}, "/projects/~1p/mcpServers/s"),
        ({"s": {"command": "x"}}, "/s"),
        ({"s": {"url": "https://x.example/mcp"}}, "/s"),
    ],
)
def test_servers_are_found_under_every_known_key(config: object, pointer: str) -> None:
    (found,) = views("x.json", config)
    assert (found.name, found.node.pointer) == ("s", pointer)


def test_what_is_no_server_is_not_taken_for_one() -> None:
    assert views("x.json", {"thing": {"description": "no command, no url"}}) == ()
    assert views("opencode.json", {"mcp": {"enabled": True}}) == ()


def test_a_list_of_servers_is_read_with_their_names() -> None:
    config = {"experimental": {"modelContextProtocolServers": [{"name": "s", "transport": {}, "command": "x"}]}}
    (found,) = views(".continue/config.json", config)
    assert (found.name, found.node.pointer) == ("s", "/experimental/modelContextProtocolServers/0")


def test_a_server_may_stand_under_its_transport() -> None:
    entry = {"transport": {"type": "stdio", "command": "npx", "args": ["-y", "pkg"]}}
    (found,) = views(".continue/config.json", {"experimental": {"modelContextProtocolServers": [entry]}})
    assert [word.text for word in found.argv] == ["npx", "-y", "pkg"]
    assert (found.name, found.node.pointer) == ("0", "/experimental/modelContextProtocolServers/0/transport")


def test_a_command_array_and_a_command_with_args_are_one_shape() -> None:
    (array,) = views("opencode.json", {"mcp": {"s": {"command": ["npx", "-y", "x"], "environment": {"A": "1"}}}})
    (pair,) = views("mcp.json", {"mcpServers": {"s": {"command": "npx", "args": ["-y", "x"], "env": {"A": "1"}}}})
    (zed,) = views(".zed/settings.json", {"context_servers": {"s": {"command": {"path": "npx", "args": ["-y", "x"]}}}})
    assert [[word.text for word in view.argv] for view in (array, pair, zed)] == [["npx", "-y", "x"]] * 3
    assert [view.env[0][0].text for view in (array, pair)] == ["A", "A"]
    assert [word.pointer for word in array.argv] == ["/mcp/s/command/0", "/mcp/s/command/1", "/mcp/s/command/2"]


@pytest.mark.parametrize(
    ("path", "parts", "transport"),
    [
        ("mcp.json", {"command": "x"}, "stdio"),
        ("mcp.json", {"url": "https://x.example/mcp"}, "http"),
        ("mcp.json", {"url": "https://x.example/sse", "type": "sse"}, "sse"),
        (".windsurf/mcp_config.json", {"serverUrl": "https://x.example/mcp"}, "http"),
        (".gemini/settings.json", {"httpUrl": "https://x.example/mcp"}, "http"),
        (".gemini/settings.json", {"url": "https://x.example/sse"}, "sse"),
        ("mcp.json", {"description": "nothing"}, "unknown"),
    ],
)
def test_transports(path: str, parts: dict[str, str], transport: str) -> None:
    (found,) = views(path, {"mcpServers": {"s": parts}})
    assert found.transport == transport


def test_disabled_is_read_in_both_spellings() -> None:
    (cline,) = views("mcp.json", {"mcpServers": {"s": {"command": "x", "disabled": True}}})
    (opencode,) = views("opencode.json", {"mcp": {"s": {"command": ["x"], "enabled": False}}})
    assert cline.disabled
    assert opencode.disabled


def test_parts_of_a_wrong_type_do_not_stop_the_rest() -> None:
    (found,) = views("mcp.json", {"mcpServers": {"s": {"command": 5, "args": "x", "env": [], "headers": 1, "url": {}}}})
    assert (found.argv, found.env, found.headers, found.url) == ((), (), (), None)


def test_of_two_servers_of_one_name_each_is_found_by_its_line() -> None:
    document = parse('{"mcpServers": {\n"s": {"command": "a"},\n"s": {"command": "b"}}}')
    dialect = choose_dialect("mcp.json", document)
    first = server_at(document, dialect, 2, 1)
    second = server_at(document, dialect, 3, 1)
    assert first is not None
    assert second is not None
    assert [first.argv[0].text, second.argv[0].text] == ["a", "b"]


def test_every_dialect_has_a_name_a_container_and_a_place() -> None:
    assert len({dialect.id for dialect in DIALECTS}) == len(DIALECTS)
    for dialect in DIALECTS:
        assert dialect.title
        assert dialect.containers
        assert dialect.locations
