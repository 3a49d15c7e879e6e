"""Contracts: their filters, and that one odd listing does not keep the others from trading."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.instruments import ContractPage, decode_contracts

_ROW: dict[str, Any] = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading",
    "settleCoin": "USDT", "fundingInterval": 480,
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
    "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999.8", "tickSize": "0.1"},
    "lotSizeFilter": {
        "maxOrderQty": "1190", "maxMktOrderQty": "500", "minOrderQty": "0.001",
        "qtyStep": "0.001", "minNotionalValue": "5",
    },
}  # fmt: skip


def page(*rows: object, **result: object) -> ContractPage:
    document = {"retCode": 0, "result": {"category": "linear", "list": rows} | result}
    return decode_contracts(msgspec.json.encode(document))


def with_value(path: str, value: object) -> dict[str, Any]:
    """The row with another value; None takes the field away."""
    row = copy.deepcopy(_ROW)
    *parents, last = path.split(".")
    target = row
    for each in parents:
        target = target[each]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return row


def test_a_contract_is_read_whole() -> None:
    found = page(_ROW, nextPageCursor="more")
    (contract,) = found.contracts
    instrument = contract.instrument
    assert (instrument.symbol, instrument.currency) == ("BTCUSDT", "USDT")
    assert (instrument.tick_size, instrument.quantity_step) == (Decimal("0.1"), Decimal("0.001"))
    assert instrument.quantity_min == Decimal("0.001")
    # The smaller maximum, of one market order; the other is for orders that rest.
    assert instrument.quantity_max == Decimal(500)
    assert contract.limit_quantity_max == Decimal(1190)
    assert (instrument.notional_min, instrument.leverage_max) == (Decimal(5), Decimal(100))
    assert (contract.price_min, contract.price_max) == (Decimal("0.1"), Decimal("1999999.8"))
    assert contract.funding_interval_min == 480
    assert contract.is_trading
    assert (found.refused, found.next_cursor) == ((), "more")


def test_one_that_does_not_trade_says_so_and_a_dated_one_is_passed_over() -> None:
    dated = {"symbol": "BTCUSDT-26SEP25", "contractType": "LinearFutures"}
    found = page(with_value("status", "PreLaunch"), dated)
    assert [each.is_trading for each in found.contracts] == [False]
    assert found.refused == ()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("contractType", None, "contractType"),
        ("contractType", "InversePerpetual", "contractType: 'InversePerpetual' is not linear"),
        ("settleCoin", "", "settleCoin"),
        ("fundingInterval", 0, "fundingInterval"),
        ("priceFilter.tickSize", "0", "tickSize"),
        ("priceFilter.maxPrice", "0.01", "maxPrice"),
        ("lotSizeFilter.qtyStep", None, "qtyStep"),
        ("lotSizeFilter.maxMktOrderQty", None, "maxMktOrderQty"),
        ("lotSizeFilter.maxOrderQty", "0.0001", "maxOrderQty"),
        ("lotSizeFilter.minNotionalValue", "-5", "minNotionalValue"),
        ("leverageFilter.maxLeverage", "0.5", "maxLeverage"),
    ],
)
def test_an_odd_contract_is_refused_alone_with_the_field(
    path: str, value: object, named: str
) -> None:
    other = with_value("symbol", "ETHUSDT")
    found = page(with_value(path, value), other)
    assert [each.instrument.symbol for each in found.contracts] == ["ETHUSDT"]
    ((symbol, reason),) = found.refused
    assert symbol == "BTCUSDT"
    assert named in reason


@pytest.mark.parametrize(
    ("rows", "category", "named"),
    [([_ROW], "inverse", "category"), ([{"status": "Trading"}], "linear", "symbol")],
)
def test_a_page_that_is_no_list_of_linear_contracts_is_refused(
    rows: list[Any], category: str, named: str
) -> None:
    with pytest.raises(Undecodable, match=named):
        page(*rows, category=category)
