"""Binance's public streams: what each text means, and how they come back."""

from __future__ import annotations

import gzip
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import SystemClock
from engine.venues.binance.decoding import Undecodable
from engine.venues.binance.market_stream import BinanceMarketReader, binance_channels
from tests.fakes.market_sink import RecordingSink
from tests.simulators.faults import Fault, FaultRule
from tests.unit.engine.venues.public_streams import BTC, ETH, Feeding, on_binance_feed

_CHANNELS = binance_channels(stream_url="wss://anywhere", symbols=(BTC, ETH))
_MS = 1_000_000


def _reader(*symbols: str) -> tuple[BinanceMarketReader, RecordingSink]:
    sink = RecordingSink()
    names = [Symbol(name) for name in symbols or ("BTCUSDT",)]
    return BinanceMarketReader(sink=sink, clock=SystemClock(), symbols=names), sink


def _combined(data: str) -> str:
    return f'{{"stream":"any@stream","data":{data}}}'


# --- what a text means ----------------------------------------------------------------------------


def test_a_trade_comes_with_the_venues_time_and_ours() -> None:
    reader, sink = _reader()
    before_ns = SystemClock().now_ns()
    reader.read(
        _combined(
            '{"e":"aggTrade","E":1700000000105,"a":1,"s":"BTCUSDT","p":"60000.10","q":"0.015",'
            '"nq":"0.015","f":1,"l":1,"T":1700000000100,"m":true,"st":1}'
        )
    )
    ((symbol, price, quantity, side, ts_ns),) = sink.trades
    assert (symbol, price, quantity) == (BTC, Decimal("60000.10"), Decimal("0.015"))
    assert side is Side.SELL, "the buyer was there first: the taker sold"
    assert before_ns <= ts_ns <= SystemClock().now_ns()
    assert sink.venue_times_ns == [1_700_000_000_100 * _MS]


def test_a_mark_brings_the_rate_and_the_time_of_the_next_funding_once() -> None:
    reader, sink = _reader()
    mark = (
        '{"e":"markPriceUpdate","E":1700000000000,"s":"BTCUSDT","p":"60000.5","ap":"60000.4",'
        '"i":"60001","P":"60002","r":"-0.00012","T":1700006400000}'
    )
    reader.read(_combined(mark))
    reader.read(_combined(mark.replace("60000.5", "60000.6")))
    assert [price for _, price, _ in sink.marks] == [Decimal("60000.5"), Decimal("60000.6")]
    assert sink.fundings == [(BTC, Decimal("-0.00012"), 1_700_006_400_000 * _MS)]
    reader.read(_combined(mark.replace("-0.00012", "0.0001")))
    assert sink.fundings[1:] == [(BTC, Decimal("0.0001"), 1_700_006_400_000 * _MS)]


def test_a_quote_that_repeats_the_last_prices_says_nothing_new() -> None:
    reader, sink = _reader()
    quote = '{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1.1","B":"5","a":"1.2","A":"7","T":5,"E":6}'
    reader.read(_combined(quote))
    reader.read(_combined(quote.replace('"B":"5"', '"B":"6"')))
    reader.read(_combined(quote.replace("1.1", "1.15")))
    best = [each[1:3] for each in sink.quotes]
    assert best == [(Decimal("1.1"), Decimal("1.2")), (Decimal("1.15"), Decimal("1.2"))]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a public event"),
        ('{"stream":"x"}', "data: is missing"),
        (_combined('{"e":"kline","s":"BTCUSDT"}'), "Invalid value 'kline'"),
        (_combined('{"e":"aggTrade","s":"BTCUSDT","p":"1","q":"1","T":1}'), "required field `m`"),
        (
            _combined('{"e":"aggTrade","s":"BTCUSDT","p":"nan","q":"1","T":1,"m":true}'),
            "p: 'nan' is not a number",
        ),
        (
            _combined('{"e":"aggTrade","s":"BTCUSDT","p":"1","q":"0","T":1,"m":true}'),
            "q: '0' is not above zero",
        ),
        (
            _combined('{"e":"aggTrade","s":"SOLUSDT","p":"1","q":"1","T":1,"m":true}'),
            "s: 'SOLUSDT' was not asked for",
        ),
        (
            _combined('{"e":"bookTicker","s":"BTCUSDT","b":"2","a":"1"}'),
            "bid 2 and asked 1",
        ),
        (
            _combined('{"e":"bookTicker","s":"BTCUSDT","b":"1e999999","a":"1"}'),
            "b: '1e999999' is not a number",
        ),
        (
            _combined('{"e":"markPriceUpdate","s":"BTCUSDT","p":"0","E":1}'),
            "p: '0' is not above zero",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason_and_pushes_nothing(
    text: str, reason: str
) -> None:
    reader, sink = _reader()
    with pytest.raises(Undecodable, match=reason):
        reader.read(text)
    assert not sink.trades
    assert not sink.quotes
    assert not sink.marks


def test_an_acknowledgement_says_nothing_and_a_refusal_is_one() -> None:
    reader, sink = _reader()
    reader.read('{"result":null,"id":1}')
    assert not sink.trades
    with pytest.raises(Refused, match="2: Invalid request"):
        reader.read('{"error":{"code":2,"msg":"Invalid request: unknown"},"id":1}')


def test_recorded_minutes_are_read_whole(recorded_data: Path) -> None:
    """Real frames of 2024: every quote is read; `trade` and depth are refused by their kind."""
    reader, sink = _reader()
    read = refused = 0
    with gzip.open(
        recorded_data / "marketdata/binance_usdm_btcusdt_20240808_rawws.gz", "rt"
    ) as file:
        for line in file:
            frame = line.partition(" ")[2]
            if '"bookTicker"' not in frame:
                continue
            try:
                reader.read(frame)
                read += 1
            except Undecodable:
                refused += 1
    assert (read, refused) == (66_089, 0)
    assert 1_000 < len(sink.quotes) < read, "most repeat the last prices"


def test_recorded_streams_of_2021_are_read_or_refused_by_their_kind(recorded_data: Path) -> None:
    lines = (
        (recorded_data / "fixtures/cryptofeed/BINANCE_FUTURES.ws.1.0").read_text().splitlines()[1:]
    )
    kinds: dict[str, int] = {}
    reader, sink = _reader("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")
    for line in lines:
        frame = line.partition(": ")[2]
        kind = msgspec.json.decode(frame)["data"]["e"]
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind in ("aggTrade", "bookTicker"):
            reader.read(frame)
        else:
            with pytest.raises(Undecodable, match=kind):
                reader.read(frame)
    assert len(sink.trades) == kinds["aggTrade"] > 0
    assert 0 < len(sink.quotes) <= kinds["bookTicker"]


def test_every_payload_of_the_venue_is_read_or_refused_with_a_reason(recorded_data: Path) -> None:
    reasons: list[str] = []
    pushed: set[str] = set()
    for path in sorted((recorded_data / "fixtures").rglob("*.json")):
        if "binance" not in str(path):
            continue
        body = path.read_text()
        reader, sink = _reader("BTCUSDT", "BNBUSDT", "ETHUSDT")
        for text in (body, _combined(body), body[: len(body) // 2]):
            try:
                reader.read(text)
            except (Undecodable, Refused) as error:
                reasons.append(str(error))
        if sink.trades or sink.quotes or sink.marks:
            pushed.add(path.name)
    assert pushed == {
        "agg_trade_stream.json",
        "book_ticker_stream.json",
        "mark_price_stream.json",
        "websocket-market-streams__Aggregate-Trade-Streams.1.json",
        "websocket-market-streams__Individual-Symbol-Book-Ticker-Streams.1.json",
        "websocket-market-streams__All-Book-Tickers-Stream.1.json",
        "websocket-market-streams__Mark-Price-Stream.1.json",
        "ws_futures_book_ticker.json",
    }
    assert len(reasons) > 500
    assert all(reasons)


# --- the connections ------------------------------------------------------------------------------


def test_each_stream_is_asked_for_on_the_path_that_carries_it() -> None:
    market, public = _CHANNELS
    assert market.address == (
        "wss://anywhere/market/stream?streams="
        "btcusdt@aggTrade/btcusdt@markPrice@1s/ethusdt@aggTrade/ethusdt@markPrice@1s"
    )
    assert public.address == (
        "wss://anywhere/public/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker"
    )


def test_many_symbols_are_spread_over_connections_and_any_script_is_encoded() -> None:
    symbols = [Symbol(f"S{number}USDT") for number in range(150)] + [Symbol("币安人生USDT")]
    channels = binance_channels(stream_url="wss://anywhere/", symbols=symbols)
    assert [len(each.symbols) for each in channels] == [100, 100, 51, 51]
    assert len({each.name for each in channels}) == 4
    assert all(each.address.isascii() for each in channels)


def test_trades_quotes_marks_and_funding_of_every_symbol_arrive() -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(3.0)
        sink = feeding.sink
        for heard in (sink.trades, sink.quotes, sink.marks, sink.fundings):
            assert {entry[0] for entry in heard} == {BTC, ETH}
        market = feeding.exchange.venue.markets[BTC]
        feeding.exchange.venue.set_price(BTC, market.last * 2)
        await feeding.clock.sleep(0.1)
        assert sink.trades[-1][1] == market.last
        assert sink.quotes[-1][1] < market.last < sink.quotes[-1][2]
        assert feeding.feed.refusals == 0

    on_binance_feed(_CHANNELS, story)


def test_a_lost_connection_is_back_subscribed_and_the_gap_has_its_length() -> None:
    async def story(feeding: Feeding) -> None:
        feeding.exchange.inject([FaultRule(kind=Fault.CUT_STREAMS)])
        await feeding.clock.sleep(0.1)
        assert len(feeding.causes()) == 2
        heard = len(feeding.sink.trades)
        await feeding.clock.sleep(5.0)
        assert len(feeding.sink.trades) > heard
        assert {name for name, _ in feeding.gaps()} == {each.name for each in _CHANNELS}
        assert all(1.0 <= gap_s <= 1.3 for _, gap_s in feeding.gaps())

    on_binance_feed(_CHANNELS, story)


def test_a_connection_that_goes_silent_is_dropped_and_replaced() -> None:
    async def story(feeding: Feeding) -> None:
        feeding.exchange.inject([FaultRule(kind=Fault.SILENCE, seconds=600)])
        heard = len(feeding.sink.trades)
        await feeding.clock.sleep(9.0)
        assert "silent for" in feeding.causes()[0]
        assert len(feeding.sink.trades) > heard
        await feeding.clock.sleep(60.0)
        quotes = next(each for each in _CHANNELS if "quotes" in each.name)
        assert quotes.name in {name for name, _ in feeding.gaps()}

    on_binance_feed(_CHANNELS, story)


def test_one_symbol_whose_marks_are_silent_drops_its_connection() -> None:
    unknown = Symbol("NOSUCHUSDT")
    channels = binance_channels(stream_url="wss://anywhere", symbols=(BTC, unknown))

    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(6.0)
        assert feeding.causes()[0].startswith("NOSUCHUSDT silent for 5.")

    on_binance_feed(channels, story)


def test_a_day_is_not_waited_for() -> None:
    assert all(each.life_max_s < 24 * 3600 for each in _CHANNELS)
    short_lived = [replace(each, life_max_s=60.0) for each in _CHANNELS]

    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(70)
        assert len(feeding.gaps()) == 2
        assert all(cause.startswith("old") for cause in feeding.causes())

    on_binance_feed(short_lived, story)


def test_a_connection_that_never_comes_about_is_told_once_with_the_reason() -> None:
    lost = replace(_CHANNELS[0], address="wss://anywhere/nowhere/stream")

    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(30)
        ((name, connected, cause, gap_s),) = feeding.sink.streams
        assert (name, connected, gap_s) == (lost.name, False, 0.0)
        assert cause.startswith("cannot connect: ConnectionRefusedError: 404")

    on_binance_feed([lost], story)


@pytest.mark.allow_log("cannot be read")
def test_a_broken_text_is_counted_and_is_not_the_end() -> None:
    async def story(feeding: Feeding) -> None:
        rule = FaultRule(kind=Fault.MALFORMED_FRAME, on="aggTrade", times=2)
        feeding.exchange.inject([rule])
        await feeding.clock.sleep(5.0)
        assert feeding.feed.refusals == 2
        assert not feeding.causes()

    on_binance_feed(_CHANNELS, story)
