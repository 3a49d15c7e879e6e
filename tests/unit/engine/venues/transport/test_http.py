"""HTTP over real sockets against servers that misbehave: what is known after each failure."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.model.errors import Denied, NotExecuted, OutcomeUnknown
from engine.runtime import SystemClock
from engine.venues.transport.http import HttpConnections, Outgoing
from engine.venues.transport.rate_limits import Lane
from tests.waiting import eventually

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Mbx-Used-Weight-1m: 7\r\n\r\nok"
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Server:
    """A scripted server: what it heard, and how many connections it took."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""


@asynccontextmanager
async def _served(
    answer: Callable[[str], bytes | None], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[_Server]:
    """`answer` gives the bytes for a request line; None cuts the connection, b"" says nothing."""
    server = _Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.writers.append(writer)
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                server.heard.append(request)
                reply = answer(request.splitlines()[0])
                if reply is None:
                    writer.transport.abort()
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listening.close()
        for writer in server.writers:
            writer.transport.abort()
        await listening.wait_closed()
        await asyncio.sleep(0)


@asynccontextmanager
async def _connected(
    url: str, *, answer_timeout_s: float = 5.0, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[HttpConnections]:
    connections = HttpConnections(
        base_url=url,
        clock=SystemClock(),
        emergency_slots=3,
        emergency_read_slots=1,
        ordinary_slots=2,
        connect_timeout_s=2.0,
        answer_timeout_s=answer_timeout_s,
        ssl_context=ssl_context,
    )
    try:
        yield connections
    finally:
        await connections.close()


def _get(target: str = "/") -> Callable[[], Outgoing]:
    return lambda: Outgoing(method="GET", target=target)


async def test_an_answer_comes_whole_and_the_connection_is_used_again() -> None:
    async with _served(lambda line: _OK) as server, _connected(server.url) as connections:
        for _ in range(5):
            answer = await connections.send(Lane.READ, _get("/a?b=1"))
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.headers["x-mbx-used-weight-1m"] == "7"
    assert server.connections == 1
    assert server.heard[0].startswith("GET /a?b=1 HTTP/1.1\r\n")


async def test_chunks_and_an_answer_that_ends_with_the_connection_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    replies = iter([chunked, last, _OK])
    async with _served(lambda line: next(replies)) as server, _connected(server.url) as connections:
        for _ in range(3):
            assert (await connections.send(Lane.READ, _get())).body == b"ok"
    assert server.connections == 2


async def test_what_the_final_check_raises_stops_the_request_before_a_byte() -> None:
    def make() -> Outgoing:
        raise Denied(("latched",), "latched")

    async with _served(lambda line: _OK) as server, _connected(server.url) as connections:
        with pytest.raises(Denied):
            await connections.send(Lane.ENTRY, make)
        await connections.send(Lane.ENTRY, _get("/after"))
        assert [each.split()[1] for each in server.heard] == ["/after"]
        assert server.connections == 1


async def test_the_final_check_is_asked_after_the_wait_for_a_connection() -> None:
    """Everything that may take time is over when it is asked, and nothing comes after it."""
    asked = 0

    def make() -> Outgoing:
        nonlocal asked
        asked += 1
        return Outgoing(method="POST", target="/order")

    async with (
        _served(lambda line: b"") as server,
        _connected(server.url, answer_timeout_s=0.4) as connections,
    ):
        sending = [asyncio.ensure_future(connections.send(Lane.ENTRY, make)) for _ in range(3)]
        await eventually(lambda: len(server.heard) == 2)
        assert asked == 2  # Two slots: the third has not even been asked.
        results = await asyncio.gather(*sending, return_exceptions=True)
        assert asked == 3
        assert all(isinstance(each, OutcomeUnknown) for each in results)


async def test_a_venue_that_cannot_be_reached_executed_nothing() -> None:
    async with _served(lambda line: _OK) as server:
        url = server.url
    asked: list[int] = []

    def make() -> Outgoing:
        asked.append(1)
        return Outgoing(method="POST", target="/order")

    async with _connected(url) as connections:
        with pytest.raises(NotExecuted, match="not sent"):
            await connections.send(Lane.EXIT, make)
        assert asked == []


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf",
        b"this is no HTTP\r\n\r\n",
    ],
    ids=["cut", "silent", "half", "nonsense"],
)
async def test_whatever_happens_after_the_bytes_left_is_unknown_and_never_sent_again(
    reply: bytes | None,
) -> None:
    async with (
        _served(lambda line: reply) as server,
        _connected(server.url, answer_timeout_s=0.2) as connections,
    ):
        with pytest.raises(OutcomeUnknown) as unknown:
            await connections.send(
                Lane.EXIT,
                lambda: Outgoing(
                    method="POST",
                    target="/order?symbol=BTCUSDT&signature=c0ffee",
                    headers={"X-MBX-APIKEY": "my-key"},
                ),
            )
        assert "POST /order" in str(unknown.value)
        assert "c0ffee" not in repr(unknown.value)
        assert len(server.heard) == 1


async def test_a_late_answer_never_meets_the_next_request() -> None:
    replies = iter([b"", _OK])
    async with (
        _served(lambda line: next(replies)) as server,
        _connected(server.url, answer_timeout_s=0.2) as connections,
    ):
        with pytest.raises(OutcomeUnknown):
            await connections.send(Lane.READ, _get("/first"))
        server.writers[0].write(_OK.replace(b"ok", b"no"))
        assert (await connections.send(Lane.READ, _get("/second"))).body == b"ok"
        assert server.connections == 2


async def test_a_connection_that_speaks_unasked_is_given_up() -> None:
    async with _served(lambda line: _OK) as server, _connected(server.url) as connections:
        assert await connections.warm() == 3
        await eventually(lambda: len(server.writers) == 4)
        server.writers[0].write(_OK.replace(b"ok", b"no"))
        await eventually(lambda: connections.warm_connections == 2)
        assert (await connections.send(Lane.EXIT, _get())).body == b"ok"


async def test_the_emergency_lane_is_warm_and_reads_never_hold_it_up() -> None:
    async with (
        _served(lambda line: b"" if "slow" in line else _OK) as server,
        _connected(server.url, answer_timeout_s=3) as connections,
    ):
        assert await connections.warm() == 3
        await eventually(lambda: server.connections == 4)
        assert server.heard == []  # Opened ahead, and nothing sent.
        slow = [asyncio.ensure_future(connections.send(Lane.READ, _get("/slow"))) for _ in "1234"]
        await eventually(lambda: len(server.heard) == 2)
        answer = await connections.send(Lane.EXIT, _get("/exit"))
        assert answer.status == 200
        assert server.connections == 6
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_stop_looks_while_its_cancels_hold_every_connection_for_exits() -> None:
    async with (
        _served(lambda line: b"" if "slow" in line else _OK) as server,
        _connected(server.url, answer_timeout_s=3) as connections,
    ):
        slow = [asyncio.ensure_future(connections.send(Lane.EXIT, _get("/slow"))) for _ in "1234"]
        await eventually(lambda: len(server.heard) == 3)
        assert (await connections.send(Lane.EXIT_READ, _get())).status == 200
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_what_the_venue_closes_is_opened_again() -> None:
    async with _served(lambda line: _OK) as server, _connected(server.url) as connections:
        await connections.warm()
        await eventually(lambda: len(server.writers) == 4)
        server.writers[1].close()
        await eventually(lambda: connections.warm_connections == 2)
        assert await connections.warm() == 3
        assert server.connections <= 5


async def test_one_who_is_cancelled_gives_its_slot_back() -> None:
    async with (
        _served(lambda line: b"" if "slow" in line else _OK) as server,
        _connected(server.url) as connections,
    ):
        for _ in range(4):
            sending = asyncio.ensure_future(connections.send(Lane.READ, _get("/slow")))
            heard = len(server.heard)
            await eventually(lambda heard=heard: len(server.heard) > heard)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert (await connections.send(Lane.READ, _get())).status == 200


def _certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and one that trusts it."""
    pytest.importorskip("cryptography", reason="makes the certificate")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "venue")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "venue.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_over_tls_only_a_peer_that_proves_its_name_hears_anything(tmp_path: Path) -> None:
    tls, trusting = _certificate(tmp_path)
    async with _served(lambda line: _OK, tls=tls) as server:
        named = server.url.replace("127.0.0.1", "localhost")
        async with _connected(named, ssl_context=trusting) as connections:
            assert (await connections.send(Lane.EXIT, _get())).body == b"ok"
            assert (await connections.send(Lane.EXIT, _get())).body == b"ok"
        heard = len(server.heard)
        for url, context in ((named, None), (server.url, trusting)):
            async with _connected(url, ssl_context=context) as connections:
                with pytest.raises(NotExecuted, match="SSLCertVerificationError"):
                    await connections.send(Lane.EXIT, _get("/secret"))
        assert len(server.heard) == heard


@pytest.mark.parametrize(
    "url", ["http://fapi.binance.com", "ftp://127.0.0.1", "127.0.0.1:80", "https://host/path"]
)
def test_an_address_that_is_none_or_not_private_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        HttpConnections(base_url=url, clock=SystemClock())


def test_no_text_of_a_request_holds_its_query_or_headers() -> None:
    outgoing = Outgoing(method="GET", target="/a?signature=c0ffee", headers={"KEY": "secret"})
    for text in (repr(outgoing), str(outgoing), f"{outgoing}"):
        assert "c0ffee" not in text
        assert "secret" not in text
