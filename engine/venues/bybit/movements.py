"""What moved Bybit's wallet: its transaction log in our words.

A row holds up to three changes at once (profit, funding, fee) whose sum is its `change`; each that
is not zero becomes a movement of its own, and what the row does not name is the fee's, so that
their sum is the row's to the last digit. Signs are taken from `change`, for the documentation
states that of funding both ways. What has nothing to do with our category (a spot trade, interest)
is OTHER. Pure; raises `Undecodable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.model.values import ZERO
from engine.model.venue import MovementKind, WalletMovement
from engine.venues.bybit.decoding import (
    LINEAR,
    Page,
    decode_list,
    name,
    number,
    number_or_none,
    time_ns,
)

_WHOLE: Mapping[str, MovementKind] = {
    "TRANSFER_IN": MovementKind.TRANSFER,
    "TRANSFER_OUT": MovementKind.TRANSFER,
    "SETTLEMENT": MovementKind.FUNDING,
}
_TRADES = frozenset({"TRADE", "LIQUIDATION", "ADL", "DELIVERY"})


class LogRow(msgspec.Struct, frozen=True, rename="camel"):
    """A row of the transaction log."""

    type: str
    currency: str
    change: str
    transaction_time: str | int
    id: str = ""
    trade_id: str = ""
    symbol: str = ""
    category: str = ""
    cash_flow: str | None = None
    funding: str | None = None


def movements_of(row: LogRow) -> Iterator[WalletMovement]:
    """What a row says, part by part."""
    change = number(row.change, "change")
    kind = _WHOLE.get(row.type)
    if row.type in _TRADES and row.category == LINEAR:
        profit = number_or_none(row.cash_flow, "cashFlow") or ZERO
        funding = number_or_none(row.funding, "funding") or ZERO
        yield from _parts(
            row,
            (MovementKind.REALISED, profit),
            (MovementKind.FUNDING, funding),
            (MovementKind.FEE, change - profit - funding),
        )
    else:
        yield from _parts(row, (kind or MovementKind.OTHER, change))


def _parts(row: LogRow, *parts: tuple[MovementKind, Decimal]) -> Iterator[WalletMovement]:
    identifier = "-".join(part for part in (row.type, row.id, row.trade_id) if part)
    for kind, amount in parts:
        if amount:
            yield WalletMovement(
                movement_id=f"{identifier}-{kind.value}",
                kind=kind,
                currency=name(row.currency, "currency"),
                amount=amount,
                ts_ns=time_ns(row.transaction_time, "transactionTime"),
                symbol=Symbol(row.symbol) if row.symbol else None,
                detail=row.type,
            )


class MovementPage(Page[WalletMovement], frozen=True):
    """A page; `count` is how many rows the venue sent, which may have moved nothing."""

    sent: int = 0

    @property
    def count(self) -> int:
        return self.sent


def decode_movements(body: bytes) -> MovementPage:
    """`transaction-log`, which is newest first."""
    result = decode_list(body, LogRow)
    movements = tuple(part for row in result.rows for part in movements_of(row))
    return MovementPage(movements, result.nextPageCursor or "", len(result.rows))


__all__ = ["LogRow", "MovementPage", "decode_movements", "movements_of"]
