"""The configuration file: every mistake names its field and what would be right."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.config import Configuration, parse
from engine.model.errors import ConfigurationError


def test_an_empty_file_is_the_default() -> None:
    assert parse("") == Configuration()


def test_money_is_exact() -> None:
    assert parse("[paper]\nspread_bps = 1.1").paper.spread_bps == Decimal("1.1")


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("[papr]\nx = 1", "papr", "sections are engine, node"),
        ("[paper]\nfee = 1", "paper.fee", "takes initial_balance"),
        ('[paper]\nlatency_ms = "a"', "paper.latency_ms", "int"),
        ('[redis]\nmode = "cluster"', "redis.mode", "auto, managed, standalone, url"),
        ('[redis]\nmode = "url"', "redis.url", "redis://"),
        ('[redis]\nurl = "http://x"', "redis.url", "must begin with"),
        ('[node]\nname = "A B"', "node.name", "lower-case"),
        ('[engine]\nmode = "dry_run"', "market.feed", "a dry run follows the venue's own prices"),
        ('[engine]\nmode = "live"', "market.feed", "not a simulated market"),
        (
            '[engine]\nmode = "live"\n[node]\nname = "much-too-long"',
            "node.name",
            "at most 10 characters",
        ),
        ('[venue]\nname = "kraken"', "venue.name", "must be one of"),
        ('[venue]\nkey = "x"', "venue.key", "takes name, environment"),
        ('[venue]\nrest_url = "https://v.example"', "venue.stream_url", "must be set too"),
        (
            '[venue]\nrest_url = "http://v.example"\nstream_url = "wss://v.example"',
            "venue.rest_url",
            "over TLS (https)",
        ),
        (
            '[venue]\nrest_url = "https://v.example"\nstream_url = "ws://v.example"',
            "venue.stream_url",
            "over TLS (wss)",
        ),
        (
            '[venue]\nrest_url = "https://v.example/api"\nstream_url = "wss://v.example"',
            "venue.rest_url",
            "nothing more",
        ),
        (
            '[venue]\nrest_url = "v.example"\nstream_url = "wss://v.example"',
            "venue.rest_url",
            "must be https://host",
        ),
        ("[paper]\ninitial_balance = 0", "paper.initial_balance", "above 0"),
        ('[market]\nfeed = "replay"', "market.source", "recorded file"),
        ("[market]\nsymbols = []", "market.symbols", "at least one"),
        ("[journal]\nmax_bytes = 1", "journal.max_bytes", "at least"),
    ],
)
def test_a_mistake_names_its_field(text: str, field: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_a_simulator_on_this_machine_needs_no_tls() -> None:
    urls = 'rest_url = "http://127.0.0.1:8080"\nstream_url = "ws://localhost:8081"'
    assert parse(f"[venue]\n{urls}").venue.rest_url == "http://127.0.0.1:8080"


def test_broken_toml_is_said_plainly() -> None:
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        parse("a =")
