"""Servers to probe: programs of our own, servers of the public `mcp` package on loopback, and fakes that mean harm."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from autocoder_components.assessments import ProbeServer
from autocoder_components.assessments.discover import discover
from autocoder_components.assessments.model import Check, CheckKind, Outcome
from autocoder_components.assessments.requests import RequestSpec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = ["127.0.0.1"]
SDK = Path(__file__).with_name("sdk_server.py")
NOW = "2026-11-21T08:00:00+00:00"
PATIENCE = (0.5, 2.0, 8.0, 60.0)
Handler = Callable[[SocketStream], Awaitable[None]]
Write = Callable[[str], list[str]]


def check_of(server: dict[str, Any], **request: Any) -> Check:
    """The probe of one server that a configuration names."""
    text = json.dumps({"mcpServers": {"it": server}})
    asked = RequestSpec.model_validate({"candidates": [{"text": text}], "checkServerStatus": True, **request}).request(
        NOW
    )
    (target,) = [each for each in discover(asked).targets if each.server is not None]
    return Check(asked, target, CheckKind.STATUS, 1)


async def probe(server: dict[str, Any], **fields: Any) -> Outcome:
    """The outcome of probing one server with a component of these fields, everything on loopback allowed."""
    component = ProbeServer(**{"allow_exec": True, "hosts": LOOPBACK, "timeout": 60, "grace": 30, **fields})
    await component.open()
    return await component.process(check_of(server))


async def late(
    reached: Callable[[], bool],
    server: dict[str, Any],
    *,
    ask: Callable[..., Awaitable[Outcome]] = probe,
    **fields: Any,
) -> tuple[Outcome, float]:
    """The outcome of a probe whose time was over after the server had `reached` what it does to it; and that time.

    The time is short: where a machine is too slow for the server to come so far in it, it is asked again with more.
    """
    for seconds in PATIENCE:
        outcome = await ask(server, timeout=seconds, **fields)
        if reached():
            return outcome, seconds
    raise AssertionError(f"given {PATIENCE[-1]:g} s, the server did not come so far: {outcome}")


def rules(outcome: Outcome) -> list[str]:
    return [each.rule for each in outcome.findings]


@pytest.fixture
def program(tmp_path: Path) -> Write:
    """Writes a server of our own as a Python program; the words that start it."""
    written = 0

    def writer(text: str) -> list[str]:
        nonlocal written
        written += 1
        path = tmp_path / f"server{written}.py"
        path.write_text(text, encoding="utf-8")
        return [sys.executable, str(path)]

    return writer


def stdio(argv: list[str], **more: Any) -> dict[str, Any]:
    return {"command": argv[0], "args": argv[1:], **more}


@asynccontextmanager
async def listening(
    handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server on a free port that treats each connection so; the port."""
    async with await anyio.create_tcp_listener(local_host=host) as bare, anyio.create_task_group() as tasks:
        listener: Any = bare if tls is None else TLSListener(bare, tls, standard_compatible=False)
        tasks.start_soon(listener.serve, partial(_handle, handler))
        yield bare.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def _handle(handler: Handler, stream: Any) -> None:
    async with stream:
        try:
            await handler(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            return


async def request_of(stream: SocketStream) -> tuple[str, bytes]:
    """One request: its head and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += await stream.receive()
    return head.decode(), body


def answer(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    """An answer after which the connection closes."""
    head = "\r\n".join([f"HTTP/1.1 {status} It", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return head.encode() + b"\r\n\r\n" + body


def always(data: bytes) -> Handler:
    """Answers each request with these bytes."""

    async def handler(stream: SocketStream) -> None:
        await request_of(stream)
        await stream.send(data)

    return handler


def json_rpc(results: dict[str, Any]) -> Handler:
    """A server that answers by method: a result, or an error where there is an int."""

    async def handler(stream: SocketStream) -> None:
        head, body = await request_of(stream)
        message = json.loads(body) if body else {}
        if "id" not in message:
            await stream.send(answer(200 if head.startswith("DELETE") else 202))
            return
        said = results.get(message["method"], -32601)
        part = {"error": {"code": said, "message": "no"}} if isinstance(said, int) else {"result": said}
        reply = json.dumps({"jsonrpc": "2.0", "id": message["id"], **part}).encode()
        await stream.send(answer(200, reply, "Content-Type: application/json"))

    return handler


TOOL = {"name": "add", "inputSchema": {"type": "object"}}
MODERN = {
    "server/discover": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
    "tools/list": {"resultType": "complete", "tools": [TOOL]},
}
HANDSHAKE = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {}},
    "tools/list": {"tools": [TOOL, TOOL]},
}


@pytest.fixture
def sdk() -> Iterator[Callable[[str], int]]:
    """Starts a server of the public package in a process of its own: `http`, `http-old` or `sse`; its port."""
    processes: list[subprocess.Popen[bytes]] = []

    def starter(mode: str) -> int:
        # Connections wait in the queue of the socket until the server is up, so that nobody has to wait for it.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            words = [sys.executable, str(SDK), mode, str(listener.fileno())]
            processes.append(subprocess.Popen(words, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL))
            return int(listener.getsockname()[1])

    yield starter
    for process in processes:
        process.kill()
        process.wait()


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no corpse that nobody has buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def noted(path: Path) -> int:
    """How many lines a program has written to the file, of which none may be there."""
    return len(path.read_text().splitlines()) if path.exists() else 0


async def pids_in(path: Path, count: int) -> list[int]:
    """The ids that processes wrote to the file, once there are so many."""
    with anyio.fail_after(60):
        while True:
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= count:
                return [int(each) for each in lines]
            await anyio.sleep(0.01)


class Authority:
    """A certificate authority of the test's own, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            **dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                False,
            ),
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        signed = (
            self._builder(self._name, self._key, timedelta(-3000), timedelta(3000))
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def context(
        self, name: str = "127.0.0.1", *, since: timedelta = timedelta(-1), until: timedelta = timedelta(365)
    ) -> ssl.SSLContext:
        """What a server needs that shows a certificate for this name, valid between these times from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            named: x509.GeneralName = x509.IPAddress(ip_address(name))
        except ValueError:
            named = x509.DNSName(name)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (
            self._builder(subject, key, since, until)
            .add_extension(x509.SubjectAlternativeName([named]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{os.urandom(8).hex()}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, since: timedelta, until: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
