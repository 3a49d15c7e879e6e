"""Binance's public endpoints: time, contracts, depth, prices, trades, mark price and funding."""

from __future__ import annotations

from collections.abc import Callable

from engine.model.ids import Symbol
from engine.model.values import ONE, ZERO, Side
from tests.simulators.binance.answers import (
    MS,
    contract_json,
    fixed,
    money,
    price_text,
    quantity_text,
)
from tests.simulators.binance.desk import Desk, Route, Security, weight_by_symbol
from tests.simulators.binance.errors import ApiError
from tests.simulators.binance.limits import (
    ORDERS_PER_10_S,
    ORDERS_PER_MINUTE,
    WEIGHT_PER_MINUTE,
)
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core.market import Level, Market
from tests.simulators.core.model import MarketTraded

_DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
_DEPTH_FIRST = 500


def ping(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {}


def server_time(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"serverTime": desk.now_ms()}


def exchange_info(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {
        "timezone": "UTC",
        "serverTime": desk.now_ms(),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_PER_MINUTE),
            _limit("ORDERS", "MINUTE", 1, ORDERS_PER_MINUTE),
            _limit("ORDERS", "SECOND", 10, ORDERS_PER_10_S),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [contract_json(each) for each in desk.venue.contracts.values()],
    }


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, object]:
    return {
        "rateLimitType": kind,
        "interval": interval,
        "intervalNum": number,
        "limit": limit,
    }


def depth(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract = desk.contract(parameters)
    limit = _depth_limit(parameters)
    if limit not in _DEPTH_WEIGHTS:
        raise ApiError(-4021, f"{limit} is not valid depth limit.")
    market = desk.venue.markets[contract.symbol]
    return {
        "lastUpdateId": market.update_id,
        "E": desk.now_ms(),
        "T": desk.now_ms(),
        "bids": levels_json(market, market.published(Side.SELL)[:limit]),
        "asks": levels_json(market, market.published(Side.BUY)[:limit]),
    }


def levels_json(market: Market, levels: list[Level]) -> list[list[str]]:
    contract = market.contract
    return [[price_text(contract, price), quantity_text(contract, size)] for price, size in levels]


def _depth_limit(parameters: Parameters) -> int:
    limit = parameters.optional_integer("limit")
    return _DEPTH_FIRST if limit is None else limit


def _depth_weight(parameters: Parameters) -> int:
    return _DEPTH_WEIGHTS.get(_depth_limit(parameters), 10)


# --- prices -------------------------------------------------------------------------------------


def _one_or_all(
    desk: Desk, parameters: Parameters, document: Callable[[Desk, Market], dict[str, object]]
) -> object:
    wanted = desk.optional_symbol(parameters)
    if wanted is not None:
        return document(desk, desk.venue.markets[wanted])
    return [document(desk, market) for market in desk.venue.markets.values()]


def ticker_price(desk: Desk, parameters: Parameters) -> object:
    return _one_or_all(desk, parameters, _price_json)


def _price_json(desk: Desk, market: Market) -> dict[str, object]:
    return {
        "symbol": market.contract.symbol,
        "price": price_text(market.contract, market.last),
        "time": desk.now_ms(),
    }


def book_ticker(desk: Desk, parameters: Parameters) -> object:
    return _one_or_all(desk, parameters, _book_json)


def _book_json(desk: Desk, market: Market) -> dict[str, object]:
    bid = (market.published(Side.SELL) or [(ZERO, ZERO)])[0]
    ask = (market.published(Side.BUY) or [(ZERO, ZERO)])[0]
    return {
        "symbol": market.contract.symbol,
        "bidPrice": price_text(market.contract, bid[0]),
        "bidQty": quantity_text(market.contract, bid[1]),
        "askPrice": price_text(market.contract, ask[0]),
        "askQty": quantity_text(market.contract, ask[1]),
        "lastUpdateId": market.update_id,
        "time": desk.now_ms(),
    }


def ticker_24h(desk: Desk, parameters: Parameters) -> object:
    return _one_or_all(desk, parameters, _day_json)


def _day_json(desk: Desk, market: Market) -> dict[str, object]:
    contract, trades = market.contract, market.recent
    first = contract.first_price
    prices = [first, market.last, *(each.price for each in trades)]
    volume = sum((each.quantity for each in trades), ZERO)
    turnover = sum((each.quantity * each.price for each in trades), ZERO)
    return {
        "symbol": contract.symbol,
        "priceChange": price_text(contract, market.last - first),
        "priceChangePercent": fixed((market.last / first - ONE) * 100, 3),
        "weightedAvgPrice": price_text(contract, turnover / volume if volume else first),
        "lastPrice": price_text(contract, market.last),
        "lastQty": quantity_text(contract, trades[-1].quantity if trades else ZERO),
        "openPrice": price_text(contract, first),
        "highPrice": price_text(contract, max(prices)),
        "lowPrice": price_text(contract, min(prices)),
        "volume": quantity_text(contract, volume),
        "quoteVolume": money(turnover),
        "openTime": desk.now_ms() - 24 * 3600 * 1000,
        "closeTime": desk.now_ms(),
        "firstId": trades[0].trade_id if trades else 0,
        "lastId": trades[-1].trade_id if trades else 0,
        "count": len(trades),
    }


def premium_index(desk: Desk, parameters: Parameters) -> object:
    return _one_or_all(desk, parameters, _premium_json)


def _premium_json(desk: Desk, market: Market) -> dict[str, object]:
    return {
        "symbol": market.contract.symbol,
        "markPrice": money(market.mark),
        "indexPrice": money(market.index),
        "estimatedSettlePrice": money(market.index),
        "lastFundingRate": money(market.funding_rate),
        "interestRate": "0.00010000",
        "nextFundingTime": desk.venue.next_funding_ns(market.contract.symbol) // MS,
        "time": desk.now_ms(),
    }


# --- trades -------------------------------------------------------------------------------------


def trades(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    symbol, recent = _recent(desk, parameters)
    contract = desk.venue.contracts[symbol]
    return [
        {
            "id": each.trade_id,
            "price": price_text(contract, each.price),
            "qty": quantity_text(contract, each.quantity),
            "quoteQty": money(each.price * each.quantity),
            "time": each.ts_ns // MS,
            "isBuyerMaker": each.is_buyer_maker,
            "isRPITrade": False,
        }
        for each in recent
    ]


def aggregate_trades(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    symbol, recent = _recent(desk, parameters)
    contract = desk.venue.contracts[symbol]
    return [
        {
            "a": each.trade_id,
            "p": price_text(contract, each.price),
            "q": quantity_text(contract, each.quantity),
            "nq": quantity_text(contract, each.quantity),
            "f": each.trade_id,
            "l": each.trade_id,
            "T": each.ts_ns // MS,
            "m": each.is_buyer_maker,
        }
        for each in recent
    ]


def _recent(desk: Desk, parameters: Parameters) -> tuple[Symbol, list[MarketTraded]]:
    symbol = desk.contract(parameters).symbol
    limit = parameters.optional_integer("limit") or 500
    return symbol, list(desk.venue.markets[symbol].recent)[-limit:]


def _public(path: str, handler: Callable[[Desk, Parameters], object], **more: object) -> Route:
    weight = more.get("weight", 1)
    assert isinstance(weight, int) or callable(weight), "a weight is a number or says one"
    return Route(method="GET", path=path, handler=handler, security=Security.NONE, weight=weight)


ROUTES = (
    _public("/fapi/v1/ping", ping),
    _public("/fapi/v1/time", server_time),
    _public("/fapi/v1/exchangeInfo", exchange_info),
    _public("/fapi/v1/depth", depth, weight=_depth_weight),
    _public("/fapi/v1/trades", trades, weight=5),
    _public("/fapi/v1/aggTrades", aggregate_trades, weight=20),
    _public("/fapi/v1/ticker/price", ticker_price, weight=weight_by_symbol(1, 2)),
    _public("/fapi/v2/ticker/price", ticker_price, weight=weight_by_symbol(1, 2)),
    _public("/fapi/v1/ticker/bookTicker", book_ticker, weight=weight_by_symbol(2, 5)),
    _public("/fapi/v1/ticker/24hr", ticker_24h, weight=weight_by_symbol(1, 40)),
    _public("/fapi/v1/premiumIndex", premium_index, weight=weight_by_symbol(1, 10)),
)

__all__ = ["ROUTES", "levels_json"]
