"""Fixtures of the fault tests: servers with options of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.real_redis import RealRedis, find_redis_server

__all__ = ["StartServer", "start_server"]

StartServer = Callable[..., RealRedis]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers with options of their own; ends them all."""
    binary = find_redis_server()
    if binary is None:
        pytest.skip("no redis-server or valkey-server here; packaging/test.py installs one")
    servers: list[RealRedis] = []

    def start(*options: str, persistent: bool = False) -> RealRedis:
        server = RealRedis(binary=binary, persistent=persistent, options=options)
        servers.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.close()
