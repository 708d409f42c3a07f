"""What is secret stays out of texts for people, and nothing else does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocoder.masking import Redactor, is_secret_name, masked, unmasked

REDACT = Redactor(["hush-hush"])
TEXTS = st.lists(
    st.sampled_from(["a", "***", "hush-hush", "http://me:pw@h/", '{"token": "x\\"y", "n": "z"}', '"', "\n"]), max_size=5
).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "token", "b"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("sqlite:///data/shop.db", "no table in sqlite:///data/shop.db", "no table in sqlite:///data/shop.db"),
        (
            "postgresql://me:hunter2@host/shop?sslpassword=open%20sesame&application_name=till",
            "postgresql://me:hunter2@host/shop: open sesame, open%20sesame, hunter2, till",
            "postgresql://me:***@host/shop: ***, ***, ***, till",
        ),
        ("postgresql+asyncpg://me:p%40ss@host/shop", "p@ss at host", "*** at host"),
        (
            "redis://:hunter2@cache:6379/0",
            "the cache redis://:hunter2@cache:6379/0",
            "the cache redis://:***@cache:6379/0",
        ),
        ("rediss://cache:6379/0", "the cache rediss://cache:6379/0", "the cache rediss://cache:6379/0"),
        ("https://hooks.example/T1/B2", "posted to https://hooks.example/T1/B2", "posted to ***"),
        ("postgresql://[host/shop", "no server at postgresql://[host/shop", "no server at ***"),
    ],
)
def test_of_the_url_of_a_database_or_a_redis_the_passwords_are_masked_and_of_all_else_the_whole(
    secret: str, text: str, shown: str
) -> None:
    assert Redactor([secret])(text) == shown


@pytest.mark.parametrize(
    "name",
    ["PGPASSWORD", "DB_PASSWORD_2", "smtp_pwd", "signing-key", "SERVICE_AUTH_KEY", "GITHUB_TOKEN", "Authorization"],
)
def test_names_that_usually_hold_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "compass_x", "key", "partition_key", "author"])
def test_names_that_usually_hold_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"api_key": "k1", "note": "n", "n": 1}', '{"api_key": "***", "note": "n", "n": 1}'),
        ('{"env": {"DB_PASSWORD" : "a\\"b\\\\"}, "x": "y"}', '{"env": {"DB_PASSWORD" : "***"}, "x": "y"}'),
        ('cut short: {"token": "abc', 'cut short: {"token": "***'),
        ('"token", "abc"', '"token", "abc"'),
    ],
)
def test_a_text_that_is_json_is_masked_as_an_object_would_be(text: str, shown: str) -> None:
    assert masked({"line": text}, REDACT) == {"line": shown}
    assert REDACT.preview(text) == repr(shown)


@given(VALUES)
def test_what_was_masked_and_not_edited_is_as_it_was(value: Any) -> None:
    shown = masked(value, REDACT)
    assert "hush-hush" not in json.dumps(shown)
    assert unmasked(json.loads(json.dumps(shown)), shown, value) == value


def test_an_edit_beside_a_masked_part_is_kept() -> None:
    original = {"line": '{"token": "t1", "host": "hsot", "url": "ftp://me:pw@h"}', "token": 5}
    shown = masked(original, REDACT)
    edited = {**shown, "line": shown["line"].replace("hsot", "host")}
    assert unmasked(edited, shown, original) == {"line": original["line"].replace("hsot", "host"), "token": 5}
    with pytest.raises(ValueError, match="shown with 2 masked parts and has 1; leave each"):
        unmasked({**edited, "line": edited["line"].replace("me:***@", "")}, shown, original)


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), (True, 1)])
def test_an_edit_that_python_takes_for_equal_is_kept(before: object, after: object) -> None:
    edited = unmasked({"n": after}, {"n": before}, {"n": before})
    assert type(edited["n"]) is type(after)


@pytest.mark.parametrize(
    ("original", "edited", "place"),
    [
        ({"l": [{"password": "p1"}]}, {"l": [{"password": "***"}, {"n": 1}]}, "l.0.password"),
        ({"l": [{"password": "p1"}, {"password": "p2"}]}, {"l": [{"password": "***"}]}, "l.0.password"),
        ({"passwd": "p1"}, {"password": "***"}, "password"),
        ({"password": ["p1"]}, {"password": "***1"}, "password"),
        ({"password": ["p1"]}, {"password": ["***"]}, "password.0"),
        ({"hush-hush": 1, "see hush-hush": 2}, {"*** 2": 1}, "*** 2"),
        ({"n": 1}, "***", "all of it"),
    ],
)
def test_a_mask_is_never_stored_in_place_of_a_secret(original: Any, edited: Any, place: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(place)}: \*\*\* stands where none was shown"):
        unmasked(edited, masked(original, REDACT), original)


def test_names_that_were_masked_are_put_back() -> None:
    original = {"hush-hush": {"n": 1}, "m": 2}
    assert unmasked({"***": {"n": 1}, "m": 3}, masked(original, REDACT), original) == {"hush-hush": {"n": 1}, "m": 3}


def test_where_mask_and_text_cannot_be_told_apart_no_edit_is_made() -> None:
    original = "*hush-hush*"
    with pytest.raises(ValueError, match="nothing says what is masked in this text"):
        unmasked("*****!", masked(original, REDACT), original)
