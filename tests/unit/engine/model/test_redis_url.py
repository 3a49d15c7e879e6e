"""The URL of the desk's Redis: every form, every mistake in words, and never its password."""

from __future__ import annotations

import pytest

from engine.model.config import RedisSection, parse
from engine.model.errors import ConfigurationError
from engine.model.redis_url import RedisAddress, parse_redis_url, redacted

_SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress(hosts=(("h", 6379),))),
        ("redis://h:1/3", RedisAddress(hosts=(("h", 1),), db=3)),
        ("redis://[::1]:7", RedisAddress(hosts=(("::1", 7),))),
        (
            "rediss://me:p%40ss@h:1",
            RedisAddress(hosts=(("h", 1),), tls=True, username="me", password="p@ss"),
        ),
        ("redis://:pw@h", RedisAddress(hosts=(("h", 6379),), password="pw")),
        ("unix:///run/r.sock?db=2", RedisAddress(path="/run/r.sock", db=2)),
        ("unix://u:p@/r", RedisAddress(path="/r", username="u", password="p")),
        (
            "redis+sentinel://u:p@a:1,b/mine/4",
            RedisAddress(
                hosts=(("a", 1), ("b", 26379)), service="mine", username="u", password="p", db=4
            ),
        ),
        (
            "rediss+sentinel://a/mine",
            RedisAddress(hosts=(("a", 26379),), service="mine", tls=True),
        ),
    ],
)
def test_every_form_is_read(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://u:{_SECRET}@h", "must begin with redis://, rediss://"),
        (f"u:{_SECRET}@h", "must begin with"),
        (f"redis://{_SECRET}@h", "USER:PASSWORD"),
        (f"redis://u:{_SECRET}@h:x", "HOST or HOST:PORT"),
        (f"redis://u:{_SECRET}@h:70000", "1 to 65535"),
        (f"redis://u:{_SECRET}@h/x", "a number"),
        (f"redis://u:{_SECRET}@a,b", "redis+sentinel:// only"),
        (f"redis+sentinel://u:{_SECRET}@a:1", "ends with the master's name"),
        (f"unix://u:{_SECRET}@relative", "absolute path"),
        (f"redis://h?password={_SECRET}", "only db=NUMBER"),
        (f"redis://u:?{_SECRET}@h", "only db=NUMBER"),
        (f"redis://u:{_SECRET}@", "HOST or HOST:PORT"),
    ],
)
def test_a_mistake_is_said_without_the_secret(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f'[redis]\nurl = "{url}"')
    assert caught.value.field == "redis.url"
    assert words in caught.value.problem
    assert _SECRET not in str(caught.value)
    assert _SECRET not in redacted(url)


def test_a_ca_file_is_for_tls_only() -> None:
    with pytest.raises(ConfigurationError, match=r"redis\.ca_file: is for TLS"):
        parse('[redis]\nurl = "redis://h"\nca_file = "/ca.pem"')
    assert parse('[redis]\nurl = "rediss://h"\nca_file = "/ca.pem"').redis.ca_file == "/ca.pem"


def test_no_repr_shows_a_password() -> None:
    url = f"rediss://me:{_SECRET}@h:1/0"
    configuration = parse(f'[redis]\nurl = "{url}"')
    section = RedisSection(url=url)
    for shown in (repr(configuration), repr(section), str(section), repr(parse_redis_url(url))):
        assert _SECRET not in shown
        assert "h:1" in shown
