"""The configuration file (TOML): typed, strict, every key optional.

Unknown keys and wrong values are errors that name the dotted field and what would be right. Units:
money in account currency, ratios as positive fractions, `_bps` in 1/10,000, `_ms` in milliseconds.
API keys are never read from here.
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from typing import Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from engine.model.errors import ConfigurationError
from engine.model.ids import node_name
from engine.model.redis_url import parse_redis_url, redacted

# More than any venue has ever asked at one time.
_FUNDING_MAX = Decimal("0.05")
Mode = Literal["paper", "dry_run", "live"]
# Name, generation (minutes since 2020), fence and number fit into the 36 characters of an id.
NODE_LENGTH_MAX_AT_EXCHANGE = 10


class EngineSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[engine]`. `live` trades real orders at the venue, once START LIVE has been confirmed;
    `dry_run` reads the venue and simulates every order.
    """

    mode: Mode = "paper"


class NodeSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`: the name of this engine on the desk, part of Redis keys and client order ids."""

    name: str = "desk"


class RedisSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[redis]`: how to find the shared bus.

    `url` names one server, by TLS with `rediss://`, or Sentinels (`engine.model.redis_url` has its
    forms). `ca_file` holds the authorities (PEM) that TLS trusts instead of the system's.
    """

    mode: Literal["auto", "standalone", "url", "managed"] = "auto"
    url: str = ""
    ca_file: str = ""
    stream_max_events: int = 1_000_000

    def __repr__(self) -> str:
        return (
            f"RedisSection(mode={self.mode!r}, url={redacted(self.url)!r},"
            f" ca_file={self.ca_file!r}, stream_max_events={self.stream_max_events})"
        )


class VenueSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[venue]`: the exchange, and whether its real or its test environment is meant.

    `rest_url` and `stream_url` take the place of the venue's own addresses (a simulator or a
    proxy): both or neither, `https` and `wss` without a path, plain `http` and `ws` on this machine
    alone.
    """

    name: Literal["binance", "bybit"] = "binance"
    environment: Literal["testnet", "live"] = "testnet"
    rest_url: str = ""
    stream_url: str = ""


class MarketSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[market]`: where prices come from; the feed `venue` is the public streams of `[venue]` and
    needs no key. `source` is the recorded file of a replay.

    `scenario` of the simulated market: calm, normal, volatile or crash (falls 12 % after ten
    minutes).
    """

    feed: Literal["simulated", "replay", "venue"] = "simulated"
    source: str = ""
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
    seed: int = 1
    scenario: Literal["calm", "normal", "volatile", "crash"] = "normal"


class PaperSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[paper]`: the paper venue. `slippage` is the price impact in bps per 100,000 of notional.

    `funding` is what longs pay shorts at 00:00, 08:00 and 16:00 UTC, as a fraction of notional (0:
    nothing); at an exchange's prices that exchange's rates and times hold instead.
    """

    initial_balance: Decimal = Decimal(100_000)
    spread_bps: Decimal = Decimal(1)
    slippage: Decimal = Decimal("0.5")
    maker_fee: Decimal = Decimal("0.0002")
    taker_fee: Decimal = Decimal("0.0005")
    latency_ms: int = 20
    funding: Decimal = Decimal(0)


class PolicySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[policy]`: a document to start a new data directory with; later starts ignore it and
    say so.
    """

    file: str = ""


class JournalSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[journal]`: retention of acknowledged events, in bytes and in days."""

    max_bytes: int = 100_000_000
    max_age: int = 30


class BackupSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[backup]`: how many are kept."""

    keep: int = 7


class LogSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ConsoleSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[console]`."""

    theme: Literal["dusk", "day"] = "dusk"


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    engine: EngineSection = EngineSection()
    node: NodeSection = NodeSection()
    redis: RedisSection = RedisSection()
    venue: VenueSection = VenueSection()
    market: MarketSection = MarketSection()
    paper: PaperSection = PaperSection()
    policy: PolicySection = PolicySection()
    journal: JournalSection = JournalSection()
    backup: BackupSection = BackupSection()
    log: LogSection = LogSection()
    console: ConsoleSection = ConsoleSection()


_UNKNOWN_KEY = re.compile(r"unknown field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def _field_of(message: str) -> str:
    path = _PATH.search(message)
    prefix = path.group(1) if path else ""
    unknown = _UNKNOWN_KEY.search(message)
    if unknown:
        return f"{prefix}.{unknown.group(1)}" if prefix else unknown.group(1)
    return prefix


def parse(text: str) -> Configuration:
    """Decode TOML text; raises ConfigurationError naming the field and what would be right."""
    try:
        raw = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("", f"this is not valid TOML: {error}") from error
    try:
        configuration = msgspec.convert(raw, Configuration, str_keys=True)
    except msgspec.ValidationError as error:
        message = str(error)
        field = _field_of(message)
        if "unknown field" in message:
            raise ConfigurationError(field, f"there is no such key; {_known(field)}") from error
        choices = _choices(field)
        words = f"must be one of {choices}" if choices else _PATH.sub("", message)
        raise ConfigurationError(field, words) from error
    check(configuration)
    return configuration


def _known(field: str) -> str:
    section = field.partition(".")[0]
    if "." in field and section in Configuration.__struct_fields__:
        keys = getattr(Configuration(), section).__struct_fields__
        return f"[{section}] takes {', '.join(keys)}"
    return f"sections are {', '.join(Configuration.__struct_fields__)}"


def _choices(field: str) -> str:
    """The allowed words of a field, where it has such."""
    section, _, key = field.partition(".")
    if section not in Configuration.__struct_fields__:
        return ""
    hints = get_type_hints(type(getattr(Configuration(), section)))
    hint = hints.get(key)
    return ", ".join(sorted(get_args(hint))) if get_origin(hint) is Literal else ""


def _above(field: str, value: Decimal | int, bound: int, *, inclusive: bool = True) -> None:
    if value < bound or (value == bound and not inclusive):
        word = "at least" if inclusive else "above"
        raise ConfigurationError(field, f"must be {word} {bound}, not {value}")


def _check_redis(section: RedisSection) -> None:
    if section.mode == "url" and not section.url:
        raise ConfigurationError("redis.url", "mode 'url' needs one, e.g. redis://127.0.0.1:6379/0")
    uses_tls = False
    if section.url:
        try:
            uses_tls = parse_redis_url(section.url).tls
        except ValueError as error:
            raise ConfigurationError("redis.url", str(error)) from error
    if section.ca_file and not uses_tls:
        raise ConfigurationError("redis.ca_file", "is for TLS: redis.url must begin with rediss")


_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _check_url(field: str, text: str, plain: str, secure: str) -> None:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(field, f"is no address: {error}") from error
    if parts.scheme not in {plain, secure} or not host:
        raise ConfigurationError(field, f"must be {secure}://host or {secure}://host:port")
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(field, "takes scheme, host and port, and nothing more")
    if parts.scheme == plain and host not in _LOOPBACK:
        words = f"a venue is spoken to over TLS ({secure}); {plain} is for this machine alone"
        raise ConfigurationError(field, words)


def _check_venue(section: VenueSection) -> None:
    if bool(section.rest_url) != bool(section.stream_url):
        missing = "stream_url" if section.rest_url else "rest_url"
        raise ConfigurationError(
            f"venue.{missing}", "must be set too: requests and streams go to one venue"
        )
    if section.rest_url:
        _check_url("venue.rest_url", section.rest_url, "http", "https")
        _check_url("venue.stream_url", section.stream_url, "ws", "wss")


def _check_mode(configuration: Configuration) -> None:
    mode, feed = configuration.engine.mode, configuration.market.feed
    node = configuration.node.name
    if mode != "paper" and len(node) > NODE_LENGTH_MAX_AT_EXCHANGE:
        words = f"at most {NODE_LENGTH_MAX_AT_EXCHANGE} characters at an exchange, not {len(node)}"
        raise ConfigurationError("node.name", f"{words}: it is part of every order's id")
    if mode != "paper" and feed in {"simulated", "replay"}:
        what = "live orders follow" if mode == "live" else "a dry run follows"
        words = f"{what} the venue's own prices, not a {feed} market"
        raise ConfigurationError("market.feed", words)


def check(configuration: Configuration) -> None:
    """Check ranges and cross-field rules; raises ConfigurationError at the first fault."""
    _check_mode(configuration)
    _check_venue(configuration.venue)
    try:
        node_name(configuration.node.name)
    except ValueError as error:
        raise ConfigurationError("node.name", str(error)) from error
    _check_redis(configuration.redis)
    if configuration.market.feed == "replay" and not configuration.market.source:
        raise ConfigurationError("market.source", "a replay needs the recorded file")
    if not configuration.market.symbols:
        raise ConfigurationError("market.symbols", "at least one symbol is needed")
    paper = configuration.paper
    _above("paper.initial_balance", paper.initial_balance, 0, inclusive=False)
    for name in ("spread_bps", "slippage", "maker_fee", "taker_fee", "latency_ms"):
        _above(f"paper.{name}", getattr(paper, name), 0)
    if abs(paper.funding) > _FUNDING_MAX:
        words = f"must lie between -{_FUNDING_MAX} and {_FUNDING_MAX}, not at {paper.funding}"
        raise ConfigurationError("paper.funding", words)
    _above("redis.stream_max_events", configuration.redis.stream_max_events, 1_000)
    _above("journal.max_bytes", configuration.journal.max_bytes, 1_000_000)
    _above("backup.keep", configuration.backup.keep, 1)


__all__ = [
    "BackupSection",
    "Configuration",
    "ConsoleSection",
    "EngineSection",
    "JournalSection",
    "LogSection",
    "MarketSection",
    "Mode",
    "NodeSection",
    "PaperSection",
    "PolicySection",
    "RedisSection",
    "VenueSection",
    "check",
    "parse",
]
