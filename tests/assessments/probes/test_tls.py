"""Certificates: what is good, what ends soon, and what nobody should accept."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from anyio.abc import SocketStream
from autocoder_components.assessments import ProbeServer
from autocoder_components.assessments.model import Status
from autocoder_components.assessments.probes.component import CertificatesError

from tests.assessments.probes.conftest import MODERN, Authority, always, answer, json_rpc, listening, probe, rules

pytestmark = pytest.mark.anyio


async def asked(context: ssl.SSLContext, authority: Authority | None, **fields: object) -> object:
    async with listening(json_rpc(MODERN), tls=context) as port:
        file = None if authority is None else authority.file
        return await probe({"type": "http", "url": f"https://127.0.0.1:{port}/mcp"}, ca_file=file, **fields)


async def test_a_good_certificate_of_a_known_authority_passes(authority: Authority) -> None:
    outcome = await asked(authority.context(), authority)
    assert (outcome.status, outcome.findings) == (Status.PASS, ())


async def test_one_that_ends_soon_is_remarked_on(authority: Authority) -> None:
    context = authority.context(until=timedelta(days=5))
    outcome = await asked(context, authority)
    assert rules(outcome) == ["AC-807"]
    assert "expires in 4 days" in outcome.findings[0].message
    assert rules(await asked(context, authority, expiry_days=3)) == []


@pytest.mark.parametrize(
    ("made", "known", "rule", "said"),
    [
        ({"since": timedelta(-30), "until": timedelta(-1)}, True, "AC-804", "is expired"),
        ({"since": timedelta(30)}, True, "AC-804", "is not valid yet"),
        ({"name": "127.0.0.2"}, True, "AC-805", "is for another name"),
        ({"name": "other.example"}, True, "AC-805", "is for another name"),
        ({}, False, "AC-806", "is not trusted"),
    ],
)
async def test_certificates_that_nobody_should_accept(
    authority: Authority, made: dict[str, object], known: bool, rule: str, said: str
) -> None:
    outcome = await asked(authority.context(**made), authority if known else None)
    assert rules(outcome) == [rule]
    assert said in outcome.findings[0].message


async def test_what_speaks_no_tls_is_a_finding() -> None:
    async def plain(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(answer(400))

    async with listening(plain) as port:
        outcome = await probe({"type": "http", "url": f"https://127.0.0.1:{port}/mcp"})
    assert rules(outcome) == ["AC-808"]


async def test_a_redirect_off_encryption_is_refused(authority: Authority) -> None:
    async with listening(json_rpc(MODERN)) as plain:
        redirect = always(answer(307, b"", f"Location: http://127.0.0.1:{plain}/mcp"))
        async with listening(redirect, tls=authority.context()) as port:
            outcome = await probe({"type": "http", "url": f"https://127.0.0.1:{port}/"}, ca_file=authority.file)
    assert rules(outcome) == ["AC-810"]
    assert "without encryption" in outcome.findings[0].message


async def test_a_file_without_certificates_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(CertificatesError, match="holds no certificates that can be read"):
        await ProbeServer(ca_file=tmp_path / "none.pem").open()


async def test_a_handshake_that_never_ends_has_its_time_and_no_more() -> None:
    async def mute(stream: SocketStream) -> None:
        while True:
            await stream.receive()

    async with listening(mute) as port:
        outcome = await probe({"type": "http", "url": f"https://127.0.0.1:{port}/mcp"}, timeout=0.5)
    assert rules(outcome) == ["AC-812"]
    assert "waiting for the TLS handshake" in outcome.findings[0].message
