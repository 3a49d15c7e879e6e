"""How long a comparison with the venue keeps the engine: 1,000 orders and 200 positions.

Two runs are measured: one in which everything agrees, as each minute, and the worst one, in which
nothing is known yet: 1,000 orders are adopted and 200 executions booked, into the real state
database. The venue answers at once, with Binance's own JSON; reading it is part of both. Baseline:
reading the same answers and nothing else. Milliseconds of the loop; what the writer's thread does
behind it holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from statistics import median
from time import perf_counter_ns

import msgspec

from engine.bus import EventBus
from engine.execution.booking import Booking
from engine.execution.collaborators import VenuePorts
from engine.execution.look_up import LookUp
from engine.execution.order_desk import OrderDesk
from engine.execution.reconciliation import Reconciliation
from engine.execution.recorder import Recorder
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Fill, Intent
from engine.model.venue import (
    Approved,
    OrderAck,
    StreamUpdate,
    VenueBalance,
    VenueOrder,
    VenuePosition,
)
from engine.portfolio import Ledger
from engine.runtime import IdSource, Stamper, SystemClock, Tasks, read_stopwatch_ns
from engine.venues.binance.decoding import (
    OrderAnswer,
    PositionAnswer,
    TradeAnswer,
    decode,
    to_fill,
    to_order,
    to_position,
)
from tests.benchmarks.figures import Bar, Effort, Figure
from tests.benchmarks.state_database import StateDatabase, state_database

__all__ = ["measure"]

_ORDERS = 1_000
_POSITIONS = 200
_LIMIT_MS = 1_000
_INITIAL = Decimal(10_000_000)


def measure(effort: Effort) -> Figure:
    orders = effort.count(_ORDERS)
    positions = effort.count(_POSITIONS, least=4)
    answers = _Answers(orders=orders, positions=positions)
    rounds = [asyncio.run(_round(answers)) for _ in range(effort.rounds)]
    worst = [first for first, _, _ in rounds]
    steady_ms = median(second for _, second, _ in rounds)
    bar = f"all unknown {median(worst):.0f} ms, all known {steady_ms:.0f} ms, below {_LIMIT_MS}"
    return Figure(
        name="reconciliation",
        unit="ms",
        better="lower",
        ours=worst,
        baseline_name="reading the same answers, and nothing else",
        baseline=[bare for _, _, bare in rounds],
        bars=[Bar(bar, max(median(worst), steady_ms) < _LIMIT_MS)] if effort.is_full else [],
        notes=[f"{orders} orders, {positions} positions", f"all known {steady_ms:.1f} ms"],
    )


async def _round(answers: _Answers) -> tuple[float, float, float]:
    """Milliseconds of a run that knows nothing, of one that knows all, of reading alone."""
    async with state_database() as database:
        tasks = Tasks(on_fault=lambda name, error: None)
        reconciliation, booking = _books(database, answers, tasks)
        first = await _timed(reconciliation)
        second = await _timed(reconciliation)
        assert booking.fills == answers.positions_count
        assert reconciliation.divergences == answers.orders_count + answers.positions_count
        await tasks.cancel_all()
        await database.writer.submit(lambda _: None)
    began = perf_counter_ns()
    answers.read_orders()
    answers.read_fills()
    answers.read_positions()
    return first, second, (perf_counter_ns() - began) / 1e6


async def _timed(reconciliation: Reconciliation) -> float:
    began = perf_counter_ns()
    await reconciliation.run()
    return (perf_counter_ns() - began) / 1e6


def _books(
    database: StateDatabase, answers: _Answers, tasks: Tasks
) -> tuple[Reconciliation, Booking]:
    clock = SystemClock()
    ids = IdSource(seed=1)
    stamper = Stamper(clock=clock, ids=ids, source="bench")
    bus = EventBus(clock=clock, stopwatch=read_stopwatch_ns, log=database.journal, stamper=stamper)
    venue = _AnsweringVenue(answers)
    ports = VenuePorts(entry=venue, exits=venue, reads=venue, streams=venue)
    recorder = Recorder(bus=bus, clock=clock, on_caught_up=lambda: None)
    ledger = Ledger(initial=_INITIAL, ids=ids, now_ns=clock.now_ns(), currency="USDT")
    desk = OrderDesk(
        store=database.store,
        recorder=recorder,
        clock=clock,
        stamper=stamper,
        on_illegal=lambda record, trigger: None,
    )
    booking = Booking(
        desk=desk,
        ledger=ledger,
        store=database.store,
        recorder=recorder,
        stamper=stamper,
        on_booked=lambda symbol: None,
    )
    look_up = LookUp(
        venue=ports,
        desk=desk,
        booking=booking,
        clock=clock,
        tasks=tasks,
        on_missed=lambda fill: None,
    )
    reconciliation = Reconciliation(
        venue=ports,
        desk=desk,
        booking=booking,
        look_up=look_up,
        ledger=ledger,
        clock=clock,
        bus=bus,
        stamper=stamper,
    )
    return reconciliation, booking


class _Answers:
    """What the venue says, as bytes: each position was bought in one trade of its own symbol."""

    def __init__(self, *, orders: int, positions: int) -> None:
        self.orders_count, self.positions_count = orders, positions
        names = [f"C{number}USDT" for number in range(positions)]
        encode: Callable[[object], bytes] = msgspec.json.encode
        self._orders = encode([_order(n, names[n % positions]) for n in range(orders)])
        self._trades = encode([_trade(n, name) for n, name in enumerate(names)])
        self._positions = encode([_position(name) for name in names])

    def read_orders(self) -> tuple[VenueOrder, ...]:
        return tuple(to_order(row) for row in decode(self._orders, tuple[OrderAnswer, ...]))

    def read_fills(self) -> tuple[Fill, ...]:
        rows = decode(self._trades, tuple[TradeAnswer, ...])
        return tuple(to_fill(row, ClientOrderId(f"elsewhere-{row.order_id}")) for row in rows)

    def read_positions(self) -> tuple[VenuePosition, ...]:
        rows = decode(self._positions, tuple[PositionAnswer, ...])
        return tuple(to_position(row) for row in rows)


def _order(number: int, symbol: str) -> dict[str, object]:
    return {
        "symbol": symbol,
        "orderId": 10_000 + number,
        "clientOrderId": f"rests-{number}",
        "status": "NEW",
        "side": "BUY",
        "type": "LIMIT",
        "origQty": "1.000",
        "executedQty": "0",
        "price": "90.00",
        "reduceOnly": False,
        "closePosition": False,
        "positionSide": "BOTH",
        "updateTime": 1_767_225_600_000,
    }


def _trade(number: int, symbol: str) -> dict[str, object]:
    return {
        "symbol": symbol,
        "id": 1 + number,
        "orderId": 1 + number,
        "side": "BUY",
        "price": "100.00",
        "qty": "2.000",
        "commission": "0.08",
        "commissionAsset": "USDT",
        "time": 1_767_225_600_000,
        "maker": False,
    }


def _position(symbol: str) -> dict[str, object]:
    return {
        "symbol": symbol,
        "positionSide": "BOTH",
        "positionAmt": "2.000",
        "entryPrice": "100.00",
        "markPrice": "101.00",
    }


class _AnsweringVenue:
    """All four ports; it is asked for reads only."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers

    async def positions(self) -> tuple[VenuePosition, ...]:
        return self._answers.read_positions()

    async def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        return self._answers.read_orders()

    async def executions(self, *, since_ns: int, symbol: Symbol | None = None) -> tuple[Fill, ...]:
        return self._answers.read_fills()

    async def balance(self) -> VenueBalance:
        fees = Decimal("0.08") * self._answers.positions_count
        return VenueBalance(currency="USDT", balance=_INITIAL - fees)

    async def balances(self) -> tuple[VenueBalance, ...]:
        return (await self.balance(),)

    async def order(self, symbol: Symbol, client_order_id: ClientOrderId) -> VenueOrder | None:
        raise NotImplementedError

    async def place(self, approved: Approved) -> OrderAck:
        raise NotImplementedError

    async def reduce(self, intent: Intent) -> OrderAck:
        raise NotImplementedError

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        raise NotImplementedError

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        raise NotImplementedError

    def subscribe(self, handler: Callable[[StreamUpdate], None]) -> Callable[[], None]:
        return lambda: None

    def is_connected(self) -> bool:
        return True
