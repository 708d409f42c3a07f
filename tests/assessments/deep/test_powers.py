"""What tools can do and what they say of it: annotations that lie, and combinations that carry private data out."""

from __future__ import annotations

from typing import Any

import pytest
from autocoder_components.assessments.deep.definitions import MOST_TEXT, Tool, digest_of, tool_of
from autocoder_components.assessments.deep.memory import Definitions, definitions_of, drift_between
from autocoder_components.assessments.deep.powers import Power, combination_of, lies_of, powers_of
from hypothesis import given
from hypothesis import strategies as st


def tool(name: str, description: str = "", *parameters: str, **hints: bool) -> Tool:
    schema = {"type": "object", "properties": {each: {"type": "string"} for each in parameters}}
    return tool_of({"name": name, "description": description, "inputSchema": schema, "annotations": hints})


@pytest.mark.parametrize(
    ("name", "description", "hints", "lie"),
    [
        ("delete_file", "", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("deleteFile", "Removes it.", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("notes", "Overwrites the notes with the text.", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("sendMail", "", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("get_summary", "Sends the summary to the team.", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("run_command", "", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("update-record", "", {"readOnlyHint": True, "destructiveHint": False}, "readOnlyHint: true"),
        ("it", "This tool permanently deletes the account", {"readOnlyHint": True}, "readOnlyHint: true"),
        ("drop_table", "", {"destructiveHint": False}, "destructiveHint: false"),
        ("clean", "Wipes the disk", {"destructiveHint": False}, "destructiveHint: false"),
        ("list_files", "", {"readOnlyHint": True, "destructiveHint": True}, "readOnlyHint: true"),
        ("fetch", "Reads a web page", {"openWorldHint": False}, "openWorldHint: false"),
        ("send_payment", "", {"idempotentHint": True}, "idempotentHint: true"),
    ],
)
def test_an_annotation_that_the_tool_itself_contradicts(
    name: str, description: str, hints: dict[str, bool], lie: str
) -> None:
    assert lie in [each.hint for each in lies_of(tool(name, description, **hints))]


@pytest.mark.parametrize(
    ("name", "description", "hints"),
    [
        ("list_deleted_files", "Lists the files that were deleted", {"readOnlyHint": True}),
        ("get_file", "Reads a file", {"readOnlyHint": True}),
        ("run_query", "Runs a query that reads", {"readOnlyHint": True}),
        ("find_replacement", "Finds a spare part", {"readOnlyHint": True}),
        ("chart", "Creates a chart of the numbers", {"readOnlyHint": True}),
        ("delete_file", "Deletes a file", {"destructiveHint": True, "readOnlyHint": False}),
        ("delete_file", "Deletes a file", {}),
        ("create_issue", "Creates an issue", {"destructiveHint": False}),
        ("search", "Searches the web", {"openWorldHint": True, "readOnlyHint": True}),
        ("set_name", "Sets the name", {"idempotentHint": True}),
        ("check_settings", "Checks the settings", {"readOnlyHint": True}),
        ("add", "The sum of two numbers", {"openWorldHint": False}),
    ],
)
def test_an_annotation_that_is_true_or_not_there(name: str, description: str, hints: dict[str, bool]) -> None:
    assert list(lies_of(tool(name, description, **hints))) == []


@pytest.mark.parametrize(
    ("made", "powers"),
    [
        (tool("read_file", "Reads a file"), {Power.PRIVATE}),
        (tool("fetch", "Fetches a page", "url"), {Power.STRANGERS, Power.SENDS}),
        (tool("list_emails", "Lists the inbox"), {Power.PRIVATE, Power.STRANGERS}),
        (tool("send_message", "Sends a message"), {Power.SENDS}),
        (tool("execute_command", "Runs a shell command"), {Power.CODE, Power.PRIVATE, Power.SENDS}),
        (tool("add", "The sum of two numbers", "a", "b"), set()),
        (tool("get_time", "The time in a zone", "zone"), set()),
    ],
)
def test_what_a_tool_can_be_used_for(made: Tool, powers: set[Power]) -> None:
    assert powers_of(made) == powers


READ, FETCH, SEND = (
    tool("read_file", "Reads a file"),
    tool("search_web", "Searches the web"),
    tool("send_mail", "Sends it"),
)


def test_only_the_three_together_are_a_way_out() -> None:
    way = combination_of([tool("add", "The sum"), SEND, FETCH, READ])
    assert way is not None
    assert (way.private, way.strangers, way.sends) == ("read_file", "search_web", "send_mail")
    for two in ([READ, FETCH], [READ, SEND], [FETCH, SEND], [], [READ]):
        assert combination_of(two) is None


def test_a_shell_beside_the_web_is_a_way_out() -> None:
    way = combination_of([FETCH, tool("run_shell_command", "Runs it")])
    assert way is not None
    assert way.private == way.sends == "run_shell_command"


BASE: dict[str, Any] = {
    "name": "a",
    "title": "A",
    "description": "adds",
    "inputSchema": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    "annotations": {"readOnlyHint": True},
}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, ()),
        ({"inputSchema": {"required": ["x"], "properties": {"x": {"type": "number"}}, "type": "object"}}, ()),
        ({"description": "adds."}, ("description",)),
        ({"title": "B"}, ("description",)),
        ({"inputSchema": {"type": "object"}}, ("schema",)),
        ({"outputSchema": {"type": "object"}}, ("schema",)),
        ({"annotations": {"readOnlyHint": False}}, ("annotations",)),
        ({"description": "x", "inputSchema": {}, "annotations": None}, ("description", "schema", "annotations")),
    ],
)
def test_a_change_is_told_by_its_parts_and_the_order_of_members_is_none(
    change: dict[str, Any], parts: tuple[str, ...]
) -> None:
    before, now = definitions_of([tool_of(BASE)]), definitions_of([tool_of({**BASE, **change})])
    drift = drift_between(before, now)
    assert [each[1] for each in drift.changed] == ([parts] if parts else [])
    assert (drift.added, drift.gone) == ((), ())


NAMES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"), max_size=6)


@given(NAMES, NAMES)
def test_drift_is_what_is_otherwise_and_nothing_else(before: dict[str, str], now: dict[str, str]) -> None:
    def made(of: dict[str, str]) -> Definitions:
        return definitions_of([tool(name, description) for name, description in of.items()])

    drift = drift_between(made(before), made(now))
    assert set(drift.added) == now.keys() - before.keys()
    assert set(drift.gone) == before.keys() - now.keys()
    assert {each[0] for each in drift.changed} == {
        name for name in before.keys() & now.keys() if before[name] != now[name]
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*BASE, "outputSchema"]), json_values), st.text(max_size=10))
def test_no_definition_breaks_the_reading(parts: dict[str, Any], name: str) -> None:
    made = tool_of({**parts, "name": name})
    list(lies_of(made))
    powers_of(made)
    combination_of([made, made])


def test_a_definition_without_end_is_cut_and_hashed_whole() -> None:
    long = tool_of({"name": "a", "description": "x" * (MOST_TEXT + 1), "inputSchema": {}})
    assert long.cut
    assert sum(len(each.text) for each in long.texts) <= MOST_TEXT
    assert long.digests != tool_of({"name": "a", "description": "x" * (MOST_TEXT + 2), "inputSchema": {}}).digests
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert digest_of(deep)
    assert tool_of({"name": "a", "inputSchema": {"x": deep}}).name == "a"


def test_names_without_end_are_cut_and_stay_apart() -> None:
    one, other = (
        tool_of({"name": "a_" * 100_000 + end, "inputSchema": {"properties": {"b" * 10_000: {}}}}) for end in "xy"
    )
    assert one.name != other.name
    assert len(one.name) <= 256
    assert one.parameters == ("b" * 256,)
    assert set(drift_between(definitions_of([one]), definitions_of([other])).added) == {other.name}
    assert list(lies_of(one)) == []
    assert powers_of(one) == set()
