"""Which addresses may be contacted: names stand for public ones alone, whatever shape an inner one is written in."""

from __future__ import annotations

import ipaddress

import pytest
from autocoder_components.assessments import ProbeServer
from autocoder_components.assessments.probes.http import Url
from autocoder_components.assessments.probes.outcome import NotAskedError, ProbeError
from autocoder_components.assessments.probes.reach import Reach
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2a00:1450::1"]
INNER = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::"),
    *(
        "::ffff:0:7f00:1",
        "::ffff:0:808:808",
        "5f00::1",
        "3fff::1",
        "3fff:fff::1",
        "::7f00:1",
        "64:ff9b:1::1",
        "fec0::1",
    ),
    *("100::1", "100:0:0:1::1", "4000::1", "8000::1", "2001:db8::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_stands_for_its_public_addresses(address: str) -> None:
    number = ipaddress.ip_address(address)
    assert Reach.of(["*.example.org"]).allows("mcp.example.org", number)
    assert not Reach.of(["*.example.org"]).allows("example.org", number)
    assert not Reach.of(["*.example.org"]).allows("mcp.example.org.evil.net", number)
    assert not Reach.of([]).allows("mcp.example.org", number)


@pytest.mark.parametrize("address", INNER)
def test_no_name_makes_an_inner_address_reachable(address: str) -> None:
    number = ipaddress.ip_address(address)
    assert not Reach.of(["*", "mcp.example.org"]).allows("mcp.example.org", number)
    assert Reach.of([address]).allows("mcp.example.org", number)


@given(st.ip_addresses())
def test_what_is_reachable_by_name_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if Reach.of(["*"]).allows("mcp.example.org", address):
        assert address.is_global
        assert not address.is_private
        assert not address.is_multicast


@pytest.mark.anyio
async def test_what_the_resolver_says_is_judged_not_the_name() -> None:
    with pytest.raises(NotAskedError, match="'localhost' has a private, local or metadata address"):
        await Reach.of(["localhost"]).addresses("localhost", 80)
    assert await Reach.of(["127.0.0.1"]).addresses("LOCALHOST.", 80) == ["127.0.0.1"]
    for disguised in ("0x7f.1", "2130706433", "0177.0.0.1", "127.1"):
        with pytest.raises((NotAskedError, ProbeError)):
            await Reach.of(["*"]).addresses(disguised, 80)


@pytest.mark.anyio
async def test_a_name_that_nobody_allowed_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolver(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(0, 0, 0, "", ("10.1.2.3", 80))]

    monkeypatch.setattr("autocoder_components.assessments.probes.reach.anyio.getaddrinfo", resolver)
    for hosts in ([], ["127.0.0.1"], ["10.1.0.0/16"], ["*.example.org", "10.1.0.0/16"]):
        with pytest.raises(NotAskedError, match=r"'mcp\.evil\.example' is not among the hosts"):
            await Reach.of(hosts).addresses("mcp.evil.example", 80)
    assert asked == []
    both = Reach.of(["*.example.org", "10.1.0.0/16"])
    assert await both.addresses("mcp.example.org", 80) == ["10.1.2.3"]
    assert await both.addresses("10.1.0.9", 80) == ["10.1.0.9"]
    assert asked == ["mcp.example.org"]


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["a" * 300, "no..dots", "\udcff"])
async def test_what_is_no_name_is_told(host: str) -> None:
    with pytest.raises(ProbeError, match="is not known"):
        await Reach.of(["*"]).addresses(host, 80)


@pytest.mark.parametrize("host", ["https://example.org", "example.org:443", "10.0.0.0/99", "", " "])
def test_what_is_no_host_is_refused_at_its_place(host: str) -> None:
    with pytest.raises((ValidationError, ValueError), match="is no name, address or network"):
        ProbeServer(hosts=[host])


@pytest.mark.parametrize(
    ("text", "origin", "target"),
    [
        ("https://a.example", ("https", "a.example", 443), "/"),
        ("HTTP://A.example:8080/b?c=d#e", ("http", "a.example", 8080), "/b?c=d"),
        ("http://[::1]:80/x", ("http", "::1", 80), "/x"),
        ("http://münchen.example/", ("http", "xn--mnchen-3ya.example", 80), "/"),
    ],
)
def test_a_url_in_its_parts(text: str, origin: tuple[str, str, int], target: str) -> None:
    url = Url.of(text)
    assert url is not None
    assert (url.origin, url.target) == (origin, target)


@pytest.mark.parametrize(
    "text",
    ["", "a", "ftp://a", "http://", "http://[", "http://a:x/", "http://a/b c", "http://a/\u202e", "//a/b", "http:/a"],
)
def test_what_is_no_url_of_http(text: str) -> None:
    assert Url.of(text) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_the_reading_of_addresses(text: str, reference: str) -> None:
    Url.of(text)
    Url.of(f"http://{text}")
    base = Url.of("https://a.example/x")
    assert base is not None
    joined = base.join(reference)
    assert joined is None or joined.scheme in {"http", "https"}


def test_a_login_is_for_the_header_and_never_shown() -> None:
    url = Url.of("https://ada:sk-never-shown@a.example/sk-never-shown")
    assert url is not None
    assert url.login == "Basic YWRhOnNrLW5ldmVyLXNob3du"
    assert "sk-never-shown" not in repr(url)
