"""Makes connections to the address of the configuration: plain, Unix socket, TLS, by Sentinel.

One connection a client. redis-py's own retries and health checks are off: they hide an outage and
notice one late. TLS always checks the server's certificate and its host name, against the system's
authorities or `redis.ca_file`. Sentinels are asked anew for every session, one after the other; who
is named as master and is none is found out by the heartbeat, which is a write.
"""

from __future__ import annotations

import ssl
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.model.limits import REDIS_TIMEOUT_S
from engine.model.redis_url import RedisAddress
from engine.redis_link.faults import LINK_FAULTS, LinkFault, cause_of
from engine.redis_link.node_stream import Command


def make_client(address: RedisAddress, ca_file: str) -> Redis:
    """A client of one connection, not connected yet; LinkFault when the CA file is no good."""
    options: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "db": address.db,
        "socket_timeout": REDIS_TIMEOUT_S,
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "max_connections": 1,
        "protocol": 2,
    }
    if address.path:
        return Redis(unix_socket_path=address.path, **options)
    [(host, port)] = address.hosts
    if address.tls:
        _check_authorities(ca_file)
        options |= {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": ca_file or None,
        }
    return Redis(host=host, port=port, **options)


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
