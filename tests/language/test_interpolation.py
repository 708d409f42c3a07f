"""`${VAR}` in text values."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autocoder.interpolation import InterpolationError, escape, interpolate, interpolate_tree
from autocoder.yaml_document import parse_yaml, to_python

ENVIRON = {"A": "alpha", "EMPTY": "", "B": "${A} $$ }", "API_TOKEN": "s3cret"}


def filled(text: str) -> str:
    return interpolate(text, ENVIRON)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "alpha"), ("x${A}y${A}", "xalphayalpha"), ("${EMPTY}", ""), ("$${A}", "${A}"), ("$$", "$"), ("$$$$", "$$"),
        ("$$${A}", "$alpha"), ("${A:-other}", "alpha"), ("${NO:-other}", "other"), ("${EMPTY:-other}", "other"),
        ("${NO:-}", ""), ("${NO:-${A}}", "alpha"), ("${NO:-${NO2:-deep}}!", "deep!"), ("${NO:-a$$b}", "a$b"),
        ("${A:?missing}", "alpha"), ("${A:-${NO}}", "alpha"), ("${B}", "${A} $$ }"), ("${NO:-{x}", "{x"),
        ("^\\d+$", "^\\d+$"), ("$1 $.path $A", "$1 $.path $A"), ("}", "}"), ("cost: $", "cost: $"),
    ],
)  # fmt: skip
def test_forms(text: str, expected: str) -> None:
    assert filled(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO}", "the variable NO is not set"), ("${NO:?give it}", "the variable NO is not set: give it"),
        ("${EMPTY:?give it}", "the variable EMPTY is empty: give it"), ("${NO:?}", "the variable NO is not set"),
        ("${A", "never closed"), ("${A:-b", "never closed"), ("${A:?b", "never closed"), ("${", "name of a variable"),
        ("${}", "name of a variable"), ("${1A}", "name of a variable"), ("${A-b}", "unknown form"), ("${A b}", "unknown form"),
        ("${NO:-${NO2}}", "the variable NO2 is not set"), ("${A:-${}}", "name of a variable"), ("${NO:-" * 40, "nested deeper"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        filled(text)
    assert message in str(caught.value)


def test_all_that_is_missed_in_a_text_is_told_at_once() -> None:
    tree, _ = parse_yaml("url: '${USER}:${EMPTY:?write one}@${HOST:-${USER}${FALLBACK}}/${A}/${A-b}'\n", "file")
    assert [str(each) for each in interpolate_tree(tree, ENVIRON).problems] == [
        "file:1:6: the variable USER is not set; set it, or give a default: ${USER:-...}",
        "file:1:6: the variable EMPTY is empty: write one; set EMPTY",
        "file:1:6: the variable FALLBACK is not set; set it, or give a default: ${FALLBACK:-...}",
        "file:1:6: ${A... has an unknown form; write ${NAME}, ${NAME:-default}, ${NAME:?message}, or $$ for a dollar",
    ]


def test_a_near_name_is_offered() -> None:
    with pytest.raises(InterpolationError) as caught:
        filled("${API_TOKN}")
    assert caught.value.cure == "set it, or give a default: ${API_TOKN:-...}, did you mean 'API_TOKEN'?"


@given(st.text())
def test_text_without_a_dollar_is_unchanged(text: str) -> None:
    assume("$" not in text)
    assert interpolate(text, {}) == (text, frozenset())


@given(st.text(st.sampled_from("${}:-?AB x")))
def test_escaping_round_trips(text: str) -> None:
    assert interpolate(escape(text), {})[0] == text


@given(st.text(), st.text(st.sampled_from("${}:-?AB x")), st.text(st.characters(exclude_characters="$")))
def test_the_value_of_a_variable_is_never_interpolated_again(before: str, value: str, after: str) -> None:
    text = f"{escape(before)}${{V}}{after}"
    assert interpolate(text, {"V": value})[0] == before + value + after
    if value:
        assert interpolate(f"${{N:-{text}}}", {"V": value})[0] == before + value + after or "}" in before + after


def test_secret_variables_are_remembered() -> None:
    assert interpolate("Bearer ${API_TOKEN} ${A}", ENVIRON) == ("Bearer s3cret alpha", frozenset({"s3cret"}))
    assert interpolate("${DB_PASSWORD:-fallback}", {})[1] == frozenset({"fallback"})
    assert interpolate("${A:-${API_TOKEN}}", ENVIRON)[1] == frozenset()


def test_only_text_values_are_touched() -> None:
    root, _ = parse_yaml("${A}: [\"${A}\", 1, true, null] # ${NO}\nx: '$${A}'\n", "f.yaml")
    assert root is not None
    done = interpolate_tree(root, ENVIRON)
    assert to_python(done.node) == {"${A}": ["alpha", 1, True, None], "x": "${A}"}
    assert not done.problems
    assert interpolate_tree(done.node, ENVIRON).node == done.node


def test_every_failure_has_its_place() -> None:
    root, _ = parse_yaml("a: ${NO}\nb: {c: 'x${'}\nd: &d ${NO2}\ne: *d\n", "f.yaml")
    assert root is not None
    found = interpolate_tree(root, {}).problems
    assert [(each.place.line, each.place.column) for each in found] == [(1, 4), (2, 8), (3, 4)]


def test_a_value_stays_text() -> None:
    root, _ = parse_yaml("port: ${PORT}\n", "f.yaml")
    assert root is not None
    assert to_python(interpolate_tree(root, {"PORT": "80"}).node) == {"port": "80"}
