"""Binance's pushes: what each event of the core looks like on the user and the market streams.

User events are (name, document); market ones (stream, document), as one change concerns several
streams. `E` is when it is sent, `T` when it happened.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.model.values import ZERO, Side
from tests.simulators.binance.answers import (
    EXPIRY_REASONS,
    MS,
    algo_type_name,
    average_text,
    money,
    price_text,
    quantity_text,
    time_in_force_name,
    type_name,
    working_type_name,
)
from tests.simulators.binance.market_routes import levels_json
from tests.simulators.core.model import (
    AccountChanged,
    BookChanged,
    Conditional,
    ConditionalChanged,
    ConditionalStatus,
    Event,
    Execution,
    LeverageChanged,
    MarkChanged,
    MarketTraded,
    Order,
    OrderChanged,
    What,
)
from tests.simulators.core.venue import Venue

Document = dict[str, object]
Named = tuple[str, Document]
_EXECUTION_TYPES = {
    What.NEW: "NEW",
    What.CANCELED: "CANCELED",
    What.EXPIRED: "EXPIRED",
    What.TRADE: "TRADE",
    What.AMENDED: "AMENDMENT",
}
_PARTIAL_LEVELS = (5, 10, 20)


# --- the user's ---------------------------------------------------------------------------------


def user_events(event: Event, venue: Venue, now_ms: int) -> Iterator[Named]:
    """What one event of the core means to the account, in the order of its pushes."""
    if isinstance(event, OrderChanged):
        if event.execution is not None:
            yield "TRADE_LITE", _trade_lite(event.order, event.execution, venue, now_ms)
        yield "ORDER_TRADE_UPDATE", _order_update(event, venue, now_ms)
    elif isinstance(event, AccountChanged):
        yield "ACCOUNT_UPDATE", _account_update(event, venue, now_ms)
    elif isinstance(event, ConditionalChanged):
        yield "ALGO_UPDATE", _algo_update(event, venue, now_ms)
    elif isinstance(event, LeverageChanged):
        yield (
            "ACCOUNT_CONFIG_UPDATE",
            {
                "e": "ACCOUNT_CONFIG_UPDATE",
                "E": now_ms,
                "T": event.ts_ns // MS,
                "ac": {"s": event.symbol, "l": event.leverage},
            },
        )


def _trade_lite(order: Order, execution: Execution, venue: Venue, now_ms: int) -> Document:
    contract = venue.contract(order.symbol)
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": execution.ts_ns // MS,
        "s": order.symbol,
        "q": quantity_text(contract, order.quantity),
        "p": price_text(contract, order.price),
        "m": execution.is_maker,
        "c": order.client_id,
        "S": order.side.value,
        "L": price_text(contract, execution.price),
        "l": quantity_text(contract, execution.quantity),
        "t": execution.execution_id,
        "i": order.order_id,
    }


def _order_update(event: OrderChanged, venue: Venue, now_ms: int) -> Document:
    order, execution = event.order, event.execution
    contract = venue.contract(order.symbol)
    is_calculated = order.is_liquidation and execution is not None
    document: Document = {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side.value,
        "o": type_name(order),
        "f": time_in_force_name(order),
        "q": quantity_text(contract, order.quantity),
        "p": price_text(contract, order.price),
        "ap": average_text(contract, order.average_price),
        "sp": price_text(contract, None),
        "x": "CALCULATED" if is_calculated else _EXECUTION_TYPES[event.what],
        "X": order.status.value,
        "i": order.order_id,
        "l": quantity_text(contract, execution.quantity if execution else ZERO),
        "z": quantity_text(contract, order.filled),
        "L": price_text(contract, execution.price if execution else None),
        "T": event.ts_ns // MS,
        "t": execution.execution_id if execution else 0,
        "b": "0",
        "a": "0",
        "m": execution.is_maker if execution else False,
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": type_name(order),
        "ps": order.leg.value,
        "cp": order.close_position,
        "rp": money(execution.realised if execution else ZERO),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": order.self_trade.value,
        "pm": "NONE",
        "gtd": order.good_till_ns // MS,
        "er": EXPIRY_REASONS[order.expiry],
    }
    if execution is not None:
        document["N"] = contract.quote
        document["n"] = money(execution.fee)
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": event.ts_ns // MS, "o": document}


def _account_update(event: AccountChanged, venue: Venue, now_ms: int) -> Document:
    account = venue.account
    # The venue's `bc` is what neither profit nor commission explains.
    change = ZERO if event.why == "ORDER" else event.balance_change
    positions: list[Document] = []
    for symbol, leg in event.positions:
        contract, key = venue.contract(symbol), (symbol, leg)
        held = account.positions.get(key)
        entry = held.entry_price if held else ZERO
        positions.append(
            {
                "s": symbol,
                "pa": quantity_text(contract, account.quantity(key)),
                "ep": average_text(contract, entry),
                "bep": average_text(contract, entry),
                "cr": money(account.realised.get(key, ZERO)),
                "up": money(account.unrealised(key, venue.markets[symbol].mark)),
                "mt": "isolated" if symbol in account.isolated else "cross",
                "iw": money(account.isolated_wallets.get(key, ZERO)),
                "ps": leg.value,
            }
        )
    balance = {
        "a": "USDT",
        "wb": money(account.balance),
        "cw": money(account.cross_balance),
        "bc": money(change),
    }
    return {
        "e": "ACCOUNT_UPDATE",
        "E": now_ms,
        "T": event.ts_ns // MS,
        "a": {"m": event.why, "B": [balance], "P": positions},
    }


def _algo_update(event: ConditionalChanged, venue: Venue, now_ms: int) -> Document:
    conditional = event.conditional
    request = conditional.request
    contract = venue.contract(request.symbol)
    document: Document = {
        "caid": conditional.client_id,
        "aid": conditional.conditional_id,
        "at": "CONDITIONAL",
        "o": algo_type_name(conditional),
        "s": request.symbol,
        "S": request.side.value,
        "ps": request.leg.value,
        "f": "GTC",
        "q": quantity_text(contract, request.quantity),
        "X": conditional.status.value,
        "ai": str(conditional.order_id) if conditional.order_id else "",
        "tp": price_text(contract, conditional.trigger_price),
        "p": price_text(contract, request.price),
        "V": request.self_trade.value,
        "wt": working_type_name(conditional),
        "pm": "NONE",
        "cp": request.close_position,
        "pP": request.price_protect,
        "R": request.reduce_only,
        "tt": conditional.triggered_ns // MS,
        "gtd": 0,
    }
    if conditional.order_id:
        document["ap"] = average_text(contract, conditional.actual_price)
        document["aq"] = quantity_text(contract, conditional.actual_quantity)
        document["act"] = request.kind.value
    if conditional.status is ConditionalStatus.REJECTED:
        document["rm"] = _reject_text(conditional)
    return {"e": "ALGO_UPDATE", "E": now_ms, "T": event.ts_ns // MS, "o": document}


def _reject_text(conditional: Conditional) -> str:
    if conditional.reason == "nothing_to_reduce" or conditional.request.reduce_only:
        return "Reduce Only reject"
    return conditional.reason.replace("_", " ").capitalize()


# --- the market's -------------------------------------------------------------------------------


def market_events(event: Event, venue: Venue, now_ms: int) -> Iterator[Named]:
    """What one event of the core means to the market streams."""
    if isinstance(event, MarketTraded):
        name = event.symbol.lower()
        yield f"{name}@aggTrade", _aggregate_trade(event, venue, now_ms)
        yield f"{name}@trade", _trade(event, venue, now_ms)
    elif isinstance(event, BookChanged):
        yield from _book_events(event, venue, now_ms)
    elif isinstance(event, MarkChanged):
        name, mark = event.symbol.lower(), _mark(event, venue, now_ms)
        yield f"{name}@markPrice", mark
        yield f"{name}@markPrice@1s", mark
    elif isinstance(event, OrderChanged) and event.order.is_liquidation and event.execution:
        yield f"{event.order.symbol.lower()}@forceOrder", _force_order(event, venue, now_ms)


def _trade_values(event: MarketTraded, venue: Venue, now_ms: int) -> Document:
    contract = venue.contract(event.symbol)
    return {
        "E": now_ms,
        "T": event.ts_ns // MS,
        "s": event.symbol,
        "p": price_text(contract, event.price),
        "q": quantity_text(contract, event.quantity),
        "m": event.is_buyer_maker,
    }


def _aggregate_trade(event: MarketTraded, venue: Venue, now_ms: int) -> Document:
    values = _trade_values(event, venue, now_ms)
    ids = {"a": event.trade_id, "f": event.trade_id, "l": event.trade_id}
    # Real frames carry keys that no document names (`st` here): readers must not mind them.
    return {"e": "aggTrade", **values, **ids, "nq": values["q"], "st": 1}


def _trade(event: MarketTraded, venue: Venue, now_ms: int) -> Document:
    values = _trade_values(event, venue, now_ms)
    return {"e": "trade", **values, "t": event.trade_id, "X": "MARKET"}


def _book_events(event: BookChanged, venue: Venue, now_ms: int) -> Iterator[Named]:
    market, name = venue.markets[event.symbol], event.symbol.lower()
    stamps: Document = {"E": now_ms, "T": event.ts_ns // MS, "s": event.symbol}
    bids, asks = market.published(Side.SELL), market.published(Side.BUY)
    ids: Document = {"U": event.first_id, "u": event.last_id, "pu": event.first_id - 1}
    difference = {
        "e": "depthUpdate",
        **stamps,
        **ids,
        "b": levels_json(market, list(event.bids)),
        "a": levels_json(market, list(event.asks)),
    }
    for speed in ("", "@100ms", "@250ms", "@500ms"):
        yield f"{name}@depth{speed}", difference
        for count in _PARTIAL_LEVELS:
            yield (
                f"{name}@depth{count}{speed}",
                {
                    "e": "depthUpdate",
                    **stamps,
                    **ids,
                    "b": levels_json(market, bids[:count]),
                    "a": levels_json(market, asks[:count]),
                },
            )
    if bids and asks:
        (bid, ask) = levels_json(market, [bids[0], asks[0]])
        best = {"b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        ticker = {"e": "bookTicker", "u": event.last_id, **stamps, **best, "st": 1}
        yield f"{name}@bookTicker", ticker
        yield "!bookTicker", ticker


def _mark(event: MarkChanged, venue: Venue, now_ms: int) -> Document:
    market = venue.markets[event.symbol]
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": event.symbol,
        "p": money(market.mark),
        "ap": money(market.mark),
        "i": money(market.index),
        "P": money(market.index),
        "r": money(market.funding_rate),
        "T": venue.next_funding_ns(event.symbol) // MS,
    }


def _force_order(event: OrderChanged, venue: Venue, now_ms: int) -> Document:
    order, execution = event.order, event.execution
    assert execution is not None, "only fills are told"
    contract = venue.contract(order.symbol)
    return {
        "e": "forceOrder",
        "E": now_ms,
        "o": {
            "s": order.symbol,
            "S": order.side.value,
            "o": "LIMIT",
            "f": "IOC",
            "q": quantity_text(contract, order.quantity),
            "p": price_text(contract, execution.price),
            "ap": average_text(contract, order.average_price),
            "X": order.status.value,
            "l": quantity_text(contract, execution.quantity),
            "z": quantity_text(contract, order.filled),
            "T": execution.ts_ns // MS,
        },
    }


__all__ = ["Document", "Named", "market_events", "user_events"]
