"""Makes connections to the address of the configuration: plain, Unix socket, TLS, by Sentinel.

One connection a client. redis-py's own retries and health checks are off: they hide an outage and
notice one late. TLS always checks the server's certificate and its host name, against the system's
authorities or `redis.ca_file`. Sentinels are asked anew for every session, one after the other; who
is named as master and is none is found out by the heartbeat, which is a write.

A server that takes nobody in (too many clients, protected mode) says why and closes at once, while
we still write. A stream would drop what it had said together with the broken connection, so the
first word is exchanged on the bare socket: what was said before the close can be read there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import msgspec
import redis.exceptions
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.model.limits import REDIS_TIMEOUT_S
from engine.model.redis_url import RedisAddress
from engine.redis_link.faults import LINK_FAULTS, LinkFault, cause_of
from engine.redis_link.node_stream import Command

_FIRST_WORD = b"PING\r\n"
_ANSWER_BYTES_MAX = 4_096
# What a server says before it closes; any other refusal comes again with the first command.
_FAREWELLS = (b"-ERR max number of clients", b"-DENIED")


class _TcpConnection(Connection):
    """redis-py's, with a first word on the bare socket."""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            opened = await _open_tcp(self.host, self.port)
            await _exchange_first_word(opened)
            self._reader, self._writer = await asyncio.open_connection(sock=opened)


class _UnixConnection(UnixDomainSocketConnection):
    """redis-py's, with a first word on the bare socket."""

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            opened = await _open(socket.AF_UNIX, self.path)
            await _exchange_first_word(opened)
            self._reader, self._writer = await asyncio.open_connection(sock=opened)


def make_client(address: RedisAddress, ca_file: str) -> Redis:
    """A client of one connection, not connected yet; LinkFault when the CA file is no good."""
    kind: type[AbstractConnection]
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "db": address.db,
        "socket_timeout": REDIS_TIMEOUT_S,
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "protocol": 2,
        # A command that our user of an access list needs no right to.
        "driver_info": None,
    }
    if address.path:
        kind, options["path"] = _UnixConnection, address.path
    else:
        [(options["host"], options["port"])] = address.hosts
        kind = _TcpConnection
    if address.tls:
        _check_authorities(ca_file)
        # Before TLS is agreed upon a server says nothing, so there is no first word to be had.
        kind = SSLConnection
        options |= {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": ca_file or None,
        }
    return Redis(
        connection_pool=ConnectionPool(connection_class=kind, max_connections=1, **options)
    )


async def _open_tcp(host: str, port: int) -> socket.socket:
    """The first of the host's addresses that answers; OSError of the last one otherwise."""
    loop = asyncio.get_running_loop()
    failed = OSError(f"{host} has no address")
    for family, _, _, _, where in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            opened = await _open(family, where)
        except OSError as error:
            failed = error
            continue
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    raise failed


async def _open(family: int, where: Any) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, where)
    except BaseException:
        opened.close()
        raise
    return opened


async def _exchange_first_word(opened: socket.socket) -> None:
    """Ask for an answer and read it; closes the socket when there is no good one."""
    try:
        _judge_first_answer(await _first_answer(opened))
    except BaseException:
        opened.close()
        raise


async def _first_answer(opened: socket.socket) -> bytes:
    """The first line; shorter when the server closed in the middle of it."""
    loop = asyncio.get_running_loop()
    broken: OSError | None = None
    try:
        await loop.sock_sendall(opened, _FIRST_WORD)
    except ConnectionError as error:
        broken = error  # It may have spoken before it closed.
    said = b""
    while not said.endswith(b"\n") and said[:1] in (b"", b"+", b"-"):
        if len(said) > _ANSWER_BYTES_MAX:
            break
        try:
            piece = await loop.sock_recv(opened, _ANSWER_BYTES_MAX)
        except ConnectionError as error:
            broken, piece = error, b""
        if not piece:
            break
        said += piece
    if not said:
        raise broken or ConnectionResetError("closed without a word")
    return said


def _judge_first_answer(said: bytes) -> None:
    if said.startswith(_FAREWELLS):
        raise redis.exceptions.ConnectionError(said.decode(errors="replace").strip())
    if said[:1] not in (b"+", b"-"):
        raise redis.exceptions.InvalidResponse(f"it said {said[:40]!r}")
    if not said.endswith(b"\n"):
        raise ConnectionResetError("closed in the middle of its first answer")


async def find_server(address: RedisAddress, ca_file: str) -> RedisAddress:
    """The server to connect to: the address itself, or the master that a Sentinel names."""
    if not address.service:
        return address
    why = ""
    for host, port in address.hosts:
        sentinel = RedisAddress(hosts=((host, port),), tls=address.tls)
        try:
            found = await _ask_sentinel(sentinel, ca_file, address.service)
        except LINK_FAULTS as error:
            why = f"{host}:{port}: {cause_of(error)}"
            continue
        if found is not None:
            return msgspec.structs.replace(address, hosts=(found,), service="")
        why = f"{host}:{port} knows no master named {address.service!r}"
    raise LinkFault(f"no Sentinel names a master; the last one, {why}")


async def _ask_sentinel(
    sentinel: RedisAddress, ca_file: str, service: str
) -> tuple[str, int] | None:
    client = make_client(sentinel, ca_file)
    ask: Command = client.execute_command  # redis-py does not type it.
    try:
        answer = await ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
    finally:
        await client.connection_pool.disconnect()
    if answer is None:
        return None
    return answer[0].decode(), int(answer[1])


def _check_authorities(ca_file: str) -> None:
    if not ca_file:
        return
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one.
        raise LinkFault(f"redis.ca_file {ca_file} cannot be used: {error.strerror}") from error


__all__ = ["find_server", "make_client"]
