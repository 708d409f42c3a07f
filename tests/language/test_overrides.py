"""What an environment lays over a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from autocoder.declaration import CommitPolicy, ErrorPolicy, RetryPolicy
from tests.language.texts import Load, Wrong, component

OVERRIDES = {"components": {"a": {"with": {"upto": 7}, "on_error": {"then": "stop"}}}, "commit": {"every": "1s"}}


def test_overrides_are_laid_over(load: Load) -> None:
    text = (
        "pipeline: p\ncomponents:\n  a:\n    use: parts:Numbers\n    with: {upto: '${UNSET}', note: kept}\n"
        "    on_error: {retry: {attempts: 2}, then: drop}\ncommit: {messages: 5}\n"
    )
    declared, problems = load(text, overrides=OVERRIDES)
    assert not problems and declared is not None
    (a,) = declared.components
    assert (a.component.upto, a.component.note) == (7, "kept")  # type: ignore[union-attr]
    assert a.on_error == ErrorPolicy(RetryPolicy(2), "stop") and declared.commit == CommitPolicy(1.0, 5)


def test_overrides_are_final(load: Load) -> None:
    declared, problems = load(
        component("{use: parts:Numbers, with: {upto: 1}}"),
        {"A": "x"},
        overrides={"components": {"a": {"with": {"note": "${A} $$"}}}},
    )
    assert not problems and declared is not None
    assert declared.components[0].component.note == "${A} $$"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"components": {"b": {}}},
            "overrides: the overrides name a component that the pipeline lacks: 'b'; components: a",
        ),
        ({"components": {"a": {"use": "os:system"}}}, "overrides: the overrides of 'a' has no key 'use'"),
        ({"components": {"a": 3}}, "overrides: the overrides of 'a' must be a mapping; found 3"),
        (
            {"component": {}},
            "overrides: the overrides of a pipeline has no key 'component'; did you mean 'components'?",
        ),
        ({"components": 3}, "overrides: components must be a mapping; found 3"),
        ({"components": {"a": {"with": {"upto": 0}}}}, "overrides: a: upto: must be greater than 0; found 0"),
        ({"components": {"a": {"with": {"nte": ""}}}}, "overrides: a has no field 'nte'; did you mean 'note'?"),
    ],
)
def test_wrong_overrides(wrong: Wrong, overrides: Any, message: str) -> None:
    (found,) = wrong(component("{use: parts:Numbers, with: {upto: 1}}"), overrides=overrides)
    assert message in found


def test_overrides_may_be_asked_for_by_the_name_of_the_pipeline(load: Load) -> None:
    asked: list[str] = []

    def overrides(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"components": {"a": {"with": {"upto": 7}}}}

    text = "pipeline: 'p-${STAGE}'\ncomponents:\n  a: {use: parts:Numbers, with: {upto: 1}}\n"
    declared, problems = load(text, {"STAGE": "two"}, overrides=overrides)
    assert declared is not None and (problems, asked) == ([], ["p-two"])
    assert declared.components[0].component.upto == 7  # type: ignore[union-attr]
    assert [str(each) for each in load(text, {}, overrides=lambda _: None)[1]] == [
        "pipeline.yaml:1:11: the variable STAGE is not set; set it, or give a default: ${STAGE:-...}"
    ]
