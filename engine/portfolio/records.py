"""What the ledger says: the plan of a fill, its totals, and the view of the account.

Money in account currency, drawdown and daily loss positive fractions, times UTC nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.model.orders import Fill, PositionRecord, TradeRecord
from engine.model.values import ZERO


class LedgerTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the account that a restart must not forget, beside positions and open trades.

    `initial`, `transfers` and the sums make the balance. `day` counts days since 1970 (UTC),
    `day_start_equity` is the equity at its beginning.
    """

    initial: Decimal
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    transfers: Decimal = ZERO
    peak: Decimal
    day: int
    day_start_equity: Decimal
    # The governor's base: initial capital, or the equity at a re-base by name.
    capital: Decimal
    loss_streak: int = 0
    # Fees that were taken from the wallet of another asset, by asset, in that asset. They are in
    # neither balance nor equity, which are of one currency.
    fees_elsewhere: dict[str, Decimal] = {}
    # What the wallets of other assets must hold, as far as they were seen.
    wallets_elsewhere: dict[str, Decimal] = {}

    @property
    def balance(self) -> Decimal:
        return self.initial + self.realised - self.fees + self.funding + self.transfers


class FillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one fill does to the books; commit it, then `Ledger.apply` it.

    `closed` is the trade that ended with this fill, `trade` the one that is open after it (opened
    now if `opened`). A fill that flips a position has both. `position.quantity` is zero when flat.
    `realised` is before fees. `totals` are the account's after the fill.
    """

    fill: Fill
    position: PositionRecord
    trade: TradeRecord | None
    opened: bool
    closed: TradeRecord | None
    realised: Decimal
    totals: LedgerTotals
    # How many fills the ledger had applied when this was planned; a plan is good for that moment
    # only.
    sequence: int


class ReplacementPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a true execution changes that takes the place of an inferred fill: commit it, then
    `Ledger.apply_replacement`. Position and trade are None when the symbol is flat.
    """

    fill: Fill
    position: PositionRecord | None
    trade: TradeRecord | None
    realised: Decimal
    totals: LedgerTotals
    sequence: int


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """The account now."""

    equity: Decimal
    balance: Decimal
    unrealised: Decimal
    realised: Decimal
    fees: Decimal
    funding: Decimal
    transfers: Decimal
    initial: Decimal
    capital: Decimal
    peak: Decimal
    drawdown: Decimal
    day_start_equity: Decimal
    daily_loss: Decimal
    loss_streak: int
    gross_exposure: Decimal
    positions_open: int


class Mark(msgspec.Struct, frozen=True):
    """The price a symbol was last valued at."""

    symbol: Symbol
    price: Decimal
    ts_ns: int


__all__ = ["AccountView", "FillPlan", "LedgerTotals", "Mark", "ReplacementPlan"]
