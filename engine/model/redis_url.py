"""Where the desk's Redis is: the `[redis] url` of the configuration, read and checked.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]              one server
    rediss://…                                            the same over TLS
    unix://[USER:PASSWORD@]/PATH[?db=DB]                  one server on this machine
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DB]
    rediss+sentinel://…                                   Sentinels and server over TLS

Without USER the password is the default user's. User and password are for the server; Sentinels are
asked without. What stands between `://` and `@` is percent-decoded. Ports are 6379, of a Sentinel
26379, unless said.
Secrets: a password is in no repr and in no error of this module. Fails: ValueError with words.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

import msgspec

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?")
_PORT, _SENTINEL_PORT = 6379, 26379


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A checked URL. `service` is the master's name at the Sentinels, whose addresses `hosts` are
    then; `path` is of a Unix socket."""

    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    tls: bool = False
    username: str = ""
    password: str = ""
    db: int = 0

    def __repr__(self) -> str:
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)
        named = f"/{self.service}" if self.service else ""
        return f"RedisAddress({where}{named}, db={self.db}, tls={self.tls})"


def parse_redis_url(url: str) -> RedisAddress:
    """Read and check; ValueError says what would be right, without the user's part of the URL."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES:
        raise ValueError(f"must begin with {', '.join(f'{name}://' for name in _SCHEMES)}")
    rest, _, query = rest.partition("?")
    login, has_login, rest = rest.rpartition("@")
    username, _, password = login.partition(":")
    if has_login and not password:
        raise ValueError("before the @ stands USER:PASSWORD, or :PASSWORD for the default user")
    address = RedisAddress(
        tls=scheme.startswith("rediss"),
        username=unquote(username),
        password=unquote(password),
        db=_database_of_query(query),
    )
    if scheme == "unix":
        if not rest.startswith("/"):
            raise ValueError("unix:// needs an absolute path, e.g. unix:///run/redis.sock")
        return msgspec.structs.replace(address, path=unquote(rest))
    hosts, _, path = rest.partition("/")
    if scheme.endswith("+sentinel"):
        service, _, database = path.partition("/")
        if not service:
            raise ValueError(
                "a Sentinel's URL ends with the master's name: redis+sentinel://HOST:PORT/SERVICE"
            )
        address = msgspec.structs.replace(address, service=unquote(service))
    else:
        database = path
        if "," in hosts:
            raise ValueError("several servers are for redis+sentinel:// only")
    if database:
        address = msgspec.structs.replace(address, db=_database(database))
    return msgspec.structs.replace(address, hosts=_hosts(hosts, has_sentinel=bool(address.service)))


def redacted(url: str) -> str:
    """The URL for a log or a repr: without whatever might be a secret."""
    scheme, found, rest = url.partition("://")
    if not found:
        return "***" if url else ""
    _, has_login, place = rest.rpartition("@")
    return f"{scheme}://{'***@' if has_login else ''}{place.partition('?')[0]}"


def _hosts(text: str, *, has_sentinel: bool) -> tuple[tuple[str, int], ...]:
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            raise ValueError("a server is HOST or HOST:PORT")
        port = int(match.group(2) or (_SENTINEL_PORT if has_sentinel else _PORT))
        if not 0 < port < 65_536:
            raise ValueError("a port is 1 to 65535")
        hosts.append((match.group(1).strip("[]"), port))
    return tuple(hosts)


def _database(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("a database is a number, e.g. redis://127.0.0.1:6379/0")
    return int(text)


def _database_of_query(query: str) -> int:
    database = 0
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "db":
            raise ValueError("after the ? only db=NUMBER is known")
        database = _database(value)
    return database


__all__ = ["RedisAddress", "parse_redis_url", "redacted"]
