"""The paper venue where the contract does not look: prices, commits, faults, liquidation, its
disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.database import DatabaseWriter
from engine.model.config import PaperSection
from engine.model.errors import InvariantBroken, NotExecuted, OutcomeUnknown, StoreError
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import paper_instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderState
from engine.model.values import Side
from engine.model.venue import Approved, StreamUpdate
from engine.runtime import SimClock, SystemClock, run_simulated
from engine.venues.paper import PAPER_MIGRATIONS, Fault, PaperVenue
from engine.venues.paper.pricing import Prices
from tests.contract.paper_under_test import SETTINGS, paper_venue, tick
from tests.waiting import eventually

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


def make_intent(
    number: int,
    side: Side,
    quantity: str,
    *,
    symbol: Symbol = BTC,
    leverage: int = 5,
    **fields: Any,
) -> Intent:
    return Intent(
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        symbol=symbol,
        side=side,
        kind=fields.pop("kind", OrderKind.MARKET),
        purpose=OrderPurpose.ENTRY,
        quantity=Decimal(quantity),
        leverage=Decimal(leverage),
        **fields,
    )


def approved(intent: Intent) -> Approved:
    return Approved(intent=intent, policy_version=1, approved_ns=0)


class TestPrices:
    def prices(self, *, spread: str = "2", slippage: str = "0") -> Prices:
        settings = PaperSection(spread_bps=Decimal(spread), slippage=Decimal(slippage))
        prices = Prices(settings=settings)
        prices.last[BTC] = Decimal(60_000)
        return prices

    def test_half_the_spread_lies_on_each_side_of_the_last_price(self) -> None:
        assert self.prices().touch(BTC, Side.BUY) == 60_006
        assert self.prices().touch(BTC, Side.SELL) == 59_994

    def test_a_quote_around_the_last_price_is_the_market_and_not_the_configured_spread(
        self,
    ) -> None:
        prices = self.prices()
        prices.quotes[BTC] = (Decimal(59_990), Decimal("60000.1"))
        assert prices.touch(BTC, Side.SELL) == 59_990
        assert prices.touch(BTC, Side.BUY) == Decimal("60000.1")

    def test_beside_a_quote_that_the_price_has_left_the_worse_of_the_two_is_dealt_at(self) -> None:
        prices = self.prices()
        prices.quotes[BTC] = (Decimal(59_990), Decimal("59990.1"))
        assert prices.touch(BTC, Side.SELL) == 59_990
        assert prices.touch(BTC, Side.BUY) == 60_006
        prices.quotes[BTC] = (Decimal(60_008), Decimal(60_009))
        assert prices.touch(BTC, Side.SELL) == 59_994
        assert prices.touch(BTC, Side.BUY) == 60_009

    def test_impact_grows_with_the_notional_and_rounds_against_us(self) -> None:
        prices = self.prices(spread="0", slippage="0.5")
        instrument = paper_instrument(BTC)
        # 60,000 of notional: 0.3 bps, which is 1.8; 600,000: 3 bps, which is 18.
        assert prices.deal(instrument, Side.BUY, Decimal(1)) == Decimal("60001.8")
        assert prices.deal(instrument, Side.SELL, Decimal(10)) == Decimal("59982.0")
        assert prices.deal(instrument, Side.BUY, Decimal("0.001")) == Decimal("60000.1")
        assert prices.deal(instrument, Side.SELL, Decimal("0.001")) == Decimal("59999.9")


async def test_fees_are_the_takers_and_the_makers(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        tick(venue, BTC, "60000")
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        limit = make_intent(2, Side.BUY, "0.1", kind=OrderKind.LIMIT, price=Decimal(59000))
        await venue.place(approved(limit))
        tick(venue, BTC, "58000")
        taker, maker = await venue.executions(since_ns=0)
        assert taker.fee == taker.price * taker.quantity * Decimal("0.0005")
        assert maker.fee == maker.price * maker.quantity * Decimal("0.0002")


def test_latency_is_paid_on_the_way_there_and_back(tmp_path: Path) -> None:
    async def body(clock: SimClock) -> None:
        settings = PaperSection(latency_ms=20)
        path = tmp_path / "paper.db"
        async with paper_venue(path, settings=settings, clock=clock) as venue:
            clock.add_busy_probe(lambda: venue.pending)
            tick(venue, BTC, "60000")
            began = clock.monotonic_ns()
            await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
            assert clock.monotonic_ns() - began == 40_000_000
            (fill,) = await venue.executions(since_ns=0)
            assert fill.ts_ns == clock.now_ns() - 60_000_000

    run_simulated(body, start_ns=10**18)


def test_an_entry_that_was_held_up_beyond_its_receive_window_is_not_executed(
    tmp_path: Path,
) -> None:
    async def body(clock: SimClock) -> None:
        async with paper_venue(tmp_path / "paper.db", settings=SETTINGS, clock=clock) as venue:
            tick(venue, BTC, "60000")
            venue.faults.script("place", Fault.HANG)
            loop = asyncio.get_running_loop()
            placing = loop.create_task(venue.place(approved(make_intent(1, Side.BUY, "0.1"))))
            await clock.sleep(1.001)
            venue.faults.release()
            with pytest.raises(NotExecuted, match="receive window"):
                await placing
            assert await venue.positions() == ()

    run_simulated(body, start_ns=10**18)


async def test_a_hanging_close_goes_on_when_released(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        tick(venue, BTC, "60000")
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        venue.faults.script("reduce", Fault.HANG)
        close = make_intent(2, Side.SELL, "0.1", reduce_only=True)
        closing = asyncio.get_running_loop().create_task(venue.reduce(close))
        await eventually(lambda: venue.faults.hanging == 1)
        assert len(await venue.positions()) == 1
        venue.faults.release()
        await closing
        assert await venue.positions() == ()


async def test_a_caller_that_gives_up_does_not_undo_the_commit(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        tick(venue, BTC, "60000")
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        loop = asyncio.get_running_loop()
        placing = loop.create_task(venue.place(approved(make_intent(1, Side.BUY, "0.1"))))
        await eventually(lambda: venue.pending > 0, interval_s=0)
        placing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await placing
        assert len(await venue.executions(since_ns=0)) == 1
        assert [update.fill is not None for update in heard] == [False, True]


async def test_nothing_is_told_before_it_is_on_disk(tmp_path: Path) -> None:
    """Method: at the kill point after the commit, another connection sees the fill, the stream
    not.
    """
    path = tmp_path / "paper.db"
    seen: list[tuple[str, int, int]] = []
    heard: list[StreamUpdate] = []

    def after_commit(step: str) -> None:
        connection = sqlite3.connect(path)
        (fills,) = connection.execute("SELECT count(*) FROM fills").fetchone()
        connection.close()
        seen.append((step, fills, len(heard)))

    async with paper_venue(path, after_commit=after_commit) as venue:
        venue.subscribe(heard.append)
        tick(venue, BTC, "60000")
        await eventually(lambda: venue._writer.pending == 0)
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        assert seen[-1] == ("place", 1, 0)
        assert len(heard) == 2
        stop = make_intent(
            2,
            Side.SELL,
            "0.1",
            kind=OrderKind.STOP_MARKET,
            trigger_price=Decimal(58000),
            reduce_only=True,
        )
        await venue.reduce(stop)
        tick(venue, BTC, "57000")
        await eventually(lambda: len(heard) == 4)
        assert ("match", 2, 3) in seen


async def test_a_process_killed_after_the_commit_leaves_the_fill(tmp_path: Path) -> None:
    """The hook stands where a test kills the process: what is committed must be there
    afterwards.
    """
    path = tmp_path / "paper.db"

    class Killed(Exception):
        pass

    errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))

    def kill(step: str) -> None:
        if step == "place":
            raise Killed

    async with paper_venue(path, after_commit=kill) as venue:
        tick(venue, BTC, "60000")
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        assert [update for update in heard if update.connected is None] == []
    assert isinstance(errors[0]["exception"], Killed)
    async with paper_venue(path) as venue:
        assert len(await venue.executions(since_ns=0)) == 1
        assert len(await venue.positions()) == 1


async def test_the_tables_of_the_contract_have_exactly_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    async with paper_venue(path) as venue:
        tick(venue, BTC, "60000")
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
    connection = sqlite3.connect(path)
    columns = {
        table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for table in ("fills", "positions", "account")
    }
    rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in columns}
    connection.close()
    assert columns == {
        "fills": [
            "execution_id",
            "client_order_id",
            "symbol",
            "side",
            "quantity",
            "price",
            "fee",
            "ts_ns",
        ],
        "positions": ["symbol", "quantity", "entry_price"],
        "account": ["balance"],
    }
    assert rows["positions"] == [("BTCUSDT", "0.1", "60003.2")]
    assert rows["account"] == [("99996.99984",)]
    assert all(isinstance(value, str) for value in rows["fills"][0][:-1])


async def test_partial_fills_on_request_add_up_to_the_order(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        tick(venue, BTC, "60000")
        venue.faults.split_fills = 3
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        fills = await venue.executions(since_ns=0)
        assert [fill.quantity for fill in fills] == [
            Decimal("0.033"),
            Decimal("0.033"),
            Decimal("0.033"),
            Decimal("0.001"),
        ]
        states = [update.order.state for update in heard if update.order is not None]
        assert states[-2:] == [OrderState.PARTIALLY_FILLED, OrderState.FILLED]


async def test_updates_are_lost_or_held_on_request(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        tick(venue, BTC, "60000")
        venue.faults.lose_updates = 2
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        assert heard == []
        venue.faults.hold_updates = True
        await venue.place(approved(make_intent(2, Side.BUY, "0.1")))
        assert heard == []
        venue.release_updates()
        assert [update.fill is not None for update in heard] == [False, True]


async def test_an_unsubscribed_handler_hears_no_more(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)()
        tick(venue, BTC, "60000")
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        assert heard == []


async def test_liquidation_closes_everything_when_equity_meets_maintenance(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        heard: list[StreamUpdate] = []
        venue.subscribe(heard.append)
        tick(venue, BTC, "60000")
        tick(venue, ETH, "3000")
        await venue.place(approved(make_intent(1, Side.BUY, "10", leverage=20)))
        await venue.place(approved(make_intent(2, Side.SELL, "20", symbol=ETH, leverage=20)))
        stop = make_intent(
            3,
            Side.BUY,
            "20",
            symbol=ETH,
            kind=OrderKind.STOP_MARKET,
            trigger_price=Decimal(4000),
            reduce_only=True,
        )
        await venue.reduce(stop)
        # Equity 100,000 less costs; ten bitcoins fall by 9,700 each, the ether short gains nothing.
        for price in ("55000", "51000", "50800"):
            tick(venue, BTC, price)
            assert len(await venue.positions()) == 2
        tick(venue, BTC, "50100")
        assert await venue.positions() == ()
        assert await venue.open_orders() == ()
        closes = [fill for fill in await venue.executions(since_ns=0)][-2:]
        assert all(fill.client_order_id.startswith("autoclose-") for fill in closes)


async def test_a_venue_without_a_price_executes_nothing(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        with pytest.raises(NotExecuted, match="no price"):
            await venue.place(approved(make_intent(1, Side.BUY, "0.1")))


async def test_offline_a_position_is_closed_at_the_last_mark_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"
    async with paper_venue(path) as venue:
        tick(venue, BTC, "60000")
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        tick(venue, BTC, "61000")
    async with paper_venue(path) as venue:
        assert venue.last_marks() == {BTC: Decimal(61000)}
        await venue.reduce(make_intent(2, Side.SELL, "0.1", reduce_only=True))
        assert await venue.positions() == ()
        venue.set_marks({ETH: Decimal(3000)})
        assert venue.last_marks()[ETH] == 3000


async def test_marks_go_to_disk_with_every_fill_and_at_intervals(tmp_path: Path) -> None:
    path = tmp_path / "paper.db"

    def marks() -> dict[str, str]:
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT symbol, price FROM marks").fetchall()
        connection.close()
        return dict(rows)

    second = 1_000_000_000
    async with paper_venue(path) as venue:
        tick(venue, BTC, "60000", second)
        await eventually(lambda: marks() == {BTC: "60000"})
        tick(venue, BTC, "60001", 2 * second)
        await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
        assert marks() == {BTC: "60001"}
        tick(venue, BTC, "60002", 60 * second)
        tick(venue, BTC, "60003", 61 * second)
        await eventually(lambda: marks() == {BTC: "60003"})
        await eventually(lambda: venue._writer.pending == 0)
        tick(venue, BTC, "60004", 75 * second)
        tick(venue, BTC, "60005", 76 * second)
        await eventually(lambda: marks() == {BTC: "60005"})


async def test_ports_are_held_to_their_words(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        with pytest.raises(InvariantBroken, match="reduce-only"):
            await venue.place(approved(make_intent(1, Side.BUY, "0.1", reduce_only=True)))
        with pytest.raises(InvariantBroken, match="reduce-only"):
            await venue.reduce(make_intent(1, Side.BUY, "0.1"))


async def test_a_fault_for_an_unknown_operation_is_a_mistake(tmp_path: Path) -> None:
    async with paper_venue(tmp_path / "paper.db") as venue:
        with pytest.raises(ValueError, match="teleport"):
            venue.faults.script("teleport", Fault.HANG)


async def test_when_its_disk_fails_the_outcome_is_unknown_and_the_books_are_read_again(
    tmp_path: Path,
) -> None:
    writer = DatabaseWriter(path=tmp_path / "paper.db", migrations=PAPER_MIGRATIONS)
    await writer.open()
    venue = PaperVenue(
        clock=SystemClock(),
        writer=writer,
        settings=SETTINGS,
        instrument=paper_instrument,
        final_check=lambda approved: (),
    )
    await venue.start()
    tick(venue, BTC, "60000")
    await venue.place(approved(make_intent(1, Side.BUY, "0.1")))
    # A trigger that refuses every fill stands for a disk that refuses every write.
    await writer.submit(
        lambda connection: (
            connection.execute(
                "CREATE TRIGGER sick BEFORE INSERT ON fills"
                " BEGIN SELECT RAISE(ABORT, 'disk is sick'); END"
            ).rowcount
        )
    )
    with pytest.raises(OutcomeUnknown, match="could not be written"):
        await venue.place(approved(make_intent(2, Side.BUY, "0.5")))

    async def read() -> tuple[Decimal, ...] | None:
        try:
            return tuple(position.quantity for position in await venue.positions())
        except NotExecuted:
            return None

    assert await eventually(read) == (Decimal("0.1"),)
    await writer.submit(lambda connection: connection.execute("DROP TRIGGER sick").rowcount)
    await venue.reduce(make_intent(3, Side.SELL, "0.1", reduce_only=True))
    assert await venue.positions() == ()
    await venue.close()
    await writer.close()
    with pytest.raises((NotExecuted, OutcomeUnknown, StoreError)):
        await venue.place(approved(make_intent(4, Side.BUY, "0.1")))
