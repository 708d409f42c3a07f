"""Who may ask: sessions that end, names that are ours, and what is refused before anything listens."""

from __future__ import annotations

from typing import Any

import pytest
from autocoder_components.assessments.web.options import (
    WebOptions,
    check_token,
    host_of,
    is_loopback,
    outside_url,
)
from autocoder_components.assessments.web.security import SESSION_SECONDS, Guard
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from tests.assessments.web.conftest import TOKEN


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


def asking(method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "headers": raw, "path": "/", "query_string": b""})


def test_a_session_reads_until_it_ends_and_changes_nothing() -> None:
    clock = Clock()
    guard = Guard(WebOptions(TOKEN), clock=clock)
    session = guard.session()
    assert TOKEN not in session
    cookie = f"autocoder={session}"
    assert guard.admits(asking(cookie=cookie))
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        assert not guard.admits(asking(method, cookie=cookie))
    assert Guard(WebOptions(TOKEN), clock=clock).admits(asking(cookie=cookie)), "another instance, the same token"
    assert not Guard(WebOptions(TOKEN + "x"), clock=clock).admits(asking(cookie=cookie)), "the token was changed"
    assert not guard.admits(asking(cookie=cookie, authorization="Bearer wrong")), "who shows a token is judged by it"
    clock.now += SESSION_SECONDS - 1
    assert guard.admits(asking(cookie=cookie))
    clock.now += 1
    assert not guard.admits(asking(cookie=cookie))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters=";"), max_size=80))
def test_nothing_made_up_is_a_session(made_up: str) -> None:
    guard = Guard(WebOptions(TOKEN))
    until, _, seal = guard.session().partition(".")
    later = str(int(until) + 1)
    for cookie in (
        made_up,
        f"{until}.{made_up}",
        f"{made_up}.{seal}",
        f"{later}.{seal}",
        f" {until}.{seal}x",
        until,
        f".{seal}",
    ):
        assert not guard.admits(asking(cookie=f"autocoder={cookie}")) or cookie.strip() == guard.session()
        assert not guard.is_token(cookie)


def test_without_a_token_there_is_nothing_to_show() -> None:
    guard = Guard(WebOptions())
    assert guard.is_open and guard.admits(asking("POST"))
    assert not guard.is_token("") and not guard.is_token("None")


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(WebOptions(TOKEN)) + repr(Guard(WebOptions(TOKEN)))


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "correct horse battery staple", "pässword-long-enough", "x" * 16 + "\0"]
)
def test_a_token_that_can_be_guessed_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"^a token has at least 16") as refused:
        check_token(token)
    assert len(token) < 6 or token not in str(refused.value)


def test_the_line_break_of_a_file_is_no_part_of_the_token() -> None:
    assert check_token(f"{TOKEN}\r\n") == TOKEN


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8321", "localhost"),
        ("[::1]:8321", "::1"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("localhost.", "localhost"),
        ("localhost:99999", ""),
        ("localhost:x", ""),
        ("user@localhost", ""),
        ("localhost/x", ""),
        ("localhost?x", ""),
        ("localhost#x", ""),
        ("[::1", ""),
        ("", ""),
        ("evil.example", "evil.example"),
    ],
)
def test_the_name_in_a_host_header(header: str, host: str) -> None:
    assert host_of(header) == host


@given(st.text())
def test_no_host_header_is_too_odd_to_be_judged(header: str) -> None:
    assert isinstance(host_of(header), str)


def test_a_name_that_cannot_be_read_is_nobodys() -> None:
    guard = Guard(WebOptions(hosts=frozenset({"localhost", ""})))
    assert [guard.knows_host(asking(host=each)) for each in ("localhost:1", "", "[::1", "a@b")] == [
        True,
        False,
        False,
        False,
    ]
    assert not guard.knows_host(asking())


def test_what_only_this_machine_reaches() -> None:
    assert [is_loopback(each) for each in ("127.0.0.1", "127.8.9.1", "::1")] == [True] * 3
    assert [is_loopback(each) for each in ("0.0.0.0", "::", "192.168.0.1", "fe80::1%eth0", "8.8.8.8")] == [False] * 5


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://assessments.example.org", ("assessments.example.org", True)),
        ("http://Host.example:8080/", ("host.example", False)),
        ("https://[2001:db8::1]:443", ("2001:db8::1", True)),
        *(
            (wrong, None)
            for wrong in ("example.org", "ftp://x.org", "https://", "https://x.org/path", "https://u@x.org")
        ),
        *((wrong, None) for wrong in ("https://x.org:99999", "https://[::1", "https://x.org?a=b", "")),
    ],
)
def test_the_address_that_people_use(url: str, found: Any) -> None:
    if found is None:
        with pytest.raises(ValueError, match="is no address to be called by"):
            outside_url(url)
    else:
        assert outside_url(url) == found
