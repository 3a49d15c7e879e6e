"""Bybit's contracts: filters and bounds of each USDT or USDC perpetual.

The list is over 500 rows long and comes in pages, and the largest quantities change twice a month,
so it is read again each day. Dated futures are passed over. Prices in the settle coin, quantities
in base coin. A contract that cannot be read is refused alone, with the field: one odd listing among
hundreds must not keep the others from trading. Pure; raises `Undecodable` for the page as a whole.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.venues.bybit.decoding import (
    Undecodable,
    above_zero,
    decode,
    decode_list,
    name,
    quantity,
)

_PERPETUAL = "LinearPerpetual"
_DATED = "LinearFutures"


class _PriceFilter(msgspec.Struct, frozen=True, rename="camel"):
    min_price: str
    max_price: str
    tick_size: str


class _LotSizeFilter(msgspec.Struct, frozen=True, rename="camel"):
    max_order_qty: str
    max_mkt_order_qty: str
    min_order_qty: str
    qty_step: str
    min_notional_value: str


class _LeverageFilter(msgspec.Struct, frozen=True, rename="camel"):
    min_leverage: str
    max_leverage: str
    leverage_step: str


class _Row(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    contract_type: str
    status: str
    settle_coin: str
    funding_interval: int
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter
    leverage_filter: _LeverageFilter


class _AnyRow(msgspec.Struct, frozen=True, rename="camel"):
    contract_type: str


class _Named(msgspec.Struct, frozen=True):
    symbol: str


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument with the bounds that only Bybit has. `instrument.quantity_max` is for one
    market order, `limit_quantity_max` for one that rests.
    """

    instrument: Instrument
    is_trading: bool
    price_min: Decimal
    price_max: Decimal
    limit_quantity_max: Decimal
    leverage_min: Decimal
    leverage_step: Decimal
    funding_interval_min: int


def _contract_of(row: _Row) -> Contract:
    prices, lots, leverages = row.price_filter, row.lot_size_filter, row.leverage_filter
    instrument = Instrument(
        symbol=Symbol(name(row.symbol, "symbol")),
        tick_size=above_zero(prices.tick_size, "tickSize"),
        quantity_step=above_zero(lots.qty_step, "qtyStep"),
        quantity_min=above_zero(lots.min_order_qty, "minOrderQty"),
        quantity_max=above_zero(lots.max_mkt_order_qty, "maxMktOrderQty"),
        notional_min=quantity(lots.min_notional_value, "minNotionalValue"),
        leverage_max=above_zero(leverages.max_leverage, "maxLeverage"),
        currency=name(row.settle_coin, "settleCoin"),
    )
    contract = Contract(
        instrument=instrument,
        is_trading=row.status == "Trading",
        price_min=above_zero(prices.min_price, "minPrice"),
        price_max=above_zero(prices.max_price, "maxPrice"),
        limit_quantity_max=above_zero(lots.max_order_qty, "maxOrderQty"),
        leverage_min=above_zero(leverages.min_leverage, "minLeverage"),
        leverage_step=above_zero(leverages.leverage_step, "leverageStep"),
        funding_interval_min=row.funding_interval,
    )
    _check_bounds(contract)
    return contract


def _check_bounds(contract: Contract) -> None:
    """A bound below its own minimum would refuse every order, or none."""
    instrument = contract.instrument
    for field, low, high in (
        ("maxPrice", contract.price_min, contract.price_max),
        ("maxOrderQty", instrument.quantity_min, contract.limit_quantity_max),
        ("maxMktOrderQty", instrument.quantity_min, instrument.quantity_max),
        ("maxLeverage", contract.leverage_min, instrument.leverage_max),
    ):
        if high < low:
            raise Undecodable(f"{field}: {high} is below its minimum {low}")
    if contract.funding_interval_min <= 0:
        raise Undecodable(f"fundingInterval: {contract.funding_interval_min} is not above zero")


class ContractPage(msgspec.Struct, frozen=True, kw_only=True):
    """Perpetuals of a page; `refused` holds symbol and reason of each that cannot be read."""

    contracts: tuple[Contract, ...]
    refused: tuple[tuple[Symbol, str], ...]
    next_cursor: str


def decode_contracts(body: bytes) -> ContractPage:
    """`instruments-info`: the perpetuals of a page, also those that do not trade now."""
    rows = decode_list(body, msgspec.Raw)
    contracts: list[Contract] = []
    refused: list[tuple[Symbol, str]] = []
    for raw in rows.rows:
        symbol = Symbol(name(decode(raw, _Named).symbol, "symbol"))
        try:
            kind = decode(raw, _AnyRow).contract_type
            if kind == _PERPETUAL:
                contracts.append(_contract_of(decode(raw, _Row)))
            elif kind != _DATED:
                refused.append((symbol, f"contractType: {kind[:60]!r} is not linear"))
        except Undecodable as error:
            refused.append((symbol, str(error)))
    return ContractPage(
        contracts=tuple(contracts),
        refused=tuple(refused),
        next_cursor=rows.nextPageCursor or "",
    )


__all__ = ["Contract", "ContractPage", "decode_contracts"]
