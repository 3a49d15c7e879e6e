"""Bybit's public endpoints: time, contracts, book, tickers, recent trades."""

from __future__ import annotations

from collections.abc import Callable

from engine.model.values import ONE, Side, plain
from tests.simulators.bybit.answers import MS, contract_json
from tests.simulators.bybit.desk import Desk, Document, Route, page
from tests.simulators.bybit.parameters import Parameters
from tests.simulators.core.market import Level, Market
from tests.simulators.core.model import MarketTraded

_DEPTH_MAX = 500


def server_time(desk: Desk, parameters: Parameters) -> Document:
    now = desk.now_ns()
    return {"timeSecond": str(now // 1_000_000_000), "timeNano": str(now)}


def instruments(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    wanted = desk.symbols(parameters, needed=False)
    rows = [contract_json(each) for name, each in desk.venue.contracts.items() if name in wanted]
    return page(parameters, rows, default=500, most=1000)


def order_book(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    market = desk.venue.markets[desk.contract(parameters).symbol]
    limit = parameters.limit(default=25, most=_DEPTH_MAX)
    return {
        "s": market.contract.symbol,
        "b": levels_json(market.published(Side.SELL)[:limit]),
        "a": levels_json(market.published(Side.BUY)[:limit]),
        "ts": desk.now_ms(),
        "u": market.update_id,
        "seq": market.update_id,
        "cts": desk.now_ms(),
    }


def levels_json(levels: list[Level]) -> list[list[str]]:
    return [[plain(price), plain(size)] for price, size in levels]


def tickers(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    wanted = sorted(desk.symbols(parameters, needed=False))
    rows = [ticker_json(desk.venue.markets[symbol], desk) for symbol in wanted]
    return {"category": "linear", "list": rows}


def ticker_json(market: Market, desk: Desk) -> Document:
    """A ticker, whole, as REST and the stream's snapshot have it."""
    symbol, first = market.contract.symbol, market.contract.first_price
    bid = (market.published(Side.SELL) or [(first, first)])[0]
    ask = (market.published(Side.BUY) or [(first, first)])[0]
    return {
        "symbol": symbol,
        "lastPrice": plain(market.last),
        "indexPrice": plain(market.index),
        "markPrice": plain(market.mark),
        "prevPrice24h": plain(first),
        "price24hPcnt": plain((market.last / first - ONE).quantize(ONE.scaleb(-6))),
        "highPrice24h": plain(max(first, market.last)),
        "lowPrice24h": plain(min(first, market.last)),
        "prevPrice1h": plain(first),
        "openInterest": "0",
        "openInterestValue": "0",
        "turnover24h": "0",
        "volume24h": "0",
        "fundingRate": plain(market.funding_rate),
        "nextFundingTime": str(desk.venue.next_funding_ns(symbol) // MS),
        "fundingIntervalHour": str(market.contract.funding_interval_h),
        "bid1Price": plain(bid[0]),
        "bid1Size": plain(bid[1]),
        "ask1Price": plain(ask[0]),
        "ask1Size": plain(ask[1]),
    }


def recent_trades(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    market = desk.venue.markets[desk.contract(parameters).symbol]
    limit = parameters.limit(default=500, most=1000)
    newest = list(market.recent)[::-1][:limit]
    return {"category": "linear", "list": [_trade_json(desk, each) for each in newest]}


def _trade_json(desk: Desk, each: MarketTraded) -> Document:
    return {
        "execId": desk.wire_id(each.trade_id),
        "symbol": each.symbol,
        "price": plain(each.price),
        "size": plain(each.quantity),
        "side": "Sell" if each.is_buyer_maker else "Buy",
        "time": str(each.ts_ns // MS),
        "isBlockTrade": False,
        "isRPITrade": False,
        "seq": str(each.trade_id),
    }


def _public(path: str, handler: Callable[[Desk, Parameters], object]) -> Route:
    return Route(method="GET", path=f"/v5/market/{path}", handler=handler, is_private=False)


ROUTES = (
    _public("time", server_time),
    _public("instruments-info", instruments),
    _public("orderbook", order_book),
    _public("tickers", tickers),
    _public("recent-trade", recent_trades),
)

__all__ = ["ROUTES", "levels_json", "ticker_json"]
