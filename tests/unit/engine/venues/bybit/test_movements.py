"""Rows of the transaction log: parts whose sum is the row's change."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.venue import MovementKind
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.movements import LogRow, movements_of

_AMOUNTS = st.decimals(min_value=-10_000, max_value=10_000, places=8)


def row(**changes: Any) -> LogRow:
    values: dict[str, Any] = {
        "type": "TRADE",
        "currency": "USDT",
        "change": "9.5",
        "transaction_time": "1672121182224",
        "id": "7",
        "trade_id": "t",
        "symbol": "BTCUSDT",
        "category": "linear",
        "cash_flow": "10",
        "funding": "",
    }
    return LogRow(**(values | changes))


def test_a_trade_is_its_profit_and_its_fee() -> None:
    profit, fee = movements_of(row())
    assert (profit.kind, profit.amount) == (MovementKind.REALISED, Decimal(10))
    assert (fee.kind, fee.amount) == (MovementKind.FEE, Decimal("-0.5"))
    assert profit.movement_id != fee.movement_id
    assert (fee.symbol, fee.currency, fee.detail) == ("BTCUSDT", "USDT", "TRADE")
    assert fee.ts_ns == 1672121182224 * 10**6


@given(change=_AMOUNTS, profit=_AMOUNTS, funding=_AMOUNTS)
def test_the_parts_add_up_to_the_change(change: Decimal, profit: Decimal, funding: Decimal) -> None:
    parts = tuple(
        movements_of(row(change=f"{change:f}", cash_flow=f"{profit:f}", funding=f"{funding:f}"))
    )
    assert sum((part.amount for part in parts), Decimal(0)) == change
    assert all(part.amount for part in parts)
    assert len({part.movement_id for part in parts}) == len(parts)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"type": "SETTLEMENT", "cash_flow": "0", "funding": "9.5"}, MovementKind.FUNDING),
        ({"type": "TRANSFER_IN", "symbol": "", "category": ""}, MovementKind.TRANSFER),
        ({"type": "TRANSFER_OUT", "symbol": "", "category": ""}, MovementKind.TRANSFER),
        ({"category": "spot"}, MovementKind.OTHER),
        ({"type": "INTEREST"}, MovementKind.OTHER),
    ],
)
def test_what_is_one_thing_is_one_movement(changes: dict[str, str], kind: MovementKind) -> None:
    (movement,) = movements_of(row(**changes))
    assert (movement.kind, movement.amount) == (kind, Decimal("9.5"))


def test_a_row_that_moved_nothing_is_no_movement_and_an_odd_one_is_refused() -> None:
    assert tuple(movements_of(row(change="0", cash_flow="0"))) == ()
    for field in ("change", "cash_flow", "funding", "transaction_time"):
        with pytest.raises(Undecodable):
            tuple(movements_of(row(**{field: "much"})))
