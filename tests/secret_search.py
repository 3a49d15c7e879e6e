"""Looks for secrets in everything that a program left behind.

A secret is looked for as it is and in the disguises that a dump or a log may give it; signatures
and listen keys, of which there are hundreds, by their shape. Files are searched as bytes and, where
they are SQLite, row by row as well, because a long value may be spread over pages.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import redis

_TOKEN = re.compile(rb"[0-9A-Za-z]{32,}")
_SQLITE = b"SQLite format 3\x00"


class SecretSearch:
    """Secrets to look for, each under a name that a finding may show."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self._forms = {
            form: name for name, secret in secrets.items() for form in _disguises(secret)
        }
        self._tokens: dict[bytes, str] = {}

    def add_tokens(self, name: str, tokens: Iterable[str]) -> None:
        """Many secrets of one kind: letters and digits, 32 of them at least."""
        for token in tokens:
            assert _TOKEN.fullmatch(token.encode()), f"{name} has another shape"
            self._tokens[token.encode()] = name

    @property
    def tokens(self) -> int:
        return len(self._tokens)

    def found_in(self, data: bytes) -> set[str]:
        """The names of the secrets that are in there."""
        found = {name for form, name in self._forms.items() if form in data}
        if self._tokens:
            found |= {self._tokens[t] for t in _TOKEN.findall(data) if t in self._tokens}
        return found


def _disguises(secret: str) -> set[bytes]:
    raw = secret.encode()
    # Whatever stands before it, two of three alignments of base64 keep what is not at an edge.
    encoded = {base64.b64encode(bytes(offset) + raw)[4:-4] for offset in range(3)}
    return {
        raw,
        raw.hex().encode(),
        quote(secret, safe="").encode(),
        secret.encode("utf-16-le"),
    } | {form for form in encoded if len(form) >= 12}


def files_under(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file with what is in it, and the rows of those that are databases."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        data = path.read_bytes()
        yield path, data
        if data.startswith(_SQLITE):
            yield path, _rows(path)


def _rows(path: Path) -> bytes:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return b"\n".join(
            repr(row).encode()
            for (table,) in tables.fetchall()
            for row in connection.execute(f'SELECT * FROM "{table}"')
        )


def everything_in_redis(url: str) -> bytes:
    """Every key with its content: in words, and as the server would hand it to a replica (which may
    be compressed).
    """
    client = redis.Redis.from_url(url)
    try:
        return b"\n".join(
            key + (client.dump(key) or b"") + repr(_content(client, key)).encode()
            for key in client.scan_iter()
        )
    finally:
        client.close()


def _content(client: redis.Redis, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"stream":
        return client.xrange(key)
    if kind == b"hash":
        return client.hgetall(key)
    assert kind == b"string", f"{key!r} is a {kind!r}, which this search cannot read yet"
    return client.get(key)


__all__ = ["SecretSearch", "everything_in_redis", "files_under"]
