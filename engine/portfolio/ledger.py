"""The ledger: positions, profit and loss, equity and its peak, from fills, funding, transfers and
marks.

Why here: what an account is worth is computed once, and everybody else is told. In `Decimal`, exact
(see `averaging`). A fill is planned (`plan_fill`, which changes nothing), committed by the caller,
then applied: durable before visible. The caller persists `totals`, positions and open trades.
Checked on every update with `require`: equity = balance + unrealised; balance = initial + Σ
realised - Σ fees + funding + transfers; Σ fills = position. A break is `InvariantBroken`, never a
correction. Marks are taken as given: whether a wild price may count is decided before it comes here
(risk). On the loop's thread only. Times UTC nanoseconds; a day is a UTC day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.model.emergency import REBASES
from engine.model.errors import require
from engine.model.ids import Symbol, TradeId
from engine.model.orders import Fill, Intent, PositionRecord, TradeRecord
from engine.model.values import ZERO, PositionSide, plain
from engine.portfolio.averaging import cost_of
from engine.portfolio.booking import Booked, book
from engine.portfolio.records import (
    AccountView,
    FillPlan,
    LedgerTotals,
    Mark,
    ReplacementPlan,
)
from engine.portfolio.replacement import replace_price
from engine.runtime import IdSource

_DAY_NS = 86_400_000_000_000


class _Held:
    """A position with its mark; `filled` is the sum of its fills, kept apart from its quantity."""

    __slots__ = ("cost", "filled", "mark", "mark_ns", "quantity", "record", "trade", "unrealised")

    def __init__(self, record: PositionRecord, trade: TradeRecord, mark: Decimal) -> None:
        self.record = record
        self.trade = trade
        self.filled = record.quantity
        self.quantity = record.quantity
        self.cost = cost_of(record.quantity, record.entry_price)
        self.mark = mark
        self.mark_ns = record.updated_ns
        self.unrealised = self.quantity * mark - self.cost


class Ledger:
    """The one set of books of the engine."""

    def __init__(
        self, *, initial: Decimal | None, ids: IdSource, now_ns: int, currency: str
    ) -> None:
        """Without `initial` the books wait to be opened (`open_with`): the venue has not said yet
        what its wallet holds.
        """
        self._ids = ids
        self._currency = currency
        self._held: dict[Symbol, _Held] = {}
        self._unrealised = ZERO
        self._peak = ZERO
        self._sequence = 0
        # The highest `updated_ns` of any position: an execution may be booked long after one that
        # came later, and what is booked last must count as the newest on the disk.
        self._stamp_ns = 0
        self._take_totals(_totals_of(ZERO, now_ns // _DAY_NS))
        if initial is not None:
            self.open_with(initial, now_ns)

    @property
    def is_open(self) -> bool:
        """Whether it is known what the account began with."""
        return self._totals.initial > 0

    def open_with(self, initial: Decimal, now_ns: int) -> None:
        """Begin the books with this capital; once, and before anything is booked."""
        require(initial > 0, f"initial capital must be above zero, not {initial}")
        require(not self.is_open and not self._sequence, "the books are open already")
        self._take_totals(_totals_of(initial, now_ns // _DAY_NS))

    def restore(
        self,
        *,
        totals: LedgerTotals,
        positions: Iterable[PositionRecord],
        open_trades: Iterable[TradeRecord],
        marks: Mapping[Symbol, Decimal],
        now_ns: int,
        stamp_ns: int = 0,
    ) -> None:
        """Take the books as they were committed. Positions without a mark are valued at entry.
        `stamp_ns` is the highest `updated_ns` of any position, flat ones too.
        """
        self._stamp_ns = stamp_ns
        trades = {trade.symbol: trade for trade in open_trades}
        self._held = {}
        for record in positions:
            if not record.quantity:
                continue
            trade = trades.pop(record.symbol, None)
            require(trade is not None, f"position {record.symbol} has no open trade")
            assert trade is not None
            mark = marks.get(record.symbol, record.entry_price)
            self._held[record.symbol] = _Held(record, trade, mark)
        require(not trades, f"open trades without a position: {', '.join(trades)}")
        self._unrealised = sum((held.unrealised for held in self._held.values()), ZERO)
        self._take_totals(totals)
        self._roll_day(now_ns // _DAY_NS)
        self._peak = max(self._peak, self._equity)
        self._check_books()

    def _take_totals(self, totals: LedgerTotals) -> None:
        self._totals = totals
        self._balance = totals.balance
        self._equity = self._balance + self._unrealised
        self._peak = totals.peak
        self._day_ends_ns = (totals.day + 1) * _DAY_NS

    # --- fills -----------------------------------------------------------------------------------

    def plan_fill(self, fill: Fill, *, intent: Intent | None = None) -> FillPlan:
        """What a fill would do; changes nothing. `intent` names the strategy of a new trade."""
        require(self.is_open, "a fill before the books are open")
        require(fill.quantity > 0, f"fill {fill.execution_id} has no quantity")
        held = self._held.get(fill.symbol)
        booked = book(
            fill=replace(fill, fee=self._fee_here(fill)),
            position=held.record if held else None,
            trade=held.trade if held else None,
            intent=intent,
            new_trade_id=lambda: TradeId(self._ids.next("t")),
        )
        return FillPlan(
            fill=fill,
            position=replace(
                booked.position, updated_ns=max(booked.position.updated_ns, self._stamp_ns)
            ),
            trade=booked.trade,
            opened=booked.opened,
            closed=booked.closed,
            realised=booked.realised,
            totals=self._totals_after(fill, booked),
            sequence=self._sequence,
        )

    def _totals_after(self, fill: Fill, booked: Booked) -> LedgerTotals:
        totals = self.totals
        streak = totals.loss_streak
        if booked.closed is not None:
            net = booked.closed.realised - booked.closed.fees + booked.closed.funding
            streak = streak + 1 if net < 0 else 0
        return replace(
            totals,
            realised=totals.realised + booked.realised,
            fees=totals.fees + self._fee_here(fill),
            loss_streak=streak,
            **self._elsewhere_after(fill),
        )

    def _fee_here(self, fill: Fill) -> Decimal:
        """What of its fee left the wallet of our currency."""
        return fill.fee if fill.fee_currency == self._currency else ZERO

    def _elsewhere_after(self, fill: Fill) -> dict[str, dict[str, Decimal]]:
        """Binance takes fees from a BNB wallet where its owner has asked for that."""
        paid, wallets = self._totals.fees_elsewhere, self._totals.wallets_elsewhere
        asset = fill.fee_currency
        if asset != self._currency and fill.fee:
            paid = {**paid, asset: paid.get(asset, ZERO) + fill.fee}
            wallets = _moved(wallets, asset, -fill.fee)
        return {"fees_elsewhere": paid, "wallets_elsewhere": wallets}

    def apply(self, plan: FillPlan) -> None:
        """Make a planned and committed fill part of the books."""
        require(plan.sequence == self._sequence, "the books changed since this fill was planned")
        self._sequence += 1
        self._stamp_ns = plan.position.updated_ns
        self._roll_day(plan.fill.ts_ns // _DAY_NS)
        fill, symbol = plan.fill, plan.fill.symbol
        held = self._held.pop(symbol, None)
        filled = (held.filled if held else ZERO) + fill.side.sign * fill.quantity
        self._unrealised -= held.unrealised if held else ZERO
        if plan.trade is not None:
            fresh = _Held(plan.position, plan.trade, held.mark if held else fill.price)
            fresh.filled = filled
            fresh.mark_ns = held.mark_ns if held else fill.ts_ns
            self._held[symbol] = fresh
            self._unrealised += fresh.unrealised
        require(
            filled == plan.position.quantity,
            f"{symbol}: fills make {filled}, the position is {plan.position.quantity}",
        )
        self._totals = replace(self._totals, **self._elsewhere_after(fill))
        self._book_totals(
            realised=plan.realised, fees=self._fee_here(fill), loss_streak=plan.totals.loss_streak
        )
        require(
            self._totals.realised == plan.totals.realised
            and self._totals.fees == plan.totals.fees
            and self._totals.fees_elsewhere == plan.totals.fees_elsewhere
            and self._totals.wallets_elsewhere == plan.totals.wallets_elsewhere,
            f"{symbol}: totals are not the ones that were committed",
        )

    def plan_replacement(
        self, fill: Fill, *, price_before: Decimal, inferred_ns: int
    ) -> ReplacementPlan:
        """What a true execution would do that takes the place of one inferred at `price_before`,
        without a fee; changes nothing.
        """
        require(self.is_open, "a fill before the books are open")
        held = self._held.get(fill.symbol)
        booked = replace_price(
            fill=replace(fill, fee=self._fee_here(fill)),
            price_before=price_before,
            inferred_ns=inferred_ns,
            position=held.record if held else None,
            trade=held.trade if held else None,
        )
        totals = self.totals
        return ReplacementPlan(
            fill=fill,
            position=booked.position,
            trade=booked.trade,
            realised=booked.realised,
            totals=replace(
                totals,
                realised=totals.realised + booked.realised,
                fees=totals.fees + self._fee_here(fill),
                **self._elsewhere_after(fill),
            ),
            sequence=self._sequence,
        )

    def apply_replacement(self, plan: ReplacementPlan) -> None:
        """Make a planned and committed replacement part of the books; no quantity changes."""
        require(plan.sequence == self._sequence, "the books changed since this was planned")
        self._sequence += 1
        fill = plan.fill
        held = self._held.get(fill.symbol)
        if held is not None and plan.position is not None and plan.trade is not None:
            fresh = _Held(plan.position, plan.trade, held.mark)
            fresh.filled, fresh.mark_ns = held.filled, held.mark_ns
            self._held[fill.symbol] = fresh
            self._unrealised += fresh.unrealised - held.unrealised
        self._totals = replace(self._totals, **self._elsewhere_after(fill))
        self._book_totals(realised=plan.realised, fees=self._fee_here(fill))

    def _book_totals(
        self,
        *,
        realised: Decimal = ZERO,
        fees: Decimal = ZERO,
        funding: Decimal = ZERO,
        transfers: Decimal = ZERO,
        loss_streak: int | None = None,
    ) -> None:
        totals = self._totals
        self._totals = replace(
            totals,
            realised=totals.realised + realised,
            fees=totals.fees + fees,
            funding=totals.funding + funding,
            transfers=totals.transfers + transfers,
            loss_streak=totals.loss_streak if loss_streak is None else loss_streak,
        )
        # The running balance and the sums are two ways to the same figure; `_check_books` compares.
        self._balance += realised - fees + funding + transfers
        self._revalue()
        self._check_books()

    # --- marks, funding, transfers ---------------------------------------------------------------

    def mark(self, symbol: Symbol, price: Decimal, ts_ns: int) -> bool:
        """Value a position at a price; True when that changed the equity."""
        held = self._held.get(symbol)
        if held is None:
            return False
        if ts_ns >= self._day_ends_ns:
            self._roll_day(ts_ns // _DAY_NS)
        held.mark_ns = ts_ns
        if price == held.mark:
            return False
        held.mark = price
        unrealised = held.quantity * price - held.cost
        self._unrealised += unrealised - held.unrealised
        held.unrealised = unrealised
        self._revalue()
        return True

    def _revalue(self) -> None:
        total = ZERO
        for held in self._held.values():
            total += held.unrealised
        require(total == self._unrealised, "unrealised profit does not add up")
        self._equity = equity = self._balance + total
        if equity > self._peak:
            self._peak = equity

    def add_funding(self, symbol: Symbol, amount: Decimal) -> None:
        """Book funding; positive when we received it. It stays with the symbol's open trade."""
        held = self._held.get(symbol)
        if held is not None:
            held.record = replace(held.record, funding=held.record.funding + amount)
            held.trade = replace(held.trade, funding=held.trade.funding + amount)
        self._sequence += 1
        self._book_totals(funding=amount)

    def add_transfer(self, amount: Decimal) -> None:
        """Book a deposit or withdrawal: it moves the baselines in proportion, not the drawdown."""
        before = self._equity
        require(before > 0 and before + amount > 0, f"a transfer of {amount} leaves no equity")
        ratio = (before + amount) / before
        self._peak *= ratio
        self._totals = replace(
            self._totals,
            day_start_equity=self._totals.day_start_equity * ratio,
            capital=self._totals.capital * ratio,
        )
        self._sequence += 1
        self._book_totals(transfers=amount)

    def know_wallet(self, asset: str, balance: Decimal) -> None:
        """Take the wallet of another asset as it is from now on."""
        require(asset != self._currency, f"{asset} is the account's own currency")
        wallets = {**self._totals.wallets_elsewhere, asset: balance}
        self._totals = replace(self._totals, wallets_elsewhere=wallets)
        self._sequence += 1

    def move_wallet(self, asset: str, amount: Decimal) -> None:
        """Something came into, or left, the wallet of another asset; none of ours before it is
        known.
        """
        wallets = _moved(self._totals.wallets_elsewhere, asset, amount)
        self._totals = replace(self._totals, wallets_elsewhere=wallets)
        self._sequence += 1

    def roll_day(self, now_ns: int) -> bool:
        """Begin a new UTC day when it is time; True when one began. Fills and marks do it too."""
        return self._roll_day(now_ns // _DAY_NS)

    def _roll_day(self, day: int) -> bool:
        if day <= self._totals.day:
            return False
        self._totals = replace(self._totals, day=day, day_start_equity=self._equity)
        self._day_ends_ns = (day + 1) * _DAY_NS
        return True

    def rebase(self, measure: str) -> tuple[str, str]:
        """Measure peak, day, streak or capital from now on; (before, after) for the audit."""
        require(measure in REBASES, f"there is no measure {measure!r}")
        totals = self.totals
        if measure == "peak":
            before, self._peak = self._peak, self._equity
            return plain(before), plain(self._equity)
        if measure == "day":
            self._totals = replace(totals, day_start_equity=self._equity)
            return plain(totals.day_start_equity), plain(self._equity)
        if measure == "streak":
            self._totals = replace(totals, loss_streak=0)
            return str(totals.loss_streak), "0"
        self._totals = replace(totals, capital=self._equity)
        return plain(totals.capital), plain(self._equity)

    def _check_books(self) -> None:
        require(self._balance == self._totals.balance, "balance is not the sum of what made it")
        require(
            self._equity == self._balance + self._unrealised, "equity is not balance + unrealised"
        )
        for symbol, held in self._held.items():
            require(held.filled == held.quantity, f"{symbol}: position is not the sum of its fills")

    # --- views -----------------------------------------------------------------------------------

    @property
    def currency(self) -> str:
        """Everything here is in it."""
        return self._currency

    @property
    def equity(self) -> Decimal:
        return self._equity

    @property
    def peak(self) -> Decimal:
        return self._peak

    @property
    def drawdown(self) -> Decimal:
        """Loss from the peak as a positive fraction of it."""
        if not self._peak:
            return ZERO  # Not open yet.
        return (self._peak - self._equity) / self._peak

    @property
    def totals(self) -> LedgerTotals:
        """To be persisted, with the peak as it is now."""
        if self._totals.peak != self._peak:
            self._totals = replace(self._totals, peak=self._peak)
        return self._totals

    def quantity(self, symbol: Symbol) -> Decimal:
        """Signed quantity; zero when flat."""
        held = self._held.get(symbol)
        return held.quantity if held else ZERO

    def position(self, symbol: Symbol) -> PositionRecord | None:
        """The open position of a symbol, or None when flat."""
        held = self._held.get(symbol)
        return held.record if held else None

    def positions(self) -> tuple[PositionRecord, ...]:
        """Every open position."""
        return tuple(held.record for held in self._held.values())

    def open_trades(self) -> tuple[TradeRecord, ...]:
        return tuple(held.trade for held in self._held.values())

    def unrealised(self, symbol: Symbol) -> Decimal:
        held = self._held.get(symbol)
        return held.unrealised if held else ZERO

    def mark_of(self, symbol: Symbol) -> Mark | None:
        """What an open position was last valued at, and when."""
        held = self._held.get(symbol)
        return Mark(symbol, held.mark, held.mark_ns) if held else None

    def account(self) -> AccountView:
        """The account now."""
        totals = self.totals
        start = totals.day_start_equity
        return AccountView(
            equity=self._equity,
            balance=self._balance,
            unrealised=self._unrealised,
            realised=totals.realised,
            fees=totals.fees,
            funding=totals.funding,
            transfers=totals.transfers,
            initial=totals.initial,
            capital=totals.capital,
            peak=self._peak,
            drawdown=self.drawdown,
            day_start_equity=start,
            daily_loss=max(ZERO, (start - self._equity) / start) if start > 0 else ZERO,
            loss_streak=totals.loss_streak,
            gross_exposure=sum((abs(h.quantity) * h.mark for h in self._held.values()), ZERO),
            positions_open=len(self._held),
        )

    def books(self) -> dict[str, Any]:
        """The books as the run summary shows them (contract.md, JSON)."""
        totals = self.totals
        return {
            "initial": plain(totals.initial),
            "balance": plain(self._balance),
            "realised": plain(totals.realised),
            "fees": plain(totals.fees),
            "funding": plain(totals.funding),
            "unrealised": plain(self._unrealised),
            "equity": plain(self._equity),
            "positions": [_position_row(held) for held in self._held.values()],
        }


def _totals_of(initial: Decimal, day: int) -> LedgerTotals:
    return LedgerTotals(
        initial=initial, peak=initial, day=day, day_start_equity=initial, capital=initial
    )


def _moved(wallets: dict[str, Decimal], asset: str, amount: Decimal) -> dict[str, Decimal]:
    known = wallets.get(asset)
    return wallets if known is None else {**wallets, asset: known + amount}


def _position_row(held: _Held) -> dict[str, str]:
    return {
        "symbol": held.record.symbol,
        "side": PositionSide.of(held.quantity).value,
        "quantity": plain(abs(held.quantity)),
        "entry_price": plain(held.record.entry_price),
        "mark_price": plain(held.mark),
        "unrealised": plain(held.unrealised),
    }


__all__ = ["Ledger"]
