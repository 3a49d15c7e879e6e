"""The search for secrets finds what is planted, in every disguise and every place."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.real_redis import RealRedis
from tests.secret_search import SecretSearch, everything_in_redis, files_under

SECRET = "S3cretOfTheAccount+99zz/end"
SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


@pytest.fixture
def search() -> SecretSearch:
    made = SecretSearch({"the secret": SECRET})
    made.add_tokens("a signature", [SIGNATURE])
    return made


@pytest.mark.parametrize(
    "planted",
    [
        SECRET.encode(),
        f"a log line with {SECRET} in it".encode(),
        SECRET.encode().hex().encode(),
        SECRET.encode("utf-16-le"),
        base64.b64encode(SECRET.encode()),
        base64.b64encode(b"x" + SECRET.encode() + b"y"),
        base64.b64encode(b"xy" + SECRET.encode()),
        b"a=S3cretOfTheAccount%2B99zz%2Fend",
    ],
)
def test_a_secret_is_found_in_its_disguises(search: SecretSearch, planted: bytes) -> None:
    assert search.found_in(b"before " + planted + b" after") == {"the secret"}


def test_a_token_is_found_as_a_word_of_its_own(search: SecretSearch) -> None:
    assert search.found_in(f"GET /?signature={SIGNATURE}&x".encode()) == {"a signature"}
    assert search.tokens == 1


def test_what_holds_none_is_clean(search: SecretSearch) -> None:
    assert search.found_in(b"S3cretOfTheAccount and " + b"0" * 64) == set()


def test_a_database_is_read_row_by_row(search: SecretSearch, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t(x)")
        # So long that SQLite spreads it over pages, the secret across the edge of two of them.
        for padding in range(3900, 4200):
            connection.execute("INSERT INTO t VALUES (?)", ("p" * padding + SECRET,))
        connection.commit()
    rows = [data for _, data in files_under(tmp_path)][1]
    assert rows.count(SECRET.encode()) == 300
    assert search.found_in(rows) == {"the secret"}


def test_redis_is_read_in_words_also_where_a_dump_is_compressed(
    search: SecretSearch, redis_server: RealRedis
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    for place in ("string", "hash", "stream"):
        client.flushall()
        text = "a" * 500 + SECRET + "a" * 500
        if place == "string":
            client.set("k", text)
        elif place == "hash":
            client.hset("k", "field", text)
        else:
            client.xadd("k", {"payload": text})
        assert search.found_in(everything_in_redis(redis_server.url)) == {"the secret"}, place
    client.close()
