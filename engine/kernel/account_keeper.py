"""Watches what the account is worth: marks, equity, the breaker and the governor, event by event.

A tick becomes a mark when the mark filter lets it count; a mark that changes the equity is
published at once (fast path), judged by breaker and governor in the same call, and put on disk at
most once a second for each new peak or trough, else every ten seconds. Money in account currency.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from engine.bus import EventBus
from engine.model.events import AccountEquityUpdated, MarketMark, MarketTick, PositionUpdated
from engine.model.ids import Symbol
from engine.model.values import Side
from engine.portfolio import AccountView, Ledger
from engine.ports import Clock
from engine.risk import DrawdownBreaker, Governor, MarkFilter
from engine.runtime import Stamper

_EXTREME_EVERY_NS = 1_000_000_000
_MARK_EVERY_NS = 10_000_000_000
_POSITION_EVERY_NS = 250_000_000


class AccountKeeper:
    """From ticks to equity, and from equity to the judges."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        marks: MarkFilter,
        breaker: DrawdownBreaker,
        governor: Governor,
        bus: EventBus,
        clock: Clock,
        stamper: Stamper,
        persist: Callable[[AccountView, AccountEquityUpdated], None],
    ) -> None:
        self._ledger = ledger
        self._marks = marks
        self._breaker = breaker
        self._governor = governor
        self._bus = bus
        self._clock = clock
        self._stamper = stamper
        self._persist = persist
        self._extreme_ns = self._mark_ns = -_MARK_EVERY_NS
        self._peak = self._trough = ledger.equity
        self._position_ns: dict[Symbol, int] = {}

    def on_tick(self, tick: MarketTick) -> None:
        """A trade of the market."""
        mark = self._marks.offer(tick.symbol, tick.price, tick.ts_ns)
        if mark is not None:
            self.count(tick.symbol, mark)

    def on_mark(self, mark: MarketMark) -> None:
        """A mark of the venue, where nobody trades."""
        price = self._marks.offer(mark.symbol, mark.price, mark.ts_ns)
        if price is not None:
            self.count(mark.symbol, price)

    def count(self, symbol: Symbol, price: Decimal) -> None:
        """A mark that counts: value the position, and judge."""
        if self._ledger.mark(symbol, price, self._clock.now_ns()):
            self.judge()
            self._tell_position(symbol, price)

    def judge(self) -> None:
        """Let breaker and governor see the equity, then publish it. Nothing to judge, and the
        drawdown unknown, until the books are open.
        """
        if not self._ledger.is_open:
            return
        account = self._ledger.account()
        # The judges first: nothing is told before a stop that is due has begun.
        self._breaker.on_equity(account.equity, account.peak, account.day_start_equity)
        self._governor.on_equity(account.equity, account.capital, self._clock.now_ns())
        event = AccountEquityUpdated(
            **self._stamper(),
            equity=account.equity,
            balance=account.balance,
            unrealised=account.unrealised,
            peak=account.peak,
            drawdown=account.drawdown,
        )
        if self._is_due(account):
            self._persist(account, event)
        else:
            self._bus.emit(event)

    def _is_due(self, account: AccountView) -> bool:
        now_ns = self._clock.monotonic_ns()
        extreme = account.peak > self._peak or account.equity < self._trough
        if account.peak > self._peak:
            # A new peak begins a new fall: the trough is measured from it.
            self._trough = account.equity
        due_ns = self._extreme_ns + _EXTREME_EVERY_NS if extreme else self._mark_ns + _MARK_EVERY_NS
        if now_ns < due_ns:
            return False
        self._peak, self._trough = account.peak, min(self._trough, account.equity)
        self._extreme_ns = self._mark_ns = now_ns
        return True

    def on_booked(self, symbol: Symbol) -> None:
        """A fill changed the account."""
        self._breaker.on_loss_streak(self._ledger.account().loss_streak)
        self.judge()

    def _tell_position(self, symbol: Symbol, price: Decimal) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._position_ns.get(symbol, -_POSITION_EVERY_NS) < _POSITION_EVERY_NS:
            return
        position = self._ledger.position(symbol)
        if position is None:
            return
        self._position_ns[symbol] = now_ns
        self._bus.emit(
            PositionUpdated(
                **self._stamper(),
                symbol=symbol,
                side=Side.BUY if position.quantity > 0 else Side.SELL,
                quantity=abs(position.quantity),
                entry_price=position.entry_price,
                unrealised=self._ledger.unrealised(symbol),
            )
        )


__all__ = ["AccountKeeper"]
