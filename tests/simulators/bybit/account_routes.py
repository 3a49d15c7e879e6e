"""Bybit's positions, wallet, settings, stops and disconnect protection."""

from __future__ import annotations

from decimal import Decimal

from engine.model.ids import Symbol
from engine.model.values import ZERO, plain
from tests.simulators.bybit.answers import MS
from tests.simulators.bybit.desk import Desk, Document, Route, page
from tests.simulators.bybit.errors import ApiError, params_error
from tests.simulators.bybit.order_routes import in_window, read_leg, read_wishes
from tests.simulators.bybit.parameters import Parameters
from tests.simulators.core import checks
from tests.simulators.core.model import Execution, Income, IncomeKind, Order

_MODES = {"0": False, "3": True}
_WINDOW_RANGE_S = (3, 300)
_DAY_MS = 24 * 3600 * 1000
_RATE_GRID = Decimal("1E-4")
_PRICE_GRID = Decimal("1E-8")


def positions(desk: Desk, parameters: Parameters) -> Document:
    """Of a symbol every leg, flat or not; of a coin only what is held."""
    parameters.check_linear()
    by_symbol = "symbol" in parameters.values
    account = desk.venue.account
    rows = [
        desk.position((symbol, leg))
        for symbol in sorted(desk.symbols(parameters))
        for leg in account.legs()
        if by_symbol or account.quantity((symbol, leg))
    ]
    return page(parameters, rows, default=20, most=200)


def wallet(desk: Desk, parameters: Parameters) -> Document:
    if parameters.optional("accountType") not in (None, "UNIFIED"):
        raise params_error("accountType only support UNIFIED.")
    return {"list": [wallet_row(desk)]}


def wallet_row(desk: Desk) -> Document:
    """The unified account; what the venue has let die is empty or zero."""
    venue, account = desk.venue, desk.venue.account
    by_symbol: dict[Symbol, list[Order]] = {}
    for order in venue.books.open_orders():
        by_symbol.setdefault(order.symbol, []).append(order)
    marks = {key: venue.markets[key[0]].mark for key in account.positions}
    unrealised = account.cross_unrealised(venue.markets)
    position_margin = sum((account.position_margin(k, m) for k, m in marks.items()), ZERO)
    maintenance = sum((account.maintenance(k, m) for k, m in marks.items()), ZERO)
    order_margin = sum(
        (account.order_margin(s, o, venue.markets[s].mark) for s, o in by_symbol.items()), ZERO
    )
    available = max(ZERO, checks.available(account, venue.markets, by_symbol))
    equity, initial = account.balance + unrealised, position_margin + order_margin
    coin = {
        "coin": "USDT",
        "equity": plain(equity),
        "usdValue": plain(equity),
        "walletBalance": plain(account.balance),
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": plain(order_margin),
        "totalPositionIM": plain(position_margin),
        "totalPositionMM": plain(maintenance),
        "unrealisedPnl": plain(unrealised),
        "cumRealisedPnl": plain(account.balance - account.initial),
        "bonus": "0",
        "collateralSwitch": True,
        "marginCollateral": True,
        "locked": "0",
        "spotHedgingQty": "0",
        "spotBorrow": "0",
    }
    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": plain((initial / equity).quantize(_RATE_GRID) if equity else ZERO),
        "accountIMRateByMp": "0",
        "accountMMRate": plain((maintenance / equity).quantize(_RATE_GRID) if equity else ZERO),
        "accountMMRateByMp": "0",
        "totalEquity": plain(equity),
        "totalWalletBalance": plain(account.balance),
        "totalMarginBalance": plain(equity),
        "totalAvailableBalance": plain(available),
        "totalPerpUPL": plain(unrealised),
        "totalInitialMargin": plain(initial),
        "totalInitialMarginByMp": plain(initial),
        "totalMaintenanceMargin": plain(maintenance),
        "totalMaintenanceMarginByMp": plain(maintenance),
        "coin": [coin],
    }


def transaction_log(desk: Desk, parameters: Parameters) -> Document:
    """What moved the wallet, newest first; a trade's profit and fee are one row."""
    rows: list[Document] = []
    profits: dict[int, Decimal] = {}
    for each in desk.venue.account.incomes:
        if each.kind is IncomeKind.REALIZED_PNL:
            profits[each.execution_id] = each.amount
        else:
            rows.append(log_row(desk, each, profit=profits.pop(each.execution_id, ZERO)))
    currency = parameters.optional("currency")
    rows = [row for row in rows if currency in (None, row["currency"])]
    rows = in_window(desk, parameters, rows, "transactionTime", default_ms=_DAY_MS)
    rows.reverse()
    return page(parameters, rows, default=20, most=50)


def log_row(desk: Desk, income: Income, *, profit: Decimal) -> Document:
    is_trade = income.kind is IncomeKind.COMMISSION
    kind = {IncomeKind.COMMISSION: "TRADE", IncomeKind.FUNDING_FEE: "SETTLEMENT"}.get(
        income.kind, "TRANSFER_IN" if income.amount > ZERO else "TRANSFER_OUT"
    )
    is_funding = income.kind is IncomeKind.FUNDING_FEE
    return {
        "id": desk.wire_id(income.income_id),
        "transSubType": "",
        "symbol": income.symbol,
        "side": "None",
        "type": kind,
        "category": "linear" if income.symbol else "",
        "currency": "USDT",
        "transactionTime": str(income.ts_ns // MS),
        "funding": plain(income.amount) if is_funding else "",
        "fee": plain(-income.amount) if is_trade else "0",
        "cashFlow": "0" if is_funding else plain(profit if is_trade else income.amount),
        "change": plain(income.amount + profit),
        "tradeId": desk.wire_id(income.execution_id) if income.execution_id else "",
        "orderId": "",
        "orderLinkId": "",
        "qty": "0",
        "size": "0",
        "tradePrice": "0",
        "feeRate": "0",
        "cashBalance": "0",
        "bonusChange": "",
        "extraFees": "",
    }


def account_info(desk: Desk, parameters: Parameters) -> Document:
    return {
        "marginMode": "REGULAR_MARGIN",
        "updatedTime": str(desk.now_ms()),
        "unifiedMarginStatus": 5,
        "dcpStatus": "ON" if desk.protection.is_enabled else "OFF",
        "timeWindow": desk.protection.window_s,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def fee_rate(desk: Desk, parameters: Parameters) -> Document:
    account = desk.venue.account
    wanted = desk.symbols(parameters, needed=False)
    return {
        "list": [
            {
                "symbol": symbol,
                "takerFeeRate": plain(account.taker_fee),
                "makerFeeRate": plain(account.maker_fee),
            }
            for symbol in sorted(wanted)
        ]
    }


def set_leverage(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    symbol = desk.contract(parameters).symbol
    buy, sell = parameters.decimal("buyLeverage"), parameters.decimal("sellLeverage")
    if buy != sell:
        raise params_error("buy leverage must be equal to sell leverage")
    if buy != int(buy):
        raise params_error("only whole leverages are simulated")
    if desk.venue.account.leverage[symbol] == int(buy):
        raise ApiError(110043, "leverage not modified")
    desk.venue.set_leverage(symbol, int(buy))
    return {}


def switch_mode(desk: Desk, parameters: Parameters) -> Document:
    """For the whole coin only: a mode of its own for each symbol is not simulated."""
    parameters.check_linear()
    if "symbol" in parameters.values:
        raise params_error("the position mode is simulated for a coin, not for a symbol")
    if parameters.text("coin") != "USDT":
        raise params_error("coin invalid")
    desk.venue.set_hedged(_MODES[parameters.choice("mode", _MODES)])
    return {}


def trading_stop(desk: Desk, parameters: Parameters) -> Document:
    parameters.check_linear()
    symbol = desk.contract(parameters).symbol
    parameters.choice("tpslMode", {"Full": 1, "Partial": 1}, "Full")
    if "positionIdx" not in parameters.values:
        raise params_error("positionIdx is required")
    leg = read_leg(desk, parameters)
    if parameters.optional_decimal("trailingStop"):
        raise params_error("trailing stops of a position are not simulated")
    desk.stops.set((symbol, leg), read_wishes(parameters))
    return {}


def closed_profit(desk: Desk, parameters: Parameters) -> Document:
    """What each closing order earned, newest first."""
    parameters.check_linear()
    symbols = desk.symbols(parameters, needed=False)
    by_order: dict[int, list[Execution]] = {}
    for each in desk.venue.account.executions:
        if each.closed and each.symbol in symbols:
            by_order.setdefault(each.order_id, []).append(each)
    rows = [_profit_row(desk, fills) for fills in by_order.values()]
    rows.sort(key=lambda row: str(row["updatedTime"]), reverse=True)
    return page(parameters, rows, default=50, most=100)


def _profit_row(desk: Desk, fills: list[Execution]) -> Document:
    first, last = fills[0], fills[-1]
    order = desk.venue.books.orders[first.order_id]
    closed = sum((each.closed for each in fills), ZERO)
    exit_value = sum((each.closed * each.price for each in fills), ZERO)
    realised = sum((each.realised for each in fills), ZERO)
    entry_value = exit_value + order.side.sign * realised
    return {
        "symbol": first.symbol,
        "orderId": desk.id_of(order),
        "side": "Buy" if order.side.sign > 0 else "Sell",
        "orderType": "Market" if order.price is None else "Limit",
        "execType": "BustTrade" if order.is_liquidation else "Trade",
        "qty": plain(order.quantity),
        "closedSize": plain(closed),
        "orderPrice": plain(order.price or ZERO),
        "leverage": str(desk.venue.account.leverage[first.symbol]),
        "cumEntryValue": plain(entry_value),
        "avgEntryPrice": plain((entry_value / closed).quantize(_PRICE_GRID)),
        "cumExitValue": plain(exit_value),
        "avgExitPrice": plain((exit_value / closed).quantize(_PRICE_GRID)),
        "closedPnl": plain(realised - sum((each.fee for each in fills), ZERO)),
        "fillCount": str(len(fills)),
        "createdTime": str(first.ts_ns // MS),
        "updatedTime": str(last.ts_ns // MS),
    }


def set_protection(desk: Desk, parameters: Parameters) -> Document:
    """Disconnect protection, which Bybit has to enable for an account."""
    if not desk.protection.is_enabled:
        raise ApiError(10005, "Permission denied, please check your API key permissions.")
    window = parameters.optional_integer("timeWindow") or 0
    low, high = _WINDOW_RANGE_S
    if not low <= window <= high:
        raise params_error("timeWindow invalid")
    # Without a product it is options that are meant: the trap of this endpoint.
    if parameters.optional("product") == "DERIVATIVES":
        desk.protection.window_s = window
    return {}


def protection(desk: Desk, parameters: Parameters) -> Document:
    status = "ON" if desk.protection.is_enabled else "OFF"
    return {
        "dcpInfos": [
            {
                "product": "DERIVATIVES",
                "dcpStatus": status,
                "timeWindow": str(desk.protection.window_s),
            }
        ]
        if desk.protection.is_enabled
        else []
    }


def key_rights(desk: Desk, parameters: Parameters) -> Document:
    """Of the one key that there is; the answer names it, as the venue's does."""
    return {
        "id": "1",
        "note": "simulated",
        "apiKey": desk.key,
        "readOnly": 0,
        "secret": "",
        "permissions": {
            "ContractTrade": ["Order", "Position"],
            "Spot": ["SpotTrade"],
            "Wallet": ["AccountTransfer", *(["Withdraw"] if desk.key_may_withdraw else [])],
            "Options": [],
            "Derivatives": ["DerivativesTrade"],
            "Exchange": [],
        },
        "ips": ["*"],
        "type": 1,
        "uta": 1,
        "userID": 1,
        "isMaster": True,
    }


ROUTES = (
    Route(method="GET", path="/v5/position/list", handler=positions),
    Route(method="GET", path="/v5/position/closed-pnl", handler=closed_profit),
    Route(method="POST", path="/v5/position/set-leverage", handler=set_leverage, per_second=10),
    Route(method="POST", path="/v5/position/switch-mode", handler=switch_mode, per_second=10),
    Route(method="POST", path="/v5/position/trading-stop", handler=trading_stop, per_second=10),
    Route(method="GET", path="/v5/account/wallet-balance", handler=wallet),
    Route(method="GET", path="/v5/account/transaction-log", handler=transaction_log, per_second=25),
    Route(method="GET", path="/v5/account/info", handler=account_info),
    Route(method="GET", path="/v5/account/fee-rate", handler=fee_rate, per_second=10),
    Route(method="GET", path="/v5/account/query-dcp-info", handler=protection, per_second=5),
    Route(method="GET", path="/v5/user/query-api", handler=key_rights, per_second=10),
    Route(
        method="POST",
        path="/v5/order/disconnected-cancel-all",
        handler=set_protection,
        per_second=5,
    ),
)

__all__ = ["ROUTES", "wallet_row"]
