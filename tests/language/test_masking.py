"""What is secret stays out of texts for people, and nothing else does."""

from __future__ import annotations

import pytest

from autocoder.masking import Redactor, is_secret_name


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
        ("https://hooks.example/T1/B2", "posted to https://hooks.example/T1/B2", "posted to ***"),
        ("postgresql://[host/shop", "no server at postgresql://[host/shop", "no server at ***"),
    ],
)
def test_of_the_url_of_a_database_the_passwords_are_masked_and_of_all_else_the_whole(
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
