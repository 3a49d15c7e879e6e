"""What an entry is refused for before it is sent, in Bybit's codes; and that what passes fits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.errors import Refused
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.venues.bybit.instruments import Contract
from engine.venues.bybit.rules import check_entry, check_kind, check_leverage

CONTRACT = Contract(
    instrument=Instrument(
        symbol=Symbol("BTCUSDT"),
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        quantity_max=Decimal(500),
        notional_min=Decimal(5),
        leverage_max=Decimal(100),
    ),
    is_trading=True,
    price_min=Decimal("0.1"),
    price_max=Decimal("1999999.8"),
    limit_quantity_max=Decimal(1190),
    leverage_min=Decimal(1),
    leverage_step=Decimal("0.01"),
    funding_interval_min=480,
)


def entry(**changes: Any) -> Intent:
    """A market entry of 0.5, unless said otherwise."""
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId("desk-g1-7"),
        "symbol": CONTRACT.instrument.symbol,
        "side": Side.BUY,
        "kind": OrderKind.MARKET,
        "purpose": OrderPurpose.ENTRY,
        "quantity": Decimal("0.5"),
    }
    return Intent(**(values | changes))


def limit(quantity: Decimal, price: Decimal) -> Intent:
    return entry(kind=OrderKind.LIMIT, quantity=quantity, price=price)


@pytest.mark.parametrize(
    ("intent", "code", "words"),
    [
        (entry(quantity=Decimal("0.0009")), "10001", "below 0.001"),
        (entry(quantity=Decimal("0.5005000001")), "10001", "in steps of"),
        (entry(quantity=Decimal("500.001")), "10001", "above 500"),
        (limit(Decimal("1190.001"), Decimal(30000)), "10001", "above 1190"),
        (limit(Decimal(1), Decimal("30000.05")), "10001", "in ticks of"),
        (limit(Decimal(1), Decimal(2000000)), "110003", "0.1 to 1999999.8"),
        (limit(Decimal("0.5"), Decimal("9.9")), "110094", "below 5"),
        (entry(kind=OrderKind.LIMIT), "10001", "needs a price"),
        (entry(kind=OrderKind.STOP_MARKET), "10001", "needs a trigger"),
        (
            entry(kind=OrderKind.STOP_MARKET, trigger_price=Decimal(30000)),
            "10001",
            "only reduce",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_figures(
    intent: Intent, code: str, words: str
) -> None:
    with pytest.raises(Refused, match=words) as raised:
        check_entry(intent, CONTRACT)
    assert raised.value.code == code


@given(
    quantity=st.decimals(min_value=Decimal("0.0001"), max_value=1500, places=4),
    price=st.decimals(min_value=Decimal("0.05"), max_value=2_500_000, places=2),
)
def test_what_passes_fits_the_contract(quantity: Decimal, price: Decimal) -> None:
    instrument = CONTRACT.instrument
    fits = (
        instrument.quantity_min <= quantity <= CONTRACT.limit_quantity_max
        and not quantity % instrument.quantity_step
        and CONTRACT.price_min <= price <= CONTRACT.price_max
        and not price % instrument.tick_size
        and quantity * price >= instrument.notional_min
    )
    if fits:
        check_entry(limit(quantity, price), CONTRACT)
        return
    with pytest.raises(Refused):
        check_entry(limit(quantity, price), CONTRACT)


def test_an_order_that_rests_may_be_larger_than_one_that_takes() -> None:
    check_entry(limit(Decimal(1000), Decimal(30000)), CONTRACT)
    with pytest.raises(Refused):
        check_entry(entry(quantity=Decimal(1000)), CONTRACT)


@pytest.mark.parametrize("leverage", ["0.5", "0.99", "100.01", "7.005"])
def test_a_leverage_off_its_steps_or_bounds_is_refused(leverage: str) -> None:
    with pytest.raises(Refused, match=r"1 to 100 in steps of 0\.01") as raised:
        check_leverage(entry(leverage=Decimal(leverage)), CONTRACT)
    assert raised.value.code == "110013"
    assert check_leverage(entry(leverage=Decimal("7.05")), CONTRACT) == Decimal("7.05")


def test_an_exit_is_judged_by_its_kind_alone() -> None:
    """Ours may be older than the venue's filters, so none keeps an exit back."""
    exit_ = entry(
        purpose=OrderPurpose.EXIT,
        reduce_only=True,
        quantity=Decimal("0.00001"),
        kind=OrderKind.STOP_MARKET,
        trigger_price=Decimal("0.00001"),
    )
    check_kind(exit_)
