"""YAML as a tree with places: what is read, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoder.errors import Place
from autocoder.yaml_document import MappingNode, ScalarNode, from_python, parse_yaml, read_yaml, to_python


def problems(text: str) -> list[str]:
    return [str(each).removeprefix("f.yaml:") for each in parse_yaml(text, "f.yaml")[1]]


def value(text: str) -> object:
    node, found = parse_yaml(text, "f.yaml")
    assert node is not None and not found, found
    return to_python(node)


def test_every_key_and_value_keeps_its_place() -> None:
    root, _ = parse_yaml("a: 1\nb:\n  - {c: ü, d: x}\n", "f.yaml")
    assert isinstance(root, MappingNode)
    second = root.find("b")
    assert second is not None and second.place == Place("f.yaml", 2, 1)
    inner = second.value.items[0]  # type: ignore[union-attr]
    assert [(each.place.column, each.value.place.column) for each in inner] == [(6, 9), (12, 15)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1), ("-17", -17), ("0x1F", 31), ("0o17", 15), ("1.5", 1.5), ("1e3", 1000.0), (".inf", math.inf),
        ("true", True), ("FALSE", False), ("~", None), ("'1'", "1"), ('"true"', "true"), ("!!str 12", "12"),
        ("!!float 3", 3), ("text", "text"), ("|\n    two\n    lines\n", "two\nlines\n"),
        # YAML 1.1 would read each of these as something that nobody meant
        ("on", "on"), ("no", "no"), ("2024-01-01", "2024-01-01"), ("1:30", "1:30"), ("0123", "0123"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, expected: object) -> None:
    assert value(f"a: {text}") == {"a": expected}


def test_on_is_a_key_like_any_other() -> None:
    assert value("on: [a]") == {"on": ["a"]}


def test_aliases_give_the_same_value() -> None:
    assert value("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz", min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_python_data_round_trips(data: object) -> None:
    assert to_python(from_python(data, Place("x"))) == data


@given(json_values)
def test_json_is_read_as_json_reads_it(data: object) -> None:
    assert value(json.dumps({"a": data}, ensure_ascii=False)) == {"a": data}


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    node, found = parse_yaml(text, "f.yaml")
    assert node is not None or found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: the key 'a' stands here twice, first at line 1; keep one of them"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "1:4: tags are refused: a pipeline is plain data; found !!python/object",
        ),
        ("a: !secret x\n", "1:4: tags are refused: a pipeline is plain data; found !secret"),
        ("a: !!binary aGk=\n", "1:4: tags are refused"),
        ("a: !!int x\n", "1:4: this is no int, though its tag says so; found 'x'"),
        ("1: x\n", "1:1: a key must be text; found 1; put it in quotes"),
        ("true: x\n", "1:1: a key must be text; found true"),
        ("? [a]\n: x\n", "1:3: a key must be text; found a list"),
        ("a: {{ x }}\n", "1:5: a key must be text; found a mapping; put a value that starts with { or [ in quotes"),
        ("b: &b {x: 1}\na:\n  <<: *b\n", "3:3: merge keys are refused"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here"),
        (
            "a: *nowhere\n",
            "1:4: there is no such anchor above; found *nowhere; put a text that starts with * in quotes",
        ),
        ("a: &x [*x]\n", "1:8: an alias stands inside its own anchor"),
        ("", " is empty"),
        ("# only a comment\n", " is empty"),
        ("a: \0\n", "1:4: this is a binary file"),
        ("a: \x1b[1m\n", "1:4: a control character is no YAML text; found U+001B"),
        ("a:\n\tb: 1\n", "2:1: a tab indents this line; indent with spaces"),
        ("a: b: c\n", "1:5: a second `: ` on one line"),
        ("a: %x\n", "1:4: no value can start with this character; put the value in quotes"),
        ("a: {b: 1\nc: 2\n", "a comma or the closing } is missing (opened at 1:4)"),
        ("a: [1, 2\n", "a comma or the closing ] is missing"),
        ('a: "b\nc: 1\n', "a quote or bracket is never closed (opened at 1:4)"),
        ("a: {path: ${INBOX}}\n", 'a ${...} between { } or [ ] must be in quotes; write "${NAME}"'),
        ("a: 1\nb\nc: 2\n", "this is neither `key: value` nor part of the text above"),
        ('a: "\\d"\n', "an unknown escape: in double quotes \\ has a meaning"),
        ("a: *.txt\n", "a value that starts with * or & must be in quotes"),
        ("a:\n    b: 1\n  c: 2\n", "this line does not fit the lines above"),
    ],
)
def test_refused(text: str, message: str) -> None:
    found = problems(text)
    assert any(message in each for each in found), found


def test_all_problems_at_once() -> None:
    found = problems("a: 1\na: 2\nb: !x y\n1: z\nc: [\n")
    assert [each.split(":")[0] for each in found] == ["2", "3", "4", "6"]


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (message,) = problems("\n".join(lines))
    assert "more than 100,000 values once its aliases are expanded" in message


@pytest.mark.parametrize("text", ["[" * 65, "{a: " * 65, "- " * 65])
def test_depth_is_bounded(text: str) -> None:
    assert "is nested deeper than 64 levels" in problems(text)[0]


def test_depth_is_bounded_through_aliases() -> None:
    text = f"a: &a {'[' * 40}{']' * 40}\nb: {'[' * 40}*a{']' * 40}\n"
    assert "is nested deeper than 64 levels" in problems(text)[0]


def test_extreme_nesting_does_not_bring_the_process_down() -> None:
    assert problems("- " * 400_000)
    assert problems("[" * 900_000)


def test_size_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.write_text("a: " + "x" * (2 << 20))
    assert [str(each) for each in read_yaml(file, "big.yaml")[1]] == [
        "big.yaml: is larger than 1 MiB; keep data out of the YAML, name a file instead"
    ]
    assert "is larger than 1 MiB" in problems("é" * (600 << 10))[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("a: 1")
    (tmp_path / "binary.yaml").write_bytes(b"\x7fELF\x02\x01\x01\0\xff\xfe")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: für".encode("latin-1"))

    def said(name: str) -> str:
        (problem,) = read_yaml(tmp_path / name, name)[1]
        return str(problem)

    assert said("missing.yaml") == (
        "missing.yaml: there is no such file; YAML files beside it: binary.yaml, latin.yaml, other.yaml"
    )
    assert said(".").startswith(".: this is a folder")
    assert said("binary.yaml").startswith("binary.yaml:1:1: this is no UTF-8 text")
    assert said("latin.yaml") == "latin.yaml:2:1: this is no UTF-8 text; found byte 0xfc; save the file as UTF-8"
    assert "there is no folder" in said("nowhere/x.yaml")
    assert "is no file name" in said("nul\0.yaml")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    root, found = read_yaml(file)
    assert not found and root is not None and to_python(root) == {"a": 1}


def test_an_unknown_alias_leaves_a_hole() -> None:
    root, _ = parse_yaml("a: *x\n", "f.yaml")
    assert isinstance(root, MappingNode)
    (entry,) = root
    assert isinstance(entry.value, ScalarNode) and entry.value.unresolved
