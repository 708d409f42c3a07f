"""The tolerant parser: agrees with `json` on JSON, keeps places, recovers, and never raises."""

from __future__ import annotations

import json
import math

import pytest
from autocoder_components.assessments.document import Document, Kind, Limits, NoteCode, parse
from hypothesis import given, settings
from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def codes(document: Document) -> list[NoteCode]:
    return [note.code for note in document.notes]


def plain(text: str | bytes) -> object:
    root = parse(text).root
    assert root is not None
    return root.to_python()


@given(values, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_agrees_with_json_on_every_strict_document(value: object, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    document = parse(text)
    assert document.notes == ()
    assert document.root is not None
    assert document.root.to_python() == json.loads(text)


@given(values)
def test_every_node_is_where_it_says(value: object) -> None:
    document = parse(json.dumps(value, indent=1, ensure_ascii=False))
    lines = document.text.split("\n")
    assert document.root is not None
    for node in document.root.walk():
        assert json.loads(document.text[node.start : node.end]) == node.to_python()
        assert lines[node.line - 1][node.column - 1] == document.text[node.start]
        assert document.at(node.pointer) == node


@given(st.text(alphabet=st.sampled_from("{}[]\",:'\\/*\n\r\t abn1-.0x<>=tru\ufeffé"), max_size=80))
def test_never_raises_on_text(text: str) -> None:
    parse(text)


@given(st.binary(max_size=200))
def test_never_raises_on_bytes(content: bytes) -> None:
    parse(content)


@settings(max_examples=50)
@given(values, st.data())
def test_reads_what_stands_before_the_place_where_a_text_is_cut(value: object, data: st.DataObject) -> None:
    text = json.dumps({"first": 1, "rest": value})
    cut = data.draw(st.integers(12, len(text) - 1))
    document = parse(text[:cut])
    assert document.errors
    assert isinstance(document.root and document.root.to_python(), dict)
    assert document.at("/first") is not None


@pytest.mark.parametrize(
    ("text", "value", "code"),
    [
        ('{"a": 1, // x\n"b": 2}', {"a": 1, "b": 2}, NoteCode.COMMENT),
        ('/* x\n */ {"a": 1}', {"a": 1}, NoteCode.COMMENT),
        ('{"a": [1, 2,],}', {"a": [1, 2]}, NoteCode.TRAILING_COMMA),
        ("{'a': 'it\\'s'}", {"a": "it's"}, NoteCode.JSON5),
        ("{a: 1, $b: 2}", {"a": 1, "$b": 2}, NoteCode.JSON5),
        ("[0x1F, +1, .5, 5.]", [31, 1, 0.5, 5.0], NoteCode.JSON5),
        ('{"a": 1, "a": 2}', {"a": 2}, NoteCode.DUPLICATE_KEY),
        ('\ufeff{"a": 1}', {"a": 1}, NoteCode.BOM),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}, NoteCode.SYNTAX),
        ('{"a": "x\n"b": 2}', {"a": "x", "b": 2}, NoteCode.SYNTAX),
        ('{"a": True}', {"a": "True"}, NoteCode.SYNTAX),
        ('{"path": "C:\\Users\\x"}', {"path": "C:\\Users\\x"}, NoteCode.SYNTAX),
        ('{"a": [1, 2}', {"a": [1, 2]}, NoteCode.SYNTAX),
        ('{"a": 01}', {"a": 1}, NoteCode.SYNTAX),
        ('"mcpServers": {"a": {}}', {"mcpServers": {"a": {}}}, NoteCode.SYNTAX),
        ('```json\n{"a": 1}\n```', {"a": 1}, NoteCode.SYNTAX),
        ('{"a": 1} trailing', {"a": 1}, NoteCode.SYNTAX),
    ],
)
def test_deviations_are_read_and_noted(text: str, value: object, code: NoteCode) -> None:
    assert plain(text) == value
    assert code in codes(parse(text))


def test_numbers_that_strict_json_lacks() -> None:
    values = plain("[Infinity, -Infinity, NaN]")
    assert isinstance(values, list)
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])


def test_a_note_has_the_place_of_what_it_notes() -> None:
    note = parse('{\n  "a": [\n    1,\n  ]\n}').notes[0]
    assert (note.code, note.line, note.column, note.pointer) == (NoteCode.TRAILING_COMMA, 3, 6, "/a")


def test_lines_end_as_editors_end_them() -> None:
    document = parse('{\r\n  "a": 1,\r  "b": 2}')
    b = document.at("/b")
    assert b is not None
    assert (b.line, b.column) == (3, 8)


def test_a_byte_order_mark_takes_no_column() -> None:
    root = parse(b"\xef\xbb\xbf{}").root
    assert root is not None
    assert (root.line, root.column) == (1, 1)


def test_pointers_escape_what_rfc_6901_says() -> None:
    document = parse('{"a/b": {"c~d": [5]}}')
    node = document.at("/a~1b/c~0d/0")
    assert node is not None
    assert node.scalar == 5


def test_both_values_of_a_duplicate_key_are_kept() -> None:
    root = parse('{"a": 1, "a": 2}').root
    assert root is not None
    assert [value.scalar for _, value in root.members] == [1, 2]
    last = root.get("a")
    assert last is not None
    assert last.scalar == 2


def test_a_merge_conflict_is_noted_and_one_side_read() -> None:
    text = '{\n<<<<<<< HEAD\n  "a": 1\n=======\n  "a": 2\n>>>>>>> other\n}\n'
    document = parse(text)
    assert document.root is not None
    assert document.root.to_python() == {"a": 1}
    assert [n.line for n in document.notes if n.code is NoteCode.MERGE_CONFLICT] == [2, 4, 6]
    assert [n.line for n in document.notes if n.code is NoteCode.SYNTAX] == [2]


def test_conflicts_inside_conflicts_still_give_a_document() -> None:
    text = '{\n<<<<<<< A\n<<<<<<< B\n=======\n>>>>>>> b\n  "x": 1,\n=======\n  "x": 2,\n>>>>>>> a\n  "y": 3\n}\n'
    document = parse(text)
    assert document.at("/y") is not None
    assert document.at("/x") is not None


def test_too_large_is_said_and_not_read() -> None:
    document = parse(b" " * 101, Limits(max_bytes=100))
    assert codes(document) == [NoteCode.TOO_LARGE]
    assert document.root is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "1" + "]" * 200])
def test_too_deep_is_said_and_the_rest_is_read(text: str) -> None:
    assert NoteCode.TOO_DEEP in codes(parse(text))


def test_a_document_of_exactly_the_allowed_depth_is_read() -> None:
    assert parse("[" * 100 + "]" * 100).notes == ()


@pytest.mark.parametrize("content", [b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16")])
def test_another_encoding_is_an_error_and_read_as_far_as_possible(content: bytes) -> None:
    document = parse(content)
    assert codes(document)[0] is NoteCode.ENCODING
    assert document.at("/a") is not None


def test_surrogates_are_kept_as_json_keeps_them() -> None:
    assert plain('["\\ud83d\\ude00", "\\ud800"]') == json.loads('["\\ud83d\\ude00", "\\ud800"]')


def test_null_is_no_missing_value() -> None:
    root = parse("null").root
    assert root is not None
    assert root.kind is Kind.NULL


def test_many_faults_end_as_a_bounded_list() -> None:
    assert len(parse("{" + "@ ," * 10_000 + "}").notes) <= 500
