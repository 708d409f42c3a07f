"""Secrets in a pipeline are used, and shown nowhere."""

from __future__ import annotations

import pytest

from tests.language.texts import Load, Wrong, component

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "fields",
    [
        "upto: '${MY_TOKEN}'", "upto: 1, mode: '${MY_TOKEN}'", "upto: 1, token: ['${MY_TOKEN}']", f"upto: 1, token: [{SECRET}]",
        f"upto: 1, columns: [{{name: a, password: {SECRET}}}]", f"upto: 1, headers: {{Authorization: [{SECRET}]}}",
        f"upto: 1, note: token, token: {SECRET}", "upto: 1, mode: slow, note: 'x ${MY_TOKEN} y'",
        "upto: 1, columns: '${MY_TOKEN}'", "upto: 1, '${MY_TOKEN}': 3", f"upto: 1, api_key: {SECRET}",
        "upto: 1, pause: '${MY_TOKEN}'",
    ],
)  # fmt: skip
def test_secrets_are_never_shown(wrong: Wrong, fields: str) -> None:
    found = wrong(component(f"{{use: parts:Numbers, with: {{{fields}}}}}"), {"MY_TOKEN": SECRET})
    assert found
    assert not any(SECRET in each for each in found), found


@pytest.mark.parametrize("key", ["use", "from", "on_error", "run_in", "concurrency", "ordered"])
def test_secrets_are_never_shown_by_options(wrong: Wrong, key: str) -> None:
    options = {"use": "parts:Double", key: "'${MY_TOKEN}'"}
    body = ", ".join(f"{name}: {value}" for name, value in options.items())
    for secret in (SECRET, "x"):
        found = wrong(component(f"{{{body}}}"), {"MY_TOKEN": secret})
        assert not any(SECRET in each or "'x'" in each for each in found), found


def test_short_and_embedded_secrets_are_not_shown_either(wrong: Wrong) -> None:
    for fields, secret in {"token: 123456": "123456", "pin: qq7": "qq7", "pin: '${MY_TOKEN}'": "x9"}.items():
        (message,) = wrong(component(f"{{use: parts:Numbers, with: {{upto: 1, {fields}}}}}"), {"MY_TOKEN": "x9"})
        assert secret not in message and "***" in message
    for use in ("files.${MY_TOKEN}", "a${MY_TOKEN}:B", "parts:${MY_TOKEN}"):
        (message,) = wrong(component(f"{{use: '{use}'}}"), {"MY_TOKEN": "hunter2_hunter2"})
        assert "hunter2" not in message


def test_secrets_are_handed_to_the_redactor(load: Load) -> None:
    text = component(
        "{use: parts:Numbers, with: {upto: 1, token: '${ANY}', headers: {Authorization: 'Bearer ${A_TOKEN}', x: y}}}"
    )
    declared, problems = load(text, {"ANY": "any-thing", "A_TOKEN": "abcdef"})
    assert not problems and declared is not None
    assert declared.secrets == {"any-thing", "abcdef", "Bearer abcdef", "0000-by-default"}
