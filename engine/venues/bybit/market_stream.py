"""Bybit's public stream of USDT perpetuals: trades, best bid and ask, mark price and funding rate.

Subscribed anew on every connection; an answer that says no is a refusal. The book of depth one
comes whole each time, at the latest three seconds after the last: a symbol whose book is silent is
a broken stream. One that is no later than the last one heard is old and passed over; `u` of 1 says
that the venue's service began to count anew. Tickers come whole once
and then as differences, in which what is missing is unchanged. One text may hold many trades, which
are pushed in their order. A text is decoded once. Prices in USDT, quantities in base coin, times in
milliseconds become UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.ports import Clock, MarketSink
from engine.venues.bybit.decoding import (
    Undecodable,
    above_zero,
    number,
    positive_or_none,
    side,
    time_ns,
)
from engine.venues.bybit.streams import PING
from engine.venues.transport.market_feed import Channel

# The venue takes 21,000 characters of topics a subscription; this stays far below.
SYMBOLS_PER_CONNECTION = 100
BOOK_SILENCE_S = 8.0
CONNECTION_SILENCE_S = 8.0
_TOPICS_PER_SUBSCRIPTION = 30
_TEXTS_KEPT = 4096
_NS_PER_MS = 1_000_000
_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_RESTARTED = 1


class _TradeRow(msgspec.Struct, frozen=True, gc=False):
    T: int
    s: str
    S: str
    v: str
    p: str


class _Data(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is not a list: a book (`s`, `b`, `a`, `u`) or a ticker."""

    s: str = ""
    b: list[tuple[str, str]] | None = None
    a: list[tuple[str, str]] | None = None
    u: int = 0
    symbol: str = ""
    mark_price: str | None = None
    funding_rate: str | None = None
    next_funding_time: str | None = None


class _Frame(msgspec.Struct, frozen=True, gc=False):
    topic: str = ""
    type: str = ""
    data: list[_TradeRow] | _Data | None = None
    ts: int = 0
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""


class _Ticker:
    """What the differences of a ticker add up to."""

    __slots__ = ("due_ms", "mark", "rate", "told")

    def __init__(self) -> None:
        self.mark: Decimal | None = None
        self.rate: str | None = None
        self.due_ms: str | None = None
        self.told: tuple[str, str] | None = None


class BybitMarketReader:
    """Reads the texts of one connection into the sink; see `transport.market_feed.Reader`."""

    def __init__(self, *, sink: MarketSink, clock: Clock, symbols: Sequence[Symbol]) -> None:
        self._sink = sink
        self._on_trade = sink.on_trade
        self._on_quote = sink.on_quote
        self._now_ns = clock.now_ns
        self._monotonic_ns = clock.monotonic_ns
        self._symbols = {str(symbol): symbol for symbol in symbols}
        self._decode = msgspec.json.Decoder(_Frame).decode
        # Prices and sizes come again and again: the number that a text means.
        self._numbers: dict[str, Decimal] = {}
        self._updates: dict[str, int] = {}
        self._tickers: dict[str, _Ticker] = {}
        self.heard_ns: dict[Symbol, int] = {}

    def read(self, text: str) -> None:
        """Push what a text says. ValueError (Undecodable) with the reason, Refused for a refusal
        of the venue.
        """
        try:
            frame = self._decode(text)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise Undecodable(f"not a public message: {error}") from error
        topic, data = frame.topic, frame.data
        if type(data) is list:
            if not topic.startswith("publicTrade."):
                raise _unasked_topic(topic)
            self._trades(data)
        elif type(data) is _Data:
            if topic.startswith("orderbook.1."):
                self._book(data, frame.ts, frame.type)
            elif topic.startswith("tickers."):
                self._ticker(data, frame.ts, frame.type)
            else:
                raise _unasked_topic(topic)
        else:
            self._control(frame)

    def _control(self, frame: _Frame) -> None:
        if frame.topic:
            raise Undecodable("data: is missing")
        if not frame.op or frame.success is None:
            raise Undecodable("topic: neither it nor an answer is there")
        if not frame.success:
            raise Refused(frame.op[:40], frame.ret_msg[:200])

    def _trades(self, rows: list[_TradeRow]) -> None:
        """All or nothing: what is after a row that cannot be read must not overtake it."""
        read = []
        for row in rows:
            taker = _SIDES.get(row.S) or side(row.S, "S")
            price, size = self._number(row.p, "p"), self._number(row.v, "v")
            read.append((self._symbol(row.s, "s"), price, size, taker, row.T * _NS_PER_MS))
        now_ns = self._now_ns()
        for symbol, price, size, taker, venue_ns in read:
            self._on_trade(symbol, price, size, taker, now_ns, venue_ns)

    def _book(self, data: _Data, ts_ms: int, kind: str) -> None:
        symbol = self._symbol(data.s, "s")
        if kind != "snapshot":
            raise Undecodable(f"type: {kind[:60]!r} of a book that comes whole")
        if data.b is None or data.a is None:
            raise Undecodable("b: it or a is missing")
        self.heard_ns[symbol] = self._monotonic_ns()
        if data.u < self._updates.get(data.s, 0) and data.u != _RESTARTED:
            return
        self._updates[data.s] = data.u
        if not data.b or not data.a:
            return  # A side that nobody quotes: there is no best price.
        bid, ask = self._number(data.b[0][0], "b"), self._number(data.a[0][0], "a")
        if bid >= ask:
            raise Undecodable(f"b: {data.s} is bid {bid} and asked {ask}")
        self._on_quote(symbol, bid, ask, self._now_ns(), ts_ms * _NS_PER_MS)

    def _ticker(self, data: _Data, ts_ms: int, kind: str) -> None:
        symbol = self._symbol(data.symbol, "symbol")
        if kind == "snapshot":
            ticker = self._tickers[data.symbol] = _Ticker()
            if not data.mark_price:
                raise Undecodable("markPrice: is missing")
        elif kind == "delta":
            known = self._tickers.get(data.symbol)
            if known is None:
                raise Undecodable(f"type: a delta of {data.symbol} before its snapshot")
            ticker = known
        else:
            raise Undecodable(f"type: {kind[:60]!r} is neither snapshot nor delta")
        ticker.mark = positive_or_none(data.mark_price, "markPrice") or ticker.mark
        ticker.rate = data.funding_rate or ticker.rate
        ticker.due_ms = data.next_funding_time or ticker.due_ms
        if ticker.mark is not None:
            self._sink.on_mark(symbol, ticker.mark, self._now_ns(), ts_ms * _NS_PER_MS)
        if ticker.rate and ticker.due_ms and ticker.told != (ticker.rate, ticker.due_ms):
            rate = number(ticker.rate, "fundingRate")
            self._sink.on_funding(symbol, rate, time_ns(ticker.due_ms, "nextFundingTime"))
            ticker.told = (ticker.rate, ticker.due_ms)

    def _symbol(self, text: str, field: str) -> Symbol:
        symbol = self._symbols.get(text)
        if symbol is None:
            raise Undecodable(f"{field}: {text[:60]!r} was not asked for")
        return symbol

    def _number(self, text: str, field: str) -> Decimal:
        value = self._numbers.get(text)
        if value is None:
            value = above_zero(text, field)
            if len(self._numbers) >= _TEXTS_KEPT:
                self._numbers.clear()
            self._numbers[text] = value
        return value


def _unasked_topic(topic: str) -> Undecodable:
    return Undecodable(f"topic: {topic[:60]!r} is not one we subscribe to")


def bybit_channels(*, stream_url: str, symbols: Sequence[Symbol]) -> tuple[Channel, ...]:
    """The connections that these symbols need; `stream_url` is `wss://host`."""
    address = f"{stream_url.rstrip('/')}/v5/public/linear"
    channels: list[Channel] = []
    for start in range(0, len(symbols), SYMBOLS_PER_CONNECTION):
        some = tuple(symbols[start : start + SYMBOLS_PER_CONNECTION])
        number = f" {start // SYMBOLS_PER_CONNECTION + 1}" if start else ""

        def open_reader(
            sink: MarketSink, clock: Clock, some: tuple[Symbol, ...] = some
        ) -> BybitMarketReader:
            return BybitMarketReader(sink=sink, clock=clock, symbols=some)

        channels.append(
            Channel(
                name=f"Bybit public stream{number}",
                address=address,
                symbols=some,
                open_reader=open_reader,
                first_words=_subscriptions(some),
                heartbeat=PING.decode(),
                silence_max_s=CONNECTION_SILENCE_S,
                symbol_silence_max_s=BOOK_SILENCE_S,
            )
        )
    return tuple(channels)


def _subscriptions(symbols: Sequence[Symbol]) -> tuple[str, ...]:
    kinds = ("publicTrade", "orderbook.1", "tickers")
    topics = [f"{kind}.{symbol}" for symbol in symbols for kind in kinds]
    step = _TOPICS_PER_SUBSCRIPTION
    return tuple(
        msgspec.json.encode(
            {
                "op": "subscribe",
                "args": topics[start : start + step],
                "req_id": f"public-{start // step + 1}",
            }
        ).decode()
        for start in range(0, len(topics), step)
    )


__all__ = ["SYMBOLS_PER_CONNECTION", "BybitMarketReader", "bybit_channels"]
