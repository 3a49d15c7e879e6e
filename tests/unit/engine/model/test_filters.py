"""What a venue's filters refuse, each with its code, at the last value that fits and the first that
does not.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import Refused
from engine.model.filters import check_filters
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side

_BTC = Symbol("BTCUSDT")
_INSTRUMENT = Instrument(
    symbol=_BTC,
    tick_size=Decimal("0.1"),
    quantity_step=Decimal("0.001"),
    quantity_min=Decimal("0.002"),
    quantity_max=Decimal("100"),
    notional_min=Decimal("100"),
)


def _intent(
    quantity: str,
    *,
    price: str | None = None,
    trigger: str | None = None,
    reduce_only: bool = False,
) -> Intent:
    return Intent(
        client_order_id=ClientOrderId("desk-g1-1"),
        symbol=_BTC,
        side=Side.BUY,
        kind=OrderKind.MARKET if price is None else OrderKind.LIMIT,
        purpose=OrderPurpose.EXIT if reduce_only else OrderPurpose.ENTRY,
        quantity=Decimal(quantity),
        price=None if price is None else Decimal(price),
        trigger_price=None if trigger is None else Decimal(trigger),
        reduce_only=reduce_only,
    )


@pytest.mark.parametrize(
    ("intent", "market_price"),
    [
        (_intent("0.002", price="50000.0"), None),
        (_intent("100", price="50000.1"), None),
        (_intent("0.002"), Decimal("50000")),
        (_intent("0.002"), None),
        (_intent("0.002", price="0.1", reduce_only=True), None),
        (_intent("0.002", trigger="49000.1", reduce_only=True), Decimal(1)),
    ],
)
def test_what_fits_is_let_through(intent: Intent, market_price: Decimal | None) -> None:
    check_filters(intent, _INSTRUMENT, market_price=market_price)


@pytest.mark.parametrize(
    ("intent", "market_price", "code"),
    [
        (_intent("0.001", price="60000"), None, "-4003"),
        (_intent("0.0025", price="60000"), None, "-1111"),
        (_intent("100.001", price="60000"), None, "-4005"),
        (_intent("0.002", price="60000.05"), None, "-4014"),
        (_intent("0.002", price="-0.1"), None, "-4014"),
        (_intent("0.002", trigger="49000.05", reduce_only=True), None, "-4014"),
        (_intent("0.002", price="49999.9"), None, "-4164"),
        (_intent("0.002"), Decimal("49999.9"), "-4164"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_code(
    intent: Intent, market_price: Decimal | None, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        check_filters(intent, _INSTRUMENT, market_price=market_price)
    assert refused.value.code == code
