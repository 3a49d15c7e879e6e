"""Replays: the real recordings to the last trade, broken lines named, pace and room respected."""

from __future__ import annotations

import asyncio
import gzip
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from engine.market import ReplayFeed, first_ts_ns
from engine.model.errors import ConfigurationError
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.runtime import SimClock, SystemClock, run_simulated
from tests.fakes.market_sink import RecordingSink
from tests.waiting import eventually

BTC = Symbol("BTCUSDT")
CSV = """ts_ns,symbol,price,quantity,side
1000,BTCUSDT,60000.1,0.5,BUY
2000,ETHUSDT,3000,1,SELL
3000,BTCUSDT,60000.2,0.25,sell
"""


def replay(path: Path, *, symbols: tuple[Symbol, ...] = (BTC,)) -> tuple[RecordingSink, ReplayFeed]:
    async def body(clock: SimClock) -> tuple[RecordingSink, ReplayFeed]:
        sink = RecordingSink()
        feed = ReplayFeed(clock=clock, path=path, speed="max", symbols=symbols)
        await feed.run(sink)
        return sink, feed

    return run_simulated(body, start_ns=first_ts_ns(path))


@pytest.mark.parametrize(
    ("name", "lines", "trades"), [("btcusdt", 93_954, 21_313), ("ethusdt", 74_655, 14_076)]
)
def test_every_trade_of_the_real_recordings_is_pushed(
    recorded_data: Path, name: str, lines: int, trades: int
) -> None:
    path = recorded_data / "marketdata" / f"binance_usdm_{name}_20240808_rawws.gz"
    sink, feed = replay(path, symbols=(Symbol(name.upper()),))
    assert len(sink.trades) == trades
    assert feed.counts.lines == lines
    assert feed.counts.trades == trades
    assert feed.counts.broken == 0
    times = [entry[4] for entry in sink.trades]
    assert times == sorted(times)
    # Quotes come only when best bid or ask changed, so no two in a row are alike.
    best = [quote[1:3] for quote in sink.quotes]
    assert all(a != b for a, b in pairwise(best))
    assert all(bid < ask for bid, ask in best)


def test_the_first_trade_of_the_real_recording_is_as_written(recorded_data: Path) -> None:
    path = recorded_data / "marketdata" / "binance_usdm_btcusdt_20240808_rawws.gz"
    assert first_ts_ns(path) == 1723161255030314667
    sink, _ = replay(path)
    assert sink.trades[0] == (
        BTC,
        Decimal("61800.30"),
        Decimal("0.006"),
        Side.BUY,
        1723161255088176367,
    )


@pytest.mark.parametrize("packed", [False, True])
def test_csv_is_read_plain_and_gzipped(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(gzip.compress(CSV.encode()) if packed else CSV.encode())
    assert first_ts_ns(path) == 1000
    sink, feed = replay(path)
    assert sink.trades == [
        (BTC, Decimal("60000.1"), Decimal("0.5"), Side.BUY, 1000),
        (BTC, Decimal("60000.2"), Decimal("0.25"), Side.SELL, 3000),
    ]
    assert feed.counts.trades == 3
    assert sink.asked_for_room == 2


@pytest.mark.allow_log("cannot be read|could not be read")
def test_broken_lines_are_counted_and_named_and_never_end_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    lines = CSV.splitlines()
    bad = ["x,BTCUSDT,1,1,BUY", "1,BTCUSDT,-1,1,BUY", "1,BTCUSDT", "1,BTCUSDT,1,NaN,BUY", "\xff,,"]
    path.write_text("\n".join([*lines[:2], *bad, *lines[2:]]), encoding="latin-1")
    sink, feed = replay(path)
    assert len(sink.trades) == 2
    assert feed.counts.broken == 5
    assert feed.counts.broken_lines == [3, 4, 5, 6, 7]


@pytest.mark.allow_log("cannot be read|could not be read")
def test_raw_frames_of_other_kinds_are_skipped_and_broken_ones_named(tmp_path: Path) -> None:
    trade = '{"stream":"s","data":{"e":"trade","s":"BTCUSDT","p":"%s","q":"%s","X":"%s","m":true}}'
    frames = [
        '{"lastUpdateId":1,"bids":[["1","2"]],"asks":[]}',
        trade % ("100.5", "0.1", "MARKET"),
        trade % ("0", "0", "NA"),
        trade % ("100.5", "0.1", "INSURANCE_FUND"),
        '{"stream":"s","data":{"e":"markPriceUpdate","s":"BTCUSDT","p":"1"}}',
        '{"stream":"s","data":{"e":"depthUpdate","b":[],"a":[]}}',
        trade % ("0", "0.1", "MARKET"),
        trade % ("1OO", "0.1", "MARKET"),
        '{"stream":"s","data":{"e":"trade","s":"BTCUSDT","p":"1"',
        "not json",
        '{"stream":"s","data":{"e":"bookTicker","s":"BTCUSDT","b":"0","a":"1"}}',
        trade % ("101", "0.2", "MARKET"),
    ]
    path = tmp_path / "raw.gz"
    text = "\n".join(f"{10 * number} {frame}" for number, frame in enumerate(frames, 1))
    path.write_bytes(gzip.compress(text.encode()))
    sink, feed = replay(path)
    assert [entry[1] for entry in sink.trades] == [Decimal("100.5"), Decimal(101)]
    assert sink.trades[0][3] is Side.SELL
    assert feed.counts.broken_lines == [7, 8, 9, 10, 11]
    assert feed.counts.skipped == 5


@pytest.mark.allow_log("ends in the middle|could not be read")
def test_a_recording_that_was_cut_off_is_played_to_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    rows = "".join(f"{n},BTCUSDT,60000,0.{n},BUY\n" for n in range(1000, 9000))
    path.write_bytes(gzip.compress(f"ts_ns,symbol,price,quantity,side\n{rows}".encode())[:-2000])
    sink, feed = replay(path)
    assert 0 < len(sink.trades) < 8000
    assert feed.counts.broken == 1


@pytest.mark.allow_log("held nothing of")
def test_a_recording_without_our_symbols_says_so(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(CSV)
    sink, _ = replay(path, symbols=(Symbol("XRPUSDT"),))
    assert sink.trades == []


def test_without_symbols_it_plays_all_that_the_recording_holds(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(CSV)
    sink, feed = replay(path, symbols=())
    assert len(sink.trades) == 3
    assert feed.symbols == (BTC, Symbol("ETHUSDT"))


def test_times_that_go_back_are_held(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    rows = ["5000,BTCUSDT,1,1,BUY", "4000,BTCUSDT,2,1,BUY", "6000,BTCUSDT,3,1,BUY"]
    path.write_text("\n".join([CSV.splitlines()[0], *rows]))
    sink, _ = replay(path)
    assert [entry[4] for entry in sink.trades] == [5000, 5000, 6000]


@pytest.mark.parametrize("content", [None, b"", b"hello\nworld\n"])
@pytest.mark.allow_log("cannot be read")
def test_what_cannot_be_a_recording_is_a_configuration_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "day.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"market\.source"):
        first_ts_ns(path)


def test_each_entry_is_pushed_at_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(CSV)
    seen: list[tuple[int, int]] = []

    async def body(clock: SimClock) -> None:
        class Sink(RecordingSink):
            def on_trade(
                self, symbol: Symbol, price: Decimal, quantity: Decimal, side: Side, ts_ns: int
            ) -> None:
                seen.append((clock.now_ns(), ts_ns))

        await ReplayFeed(clock=clock, path=path, speed="max", symbols=(BTC,)).run(Sink())

    run_simulated(body, start_ns=1)
    assert seen == [(1000, 1000), (3000, 3000)]


async def test_it_waits_for_room_instead_of_pushing(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(CSV)
    sink = RecordingSink()
    sink.has_room.clear()
    feed = ReplayFeed(clock=SystemClock(), path=path, speed="max", symbols=(BTC,))
    running = asyncio.get_running_loop().create_task(feed.run(sink))
    await eventually(lambda: sink.asked_for_room == 1)
    assert sink.trades == []
    sink.has_room.set()
    await running
    assert len(sink.trades) == 2


@pytest.mark.parametrize(("speed", "least_ns"), [("1", 80_000_000), ("max", 0)])
async def test_speed_one_is_paced_by_the_real_clock(
    tmp_path: Path, speed: Literal["1", "max"], least_ns: int
) -> None:
    path = tmp_path / "day.csv"
    first = 1_700_000_000_000_000_000
    rows = [f"{first + step * 50_000_000},BTCUSDT,1,1,BUY" for step in range(3)]
    path.write_text("\n".join([CSV.splitlines()[0], *rows]))
    real = SystemClock()
    clock = SystemClock(offset_ns=first - real.now_ns())
    sink = RecordingSink()
    began = real.monotonic_ns()
    await ReplayFeed(clock=clock, path=path, speed=speed, symbols=(BTC,)).run(sink)
    took = real.monotonic_ns() - began
    assert took >= least_ns
    assert len(sink.trades) == 3
    assert speed == "1" or took < 80_000_000
