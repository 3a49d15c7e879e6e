"""Bybit's public stream: what each text means, and how it comes back."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import SystemClock
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.market_stream import BybitMarketReader, bybit_channels
from tests.fakes.market_sink import RecordingSink
from tests.simulators.bybit.streams import BybitSession
from tests.simulators.faults import Fault, FaultRule
from tests.unit.engine.venues.public_streams import BTC, ETH, Feeding, on_bybit_feed

_CHANNELS = bybit_channels(stream_url="wss://anywhere", symbols=(BTC, ETH))
_MS = 1_000_000


def _reader(*symbols: str) -> tuple[BybitMarketReader, RecordingSink]:
    sink = RecordingSink()
    names = [Symbol(name) for name in symbols or ("BTCUSDT",)]
    return BybitMarketReader(sink=sink, clock=SystemClock(), symbols=names), sink


def _book(update: int, bid: str, ask: str, *, kind: str = "snapshot") -> str:
    return (
        f'{{"topic":"orderbook.1.BTCUSDT","type":"{kind}","ts":1700000000000,"data":'
        f'{{"s":"BTCUSDT","b":[["{bid}","1"]],"a":[["{ask}","2"]],"u":{update},"seq":9}},"cts":1}}'
    )


def _ticker(kind: str, **fields: str) -> str:
    data = {"symbol": "BTCUSDT", **fields}
    frame = {"topic": "tickers.BTCUSDT", "type": kind, "ts": 1_700_000_000_000, "data": data}
    return msgspec.json.encode(frame).decode()


def _trade_row(price: str, side: str = "Sell", symbol: str = "BTCUSDT") -> dict[str, object]:
    return {"T": 1_700_000_000_100, "s": symbol, "S": side, "v": "0.5", "p": price, "i": "x"}


def _trades(*rows: dict[str, object]) -> str:
    frame = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": list(rows)}
    return msgspec.json.encode(frame).decode()


# --- what a text means ----------------------------------------------------------------------------


def test_trades_of_one_text_are_pushed_in_their_order_with_both_times() -> None:
    reader, sink = _reader()
    before_ns = SystemClock().now_ns()
    reader.read(_trades(_trade_row("3"), _trade_row("1", "Buy"), _trade_row("2")))
    assert [each[1] for each in sink.trades] == [3, 1, 2]
    assert [each[3] for each in sink.trades] == [Side.SELL, Side.BUY, Side.SELL]
    assert all(before_ns <= each[4] <= SystemClock().now_ns() for each in sink.trades)
    assert sink.venue_times_ns == [1_700_000_000_100 * _MS] * 3


def test_a_text_with_a_trade_that_cannot_be_read_pushes_none_of_them() -> None:
    reader, sink = _reader()
    with pytest.raises(Undecodable, match="p: 'x' is not a number"):
        reader.read(_trades(_trade_row("3"), _trade_row("x")))
    assert not sink.trades


def test_a_book_that_is_older_than_the_last_is_passed_over_and_one_stands_anew() -> None:
    reader, sink = _reader()
    for update, bid in ((100, "1"), (101, "2"), (99, "3"), (101, "2"), (1, "4"), (2, "5")):
        reader.read(_book(update, bid, "9"))
    # 99 is old; 101 again is the same, resent; 1 says that the venue began to count anew.
    assert [each[1] for each in sink.quotes] == [1, 2, 2, 4, 5]
    assert reader.heard_ns.keys() == {BTC}


def test_differences_of_a_ticker_leave_unchanged_what_they_do_not_name() -> None:
    reader, sink = _reader()
    first = {"markPrice": "100", "fundingRate": "0.0001", "nextFundingTime": "1700006400000"}
    reader.read(_ticker("snapshot", **first))
    reader.read(_ticker("delta", lastPrice="7"))
    reader.read(_ticker("delta", markPrice="101"))
    reader.read(_ticker("delta", fundingRate="-0.0002"))
    assert [each[1] for each in sink.marks] == [100, 100, 101, 101]
    due_ns = 1_700_006_400_000 * _MS
    assert sink.fundings == [(BTC, Decimal("0.0001"), due_ns), (BTC, Decimal("-0.0002"), due_ns)]


def test_a_difference_without_the_whole_is_refused() -> None:
    reader, sink = _reader()
    with pytest.raises(Undecodable, match="a delta of BTCUSDT before its snapshot"):
        reader.read(_ticker("delta", markPrice="101"))
    assert not sink.marks


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a public message"),
        ("{}", "neither it nor an answer"),
        ('{"topic":"tickers.BTCUSDT"}', "data: is missing"),
        ('{"topic":"kline.5.BTCUSDT","data":{}}', "'kline.5.BTCUSDT' is not one we subscribe to"),
        ('{"topic":"trade.BTCUSDT","data":[]}', "'trade.BTCUSDT' is not one we subscribe to"),
        (_trades(_trade_row("1", "Long")), "S: 'Long' is neither Buy nor Sell"),
        (_trades(_trade_row("1", "Buy", "SOLUSDT")), "s: 'SOLUSDT' was not asked for"),
        (_book(1, "1", "2", kind="delta"), "'delta' of a book that comes whole"),
        (_book(1, "2", "1"), "bid 2 and asked 1"),
        (_ticker("snapshot", lastPrice="1"), "markPrice: is missing"),
        (_ticker("snapshot", markPrice="-1"), "markPrice: -1 is below zero"),
        (_ticker("other", markPrice="1"), "'other' is neither snapshot nor delta"),
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


def test_answers_say_nothing_unless_they_say_no() -> None:
    reader, sink = _reader()
    reader.read('{"success":true,"ret_msg":"","conn_id":"c","req_id":"1","op":"subscribe"}')
    reader.read('{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}')
    with pytest.raises(Refused, match="subscribe: error:handler not found"):
        reader.read(
            '{"success":false,"ret_msg":"error:handler not found,topic:x","op":"subscribe"}'
        )
    assert not sink.quotes


def test_every_payload_of_the_venue_is_read_or_refused_with_a_reason(recorded_data: Path) -> None:
    reasons: list[str] = []
    pushed: set[str] = set()
    for path in sorted((recorded_data / "fixtures").rglob("*.json")):
        if "bybit" not in str(path):
            continue
        body = path.read_text()
        reader, sink = _reader("BTCUSDT", "ETHUSDT")
        for text in (body, body[: len(body) // 2]):
            try:
                reader.read(text)
            except (Undecodable, Refused) as error:
                reasons.append(str(error))
        if sink.trades or sink.quotes or sink.marks:
            pushed.add(path.name)
    assert pushed == {
        "websocket__public__trade.1.json",
        "ws_orderbook_snapshot.json",
        "ws_ticker_linear.json",
    }
    assert len(reasons) > 150
    assert all(reasons)


# --- the connection -------------------------------------------------------------------------------


def test_everything_is_subscribed_within_the_length_that_the_venue_takes() -> None:
    symbols = [Symbol(f"S{number}USDT") for number in range(120)]
    first, second = bybit_channels(stream_url="wss://anywhere/", symbols=symbols)
    assert first.address == "wss://anywhere/v5/public/linear"
    asked = [
        topic
        for channel in (first, second)
        for text in channel.first_words
        for topic in msgspec.json.decode(text)["args"]
    ]
    wanted = {f"{kind}.{s}" for kind in ("publicTrade", "orderbook.1", "tickers") for s in symbols}
    assert len(asked) == len(wanted)
    assert set(asked) == wanted
    assert all(len(text) < 21_000 for text in first.first_words)


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

    on_bybit_feed(_CHANNELS, story)


def test_a_lost_connection_is_back_subscribed_and_the_gap_has_its_length() -> None:
    async def story(feeding: Feeding) -> None:
        feeding.exchange.inject([FaultRule(kind=Fault.CUT_STREAMS)])
        await feeding.clock.sleep(0.1)
        assert len(feeding.causes()) == 1
        heard = len(feeding.sink.quotes)
        await feeding.clock.sleep(5.0)
        assert len(feeding.sink.quotes) > heard
        ((name, gap_s),) = feeding.gaps()
        assert name == "Bybit public stream"
        assert 1.0 <= gap_s <= 1.3

    on_bybit_feed(_CHANNELS, story)


def test_a_connection_that_goes_silent_is_dropped_and_replaced() -> None:
    async def story(feeding: Feeding) -> None:
        feeding.exchange.inject([FaultRule(kind=Fault.SILENCE, seconds=600)])
        heard = len(feeding.sink.trades)
        await feeding.clock.sleep(12.0)
        assert "silent for 8." in feeding.causes()[0]
        assert len(feeding.sink.trades) > heard

    on_bybit_feed(_CHANNELS, story)


def test_one_symbol_whose_book_is_silent_drops_its_connection() -> None:
    channels = bybit_channels(stream_url="wss://anywhere", symbols=(BTC, ETH))

    async def story(feeding: Feeding) -> None:
        (session,) = feeding.exchange.sessions
        assert isinstance(session, BybitSession)
        session.topics.pop("orderbook.1.ETHUSDT")
        await feeding.clock.sleep(9.0)
        assert feeding.causes()[0].startswith("ETHUSDT silent for 8.")

    on_bybit_feed(channels, story)


@pytest.mark.allow_log("handler not found")
def test_a_refused_subscription_drops_the_connection_with_the_venues_words() -> None:
    channels = bybit_channels(stream_url="wss://anywhere", symbols=(BTC, Symbol("no-such")))

    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(1.0)
        assert feeding.causes()[0].startswith("subscription refused: subscribe: error:handler")

    on_bybit_feed(channels, story)


def test_the_heartbeat_keeps_an_otherwise_silent_client_connected() -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.clock.sleep(700.0)
        assert not feeding.causes(), "the venue cuts who says nothing for ten minutes"

    on_bybit_feed(_CHANNELS, story)
