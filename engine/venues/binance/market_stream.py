"""Binance's public streams: trades, mark price with funding rate, best bid and ask.

Trades and marks are on `/market`, best quotes on `/public`; a stream asked for on the other path
stays silent for ever. What is wanted stands in the address (combined streams), so that every new
connection is subscribed by being one. The mark price comes each second for each symbol: a symbol
whose marks are silent is a broken stream. Quotes and trades may be silent in a quiet market.
A text is decoded once, into what it is; most quotes repeat the last prices, at another size, and
say nothing new. Prices in USDT, quantities in base coin, times in milliseconds become UTC
nanoseconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from urllib.parse import quote

import msgspec

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import Clock, MarketSink
from engine.venues.binance.decoding import NS_PER_MS, Undecodable
from engine.venues.transport.market_feed import Channel

SYMBOLS_PER_CONNECTION = 100
MARK_SILENCE_S = 5.0
MARKET_SILENCE_S = 5.0
# Only what changes is told here: in a dead calm a minute may pass, and the ping still proves life.
QUOTE_SILENCE_S = 60.0
_ZERO = Decimal(0)
_TEXTS_KEPT = 4096
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)


class _Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
    s: str
    p: str
    q: str
    T: int
    m: bool


class _Quote(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    s: str
    b: str
    a: str
    T: int = 0


class _Mark(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="markPriceUpdate"):
    s: str
    p: str
    E: int
    r: str = ""
    T: int = 0


class _Fault(msgspec.Struct, frozen=True, gc=False):
    code: int = 0
    msg: str = ""


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    data: _Trade | _Quote | _Mark | None = None
    error: _Fault | None = None
    id: int | str | None = None


class BinanceMarketReader:
    """Reads the texts of one connection into the sink; see `transport.market_feed.Reader`."""

    def __init__(self, *, sink: MarketSink, clock: Clock, symbols: Sequence[Symbol]) -> None:
        self._on_trade = sink.on_trade
        self._on_quote = sink.on_quote
        self._on_mark = sink.on_mark
        self._on_funding = sink.on_funding
        self._now_ns = clock.now_ns
        self._monotonic_ns = clock.monotonic_ns
        self._symbols = {str(symbol): symbol for symbol in symbols}
        self._decode = msgspec.json.Decoder(_Envelope).decode
        # Prices and sizes come again and again: the number that a text means.
        self._numbers: dict[str, Decimal] = {}
        self._best: dict[str, tuple[str, str]] = {}
        self._funding: dict[str, tuple[str, int]] = {}
        self.heard_ns: dict[Symbol, int] = {}

    def read(self, text: str) -> None:
        """Push what a text says. ValueError (Undecodable) with the reason, Refused for a refusal
        of the venue.
        """
        try:
            envelope = self._decode(text)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise Undecodable(f"not a public event: {error}") from error
        data = envelope.data
        if type(data) is _Quote:
            self._quote(data)
        elif type(data) is _Trade:
            self._trade(data)
        elif type(data) is _Mark:
            self._mark(data)
        elif envelope.error is not None:
            raise Refused(str(envelope.error.code), envelope.error.msg[:200])
        elif envelope.id is None:
            raise Undecodable("data: is missing")

    def _trade(self, data: _Trade) -> None:
        symbol = self._symbols.get(data.s)
        if symbol is None:
            raise _unasked(data.s)
        numbers = self._numbers
        price = numbers.get(data.p) or self._number(data.p, "p")
        quantity = numbers.get(data.q) or self._number(data.q, "q")
        side = Side.SELL if data.m else Side.BUY
        self._on_trade(symbol, price, quantity, side, self._now_ns(), data.T * NS_PER_MS)

    def _quote(self, data: _Quote) -> None:
        symbol = self._symbols.get(data.s)
        if symbol is None:
            raise _unasked(data.s)
        best = self._best.get(data.s)
        if best is not None and best[0] == data.b and best[1] == data.a:
            return
        numbers = self._numbers
        bid = numbers.get(data.b) or self._number(data.b, "b")
        ask = numbers.get(data.a) or self._number(data.a, "a")
        if bid >= ask:
            raise Undecodable(f"b: {data.s} is bid {data.b} and asked {data.a}")
        self._best[data.s] = (data.b, data.a)
        self._on_quote(symbol, bid, ask, self._now_ns(), data.T * NS_PER_MS)

    def _mark(self, data: _Mark) -> None:
        symbol = self._symbols.get(data.s)
        if symbol is None:
            raise _unasked(data.s)
        price = self._number(data.p, "p")
        self.heard_ns[symbol] = self._monotonic_ns()
        self._on_mark(symbol, price, self._now_ns(), data.E * NS_PER_MS)
        # Without a rate (a delivery contract) there is none to pay.
        if data.r and data.T and self._funding.get(data.s) != (data.r, data.T):
            self._on_funding(symbol, _signed(data.r, "r"), data.T * NS_PER_MS)
            self._funding[data.s] = (data.r, data.T)

    def _number(self, text: str, field: str) -> Decimal:
        """A price or a size: finite and above zero."""
        value = _signed(text, field)
        if value <= _ZERO:
            raise Undecodable(f"{field}: {text[:60]!r} is not above zero")
        if len(self._numbers) >= _TEXTS_KEPT:
            self._numbers.clear()
        self._numbers[text] = value
        return value


def _signed(text: str, field: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise Undecodable(f"{field}: {text[:60]!r} is not a number")
    return Decimal(text)


def _unasked(name: str) -> Undecodable:
    return Undecodable(f"s: {name[:60]!r} was not asked for")


def binance_channels(*, stream_url: str, symbols: Sequence[Symbol]) -> tuple[Channel, ...]:
    """The connections that these symbols need; `stream_url` is `wss://host`."""
    base = stream_url.rstrip("/")
    channels: list[Channel] = []
    for start in range(0, len(symbols), SYMBOLS_PER_CONNECTION):
        some = tuple(symbols[start : start + SYMBOLS_PER_CONNECTION])
        number = f" {start // SYMBOLS_PER_CONNECTION + 1}" if start else ""
        lower = [quote(symbol.lower()) for symbol in some]

        def open_reader(
            sink: MarketSink, clock: Clock, some: tuple[Symbol, ...] = some
        ) -> BinanceMarketReader:
            return BinanceMarketReader(sink=sink, clock=clock, symbols=some)

        trades = "/".join(f"{name}@aggTrade/{name}@markPrice@1s" for name in lower)
        quotes = "/".join(f"{name}@bookTicker" for name in lower)
        channels.append(
            Channel(
                name=f"Binance trades and marks{number}",
                address=f"{base}/market/stream?streams={trades}",
                symbols=some,
                open_reader=open_reader,
                silence_max_s=MARKET_SILENCE_S,
                symbol_silence_max_s=MARK_SILENCE_S,
            )
        )
        channels.append(
            Channel(
                name=f"Binance quotes{number}",
                address=f"{base}/public/stream?streams={quotes}",
                symbols=some,
                open_reader=open_reader,
                silence_max_s=QUOTE_SILENCE_S,
            )
        )
    return tuple(channels)


__all__ = ["SYMBOLS_PER_CONNECTION", "BinanceMarketReader", "binance_channels"]
