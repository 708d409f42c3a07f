"""From paths to targets: everything that is found, nothing that stops the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from autocoder_components.assessments.discover import Machine, discover, load
from autocoder_components.assessments.locations import WalkLimits, user_locations
from autocoder_components.assessments.model import Candidate, Discovery, Request
from autocoder_components.assessments.rules import validate_config

ONE = {"mcpServers": {"one": {"command": "x"}}}
TWO = {"mcpServers": {"two": {"command": "x"}, "three": {"url": "https://x.example/mcp"}}}


def write(path: Path, config: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config), "utf-8")
    return path


def run(folder: Path, *paths: str, home: Path | None = None, **options: object) -> Discovery:
    environment = {"HOME": str(home or folder / "no-home")}
    request = Request("a", tuple(paths), **options)  # type: ignore[arg-type]
    return discover(request, Machine(folder, environment, WalkLimits(max_entries=1000)))


def named(discovery: Discovery) -> list[tuple[str, str | None]]:
    return [(target.file, target.server) for target in discovery.targets]


def test_a_file_gives_itself_and_its_servers_in_order(tmp_path: Path) -> None:
    write(tmp_path / "any name.txt", TWO)
    found = run(tmp_path, "any name.txt")
    assert named(found) == [("any name.txt", None), ("any name.txt", "two"), ("any name.txt", "three")]
    assert found.targets[1].place.pointer == "/mcpServers/two"
    assert (found.targets[1].place.line, found.targets[1].place.column) == (1, 17)


def test_a_folder_is_walked_without_its_dependencies(tmp_path: Path) -> None:
    write(tmp_path / ".cursor" / "mcp.json", ONE)
    write(tmp_path / "deep" / "er" / ".vscode" / "mcp.json", {"servers": {"four": {"command": "x"}}})
    write(tmp_path / "node_modules" / "p" / ".mcp.json", TWO)
    write(tmp_path / ".git" / ".mcp.json", TWO)
    write(tmp_path / "package.json", {"name": "x"})
    assert named(run(tmp_path, ".")) == [
        (".cursor/mcp.json", None),
        (".cursor/mcp.json", "one"),
        ("deep/er/.vscode/mcp.json", None),
        ("deep/er/.vscode/mcp.json", "four"),
    ]


def test_settings_files_without_servers_are_left_out_of_a_walk_but_not_when_named(tmp_path: Path) -> None:
    write(tmp_path / ".vscode" / "settings.json", {"editor.fontSize": 12})
    assert named(run(tmp_path, ".")) == []
    assert named(run(tmp_path, ".vscode/settings.json")) == [(".vscode/settings.json", None)]


def test_without_paths_the_users_places_and_the_working_folder_are_looked_at(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    write(home / ".claude.json", {"projects": {"/p": {"mcpServers": {"deep": {"command": "x"}}}}})
    write(home / ".config" / "Code" / "User" / "mcp.json", {"servers": {"code": {"command": "x"}}})
    write(work / ".mcp.json", ONE)
    found = run(work, home=home)
    assert {(t.file, t.server, t.scope) for t in found.targets if t.server} == {
        ("~/.claude.json", "deep", "user"),
        ("~/.config/Code/User/mcp.json", "code", "user"),
        (".mcp.json", "one", "project"),
    }


@pytest.mark.parametrize(
    ("environment", "platform", "path"),
    [
        ({"HOME": "/h"}, "linux", "/h/.config/Claude/claude_desktop_config.json"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "linux", "/x/Claude/claude_desktop_config.json"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/Claude/claude_desktop_config.json"),
        ({"USERPROFILE": "/u", "APPDATA": "/u/r"}, "win32", "/u/r/Claude/claude_desktop_config.json"),
    ],
)
def test_the_users_places_follow_the_platform(environment: dict[str, str], platform: str, path: str) -> None:
    assert Path(path) in user_locations(environment, platform)


def test_a_path_that_does_not_exist_is_a_problem_not_nothing(tmp_path: Path) -> None:
    write(tmp_path / ".mcp.json", ONE)
    found = run(tmp_path, "nowhere.json", ".mcp.json")
    assert found.targets[0].problem == "cannot be read: No such file or directory"
    assert load(found.targets[0]).problem == found.targets[0].problem
    assert found.targets[2].server == "one"


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"a": {"command": "x"',
        "[]",
        "5",
        '{"mcpServers": []}',
        '{"mcpServers": {"a": 5}}',
        "",
        "[" * 100_000,
        " " * (3 * 1024 * 1024),
    ],
    ids=["truncated", "array", "number", "list", "no object", "empty", "deep", "large"],
)
def test_a_broken_file_is_a_target_and_stops_no_other(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a" / ".mcp.json", text)
    write(tmp_path / "b" / ".mcp.json", ONE)
    found = run(tmp_path, ".")
    broken, good = found.targets[0], found.targets[-1]
    assert (broken.file, broken.server) == ("a/.mcp.json", None)
    assert (good.file, good.server) == ("b/.mcp.json", "one")
    document = load(broken).document
    assert document is not None
    validate_config(broken, document)


def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "mcp.json").symlink_to("mcp.json")
    (tmp_path / "folder" / "mcp.json").mkdir(parents=True)
    os.mkfifo(tmp_path / "mcp.json")
    write(tmp_path / "good" / "mcp.json", ONE)
    found = run(tmp_path, ".")
    problems = {target.file: target.problem for target in found.targets if target.problem}
    assert set(problems) == {"loop/mcp.json", "folder/mcp.json", "mcp.json"}
    assert "regular file" in (problems["mcp.json"] or "")
    assert ("good/mcp.json", "one") in named(found)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / ".mcp.json", ONE).chmod(0)
    assert run(tmp_path, ".").targets[0].problem == "cannot be read: Permission denied"


def test_a_linked_folder_is_not_followed_and_a_linked_file_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "real" / "mcp.json", ONE)
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "zlink").mkdir()
    (tmp_path / "zlink" / "mcp.json").symlink_to(tmp_path / "real" / "mcp.json")
    assert named(run(tmp_path, ".")) == [("real/mcp.json", None), ("real/mcp.json", "one")]


def test_a_walk_that_meets_its_limit_says_so(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"{number}.txt", "")
    request = Request("a", (".",))
    found = discover(request, Machine(tmp_path, {"HOME": "/nowhere"}, WalkLimits(max_entries=10)))
    assert "narrower" in (found.targets[0].problem or "")


def test_no_file_is_too_deep_to_be_found(tmp_path: Path) -> None:
    write(tmp_path.joinpath(*("d" for _ in range(100)), ".mcp.json"), ONE)
    assert [target.server for target in run(tmp_path, ".").targets] == [None, "one"]


def test_filters_keep_what_matches_and_return_what_matches_nothing(tmp_path: Path) -> None:
    write(tmp_path / ".mcp.json", TWO)
    found = run(tmp_path, ".", server_filter=("T*", "none*"))
    assert [target.server for target in found.targets] == [None, "two", "three"]
    assert found.unmatched_filters == ("none*",)
    assert [target.server for target in run(tmp_path, ".", server_filter=("two",)).targets] == [None, "two"]


def test_an_inline_candidate_is_assessed_as_if_it_were_a_file() -> None:
    candidate = Candidate(json.dumps({"servers": {"s": {"command": "x"}}}), ".vscode/mcp.json")
    found = discover(Request("a", candidates=(candidate,)))
    assert [(t.server, t.dialect, t.scope) for t in found.targets] == [
        (None, "vscode", "inline"),
        ("s", "vscode", "inline"),
    ]
    assert load(found.targets[1]).document is not None


def test_the_client_of_a_candidate_decides_its_dialect() -> None:
    found = discover(Request("a", candidates=(Candidate(json.dumps(ONE), client="cursor"),)))
    assert found.targets[0].dialect == "cursor"


def test_a_file_that_changed_is_not_judged(tmp_path: Path) -> None:
    path = write(tmp_path / ".mcp.json", ONE)
    target = run(tmp_path, ".").targets[0]
    assert load(target).document is not None
    write(path, TWO)
    assert "changed" in (load(target).problem or "")
    path.unlink()
    assert "cannot be read" in (load(target).problem or "")


def test_names_that_no_terminal_shows_are_escaped() -> None:
    text = '{"mcpServers": {"a\\u001b[2J\\ud800": {"command": "x"}}}'
    target = discover(Request("a", candidates=(Candidate(text),))).targets[1]
    assert target.server == "a\\x1b[2J\\ud800"
    document = load(target).document
    assert document is not None
    validate_config(target, document)
    (target.server + target.place.pointer).encode("utf-8")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.toml", '[mcp_servers.x]\ncommand = "npx"\n', "is TOML, which is not supported"),
        ("c.YAML", "mcpServers:\n  x: {command: npx}\n", "is YAML, which is not supported"),
        ("c.yml", "mcpServers: {}\n", "is YAML, which is not supported"),
    ],
)
def test_a_file_of_another_format_that_was_named_is_not_judged_as_json(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    (target,) = run(tmp_path, name).targets
    assert (target.problem or "").startswith(said)


def test_json_in_a_file_of_another_suffix_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('{"mcpServers": {"x": {"command": "npx"}}}')
    assert [(each.server, each.problem) for each in run(tmp_path, "c.yaml").targets] == [(None, None), ("x", None)]
