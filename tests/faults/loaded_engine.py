"""A whole engine that trades while 2,000 durable events a second more go through its journal.

Real: kernel, gate, paper venue, SQLite, journal, link, Redis; in this process and on real time.
Independent of what is tested: the events of the load are numbered by the test, those of the engine
noted as the bus tells them; the stream is read over a connection of the test's own, outbox and
venue's book from their files. `compare` holds the world still and demands that all agree.

An entry that slipped through a shut gate is looked for in the venue's own book, by time.
Units: UTC nanoseconds; seconds where the name says so.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

from engine.model.events import Event, LinkChanged, RedisLost, RedisRecovered, SignalReceived
from engine.model.ids import SignalId, Symbol
from engine.model.values import Side
from engine.runtime import SystemClock
from tests.desk import Desk, venue_rows, with_feed
from tests.faults.busy_engine import POLICY, PRICES, BusyMarket
from tests.faults.link_desk import read_stream
from tests.waiting import eventually

__all__ = ["LoadedEngine", "loaded_engine"]

_PER_TURN, _TURN_S = 20, 0.01
_LOAD = "load"
# What passed the final check before the loss reaches the venue within the paper venue's latency.
_ON_THE_WAY_NS = 50_000_000


class _Told(NamedTuple):
    """What the engine said of its link, and when."""

    ts_ns: int
    what: str


class LoadedEngine:
    """The engine, its load, and the books that are kept beside it."""

    def __init__(self, desk: Desk, market: BusyMarket) -> None:
        self.desk = desk
        self._market = market
        self._redis = desk.kernel.parts.redis
        self._is_loading = True
        self._is_ended = False
        self.sent = 0
        self._own: list[str] = []
        self.told: list[_Told] = []
        self._since_ns = 0
        desk.kernel.parts.bus.subscribe(self._note, name="independent list")

    def _note(self, event: Event) -> None:
        if isinstance(event, LinkChanged):
            self.told.append(_Told(event.ts_ns, event.state))
        elif isinstance(event, RedisLost | RedisRecovered):
            self.told.append(_Told(event.ts_ns, event.TYPE))
        if event.DURABLE and event.source != _LOAD:
            self._own.append(event.id)

    async def load(self) -> None:
        """2,000 durable events a second, whatever happens to Redis."""
        bus, stamp = self.desk.kernel.parts.bus, self.desk.kernel.parts.stamper
        began, turns = time.monotonic(), 0
        while not self._is_ended:
            if self._is_loading:
                for _ in range(_PER_TURN):
                    self.sent += 1
                    common = stamp() | {"source": _LOAD}
                    bus.emit(
                        SignalReceived(
                            **common,
                            signal_id=SignalId(f"{_LOAD}-{self.sent}"),
                            symbol=Symbol("BTCUSDT"),
                            side=Side.BUY,
                            confidence=0.5,
                            strategy=_LOAD,
                        )
                    )
            turns += 1
            self.desk.events.clear()  # What the desk's story noted is no memory of the engine.
            await asyncio.sleep(max(0.0, began + turns * _TURN_S - time.monotonic()))

    def end(self) -> None:
        self._is_ended = True

    # --- the gate -------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """The link is up, every step of the recovery has succeeded, and nothing holds an entry."""
        return self._redis.is_up() and not self._redis.recovering and not self.desk.gate()

    async def trades(self, entries: int) -> None:
        """So many entries more reach the venue."""
        wanted = self.desk.entries_at_venue() + entries
        await eventually(lambda: self.desk.entries_at_venue() >= wanted, timeout_s=10)

    async def is_lost(self, within_s: float) -> int:
        """The link has noticed, in time, and the gate is shut; when it noticed."""
        await eventually(lambda: not self._redis.is_up(), timeout_s=within_s, interval_s=0.002)
        noticed_ns = time.time_ns()
        assert self._redis.recovering
        assert "redis_down" in self.desk.gate()
        return noticed_ns

    def pending(self) -> int:
        return self.desk.kernel.parts.storage.journal.pending

    def entries_between(self, from_ns: int, to_ns: int) -> int:
        """By the venue's own book."""
        sql = "SELECT count(*) FROM orders WHERE reduce_only = 0 AND ts_ns > {} AND ts_ns < {}"
        return int(venue_rows(self.desk.data_dir, sql.format(from_ns, to_ns))[0][0])

    def shut_spans(self) -> list[tuple[int, int]]:
        """From each loss (or replay) that the engine told to the end of its recovery."""
        spans: list[tuple[int, int]] = []
        from_ns = 0
        for ts_ns, what in self.told:
            if what in ("down", "replaying") and not from_ns:
                from_ns = ts_ns
                continue
            replayed_only = what == "up" and not self._was_lost(from_ns, ts_ns)
            if from_ns and (replayed_only or what == RedisRecovered.TYPE):
                spans.append((from_ns, ts_ns))
                from_ns = 0
        return spans

    def _was_lost(self, from_ns: int, until_ns: int) -> bool:
        return any(
            what == RedisLost.TYPE and from_ns <= ts_ns <= until_ns for ts_ns, what in self.told
        )

    # --- the books ------------------------------------------------------------------------------

    async def compare(self, url: str) -> None:
        """Hold the world still; every durable event must be there once and in order."""
        self._is_loading, self._market.is_quiet = False, True
        try:
            await eventually(self._is_caught_up, timeout_s=15)
            # In this turn of the loop nothing happens beside; afterwards the engine goes on.
            noted, until_seq = set(self._own), self.desk.kernel.parts.storage.journal.tail_seq()
            entries = await asyncio.to_thread(read_stream, url)
            self._assert_mirrored(entries, noted=noted, until_seq=until_seq)
        finally:
            self._is_loading, self._market.is_quiet = True, False
        for from_ns, to_ns in self.shut_spans():
            late = self.entries_between(from_ns + _ON_THE_WAY_NS, to_ns)
            assert late == 0, f"{late} entries while the gate was shut, {from_ns} to {to_ns}"

    def _is_caught_up(self) -> bool:
        storage, parts = self.desk.kernel.parts.storage, self.desk.kernel.parts
        return (
            self._redis.is_up()
            and not self._redis.recovering
            and not parts.bus.size
            and storage.writer.pending == 0
            and storage.journal.pending == 0
        )

    def _assert_mirrored(
        self, entries: list[tuple[str, dict[str, str]]], *, noted: set[str], until_seq: int
    ) -> None:
        """`noted` and all up to `until_seq` had arrived before the stream was read."""
        ids = [fields["id"] for _, fields in entries]
        assert len(ids) == len(set(ids)), "an event is there twice"
        loaded = [fields["payload"] for _, fields in entries if fields["source"] == _LOAD]
        assert len(loaded) == self.sent
        for number, payload in enumerate(loaded, start=1):
            assert f'"{_LOAD}-{number}"' in payload, f"not number {number}: {payload}"
        assert noted <= set(ids), f"lost: {noted - set(ids)}"
        outbox = self._outbox(until_seq)
        assert ids[: len(outbox)] == outbox, "the stream is not the journal"

    def _outbox(self, until_seq: int) -> list[str]:
        path = self.desk.data_dir / "state.db"
        with closing(sqlite3.connect(path)) as connection:
            rows: list[tuple[Any]] = connection.execute(
                "SELECT event_id FROM outbox WHERE seq <= ? ORDER BY seq", (until_seq,)
            ).fetchall()
        return [row[0] for row in rows]


@asynccontextmanager
async def loaded_engine(folder: Path, url: str) -> AsyncIterator[LoadedEngine]:
    """An engine under load, its gate open; sound and stopped in order at the end."""
    desk = Desk(
        clock=SystemClock(),
        folder=folder,
        policy=POLICY,
        latency_ms=2,
        prices={Symbol(symbol): price for symbol, price in PRICES.items()},
        redis_url=url,
    )
    await desk.build()
    market = BusyMarket(desk, seed=1)
    desk.kernel, desk.market = with_feed(desk.kernel, market), market
    engine = LoadedEngine(desk, market)
    await desk.kernel.start()
    loading = asyncio.ensure_future(engine.load())
    try:
        await eventually(engine.is_open, timeout_s=10)
        yield engine
        market.is_quiet = True
        engine.end()
        await loading
        await desk.sleep(0.2)  # What is in flight settles.
        await desk.assert_sound()
    finally:
        engine.end()
        await loading
        await desk.close()
