"""Binance's account endpoints: balance, account, positions, settings, fees, income, listen key."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from engine.model.ids import Symbol
from engine.model.values import ZERO
from tests.simulators.binance.answers import MS, fixed, money, price_text, quantity_text
from tests.simulators.binance.desk import Desk, Route, Security, weight_by_symbol
from tests.simulators.binance.errors import ApiError, missing
from tests.simulators.binance.order_routes import within_window
from tests.simulators.binance.parameters import Parameters
from tests.simulators.core import checks
from tests.simulators.core.account import Key
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import Income, IncomeKind, Order
from tests.simulators.core.refusals import Reason, Refusal

_LISTEN_KEY = "/fapi/v1/listenKey"
_DUAL = "/fapi/v1/positionSide/dual"
_OK = {"code": 200, "msg": "success"}


class _Sums:
    """The account's figures at this moment."""

    def __init__(self, desk: Desk) -> None:
        venue, account = desk.venue, desk.venue.account
        self.orders: dict[Symbol, list[Order]] = {}
        for order in venue.books.open_orders():
            self.orders.setdefault(order.symbol, []).append(order)
        self.wallet = account.balance
        self.cross = account.cross_balance
        self.cross_unrealised = account.cross_unrealised(venue.markets)
        self.unrealised = sum(
            (account.unrealised(key, venue.markets[key[0]].mark) for key in account.positions),
            ZERO,
        )
        self.maintenance = sum(
            (account.maintenance(key, venue.markets[key[0]].mark) for key in account.positions),
            ZERO,
        )
        self.position_margin = sum(
            (account.position_margin(key, venue.markets[key[0]].mark) for key in account.positions),
            ZERO,
        )
        self.order_margin = sum(
            (
                account.order_margin(symbol, resting, venue.markets[symbol].mark)
                for symbol, resting in self.orders.items()
            ),
            ZERO,
        )
        self.available = max(ZERO, checks.available(account, venue.markets, self.orders))
        self.updated_ms = max((income.ts_ns for income in account.incomes[-1:]), default=0) // MS

    def asset(self, asset: str) -> dict[str, object]:
        return {
            "asset": asset,
            "walletBalance": money(self.wallet),
            "unrealizedProfit": money(self.unrealised),
            "marginBalance": money(self.wallet + self.unrealised),
            "maintMargin": money(self.maintenance),
            "initialMargin": money(self.position_margin + self.order_margin),
            "positionInitialMargin": money(self.position_margin),
            "openOrderInitialMargin": money(self.order_margin),
            "crossWalletBalance": money(self.cross),
            "crossUnPnl": money(self.cross_unrealised),
            "availableBalance": money(self.available),
            "maxWithdrawAmount": money(self.available),
            "updateTime": self.updated_ms,
        }

    def totals(self) -> dict[str, object]:
        return {
            "totalInitialMargin": money(self.position_margin + self.order_margin),
            "totalMaintMargin": money(self.maintenance),
            "totalWalletBalance": money(self.wallet),
            "totalUnrealizedProfit": money(self.unrealised),
            "totalMarginBalance": money(self.wallet + self.unrealised),
            "totalPositionInitialMargin": money(self.position_margin),
            "totalOpenOrderInitialMargin": money(self.order_margin),
            "totalCrossWalletBalance": money(self.cross),
            "totalCrossUnPnl": money(self.cross_unrealised),
            "availableBalance": money(self.available),
            "maxWithdrawAmount": money(self.available),
        }


def balance(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    sums = _Sums(desk)
    return [
        {
            "accountAlias": "SgsR",
            "asset": "USDT",
            "balance": money(sums.wallet),
            "crossWalletBalance": money(sums.cross),
            "crossUnPnl": money(sums.cross_unrealised),
            "availableBalance": money(sums.available),
            "maxWithdrawAmount": money(sums.available),
            "marginAvailable": True,
            "updateTime": sums.updated_ms,
        }
    ]


def account_v3(desk: Desk, parameters: Parameters) -> dict[str, object]:
    sums = _Sums(desk)
    return {
        **sums.totals(),
        "assets": [sums.asset("USDT")],
        "positions": [
            _account_position(desk, key, contract) for key, contract in _reported(desk, every=False)
        ],
    }


def account_v2(desk: Desk, parameters: Parameters) -> dict[str, object]:
    sums = _Sums(desk)
    account = desk.venue.account
    positions = []
    for key, contract in _reported(desk, every=True):
        leverage = account.leverage[key[0]]
        positions.append(
            {
                **_account_position(desk, key, contract),
                "positionInitialMargin": money(_position_margin(desk, key)),
                "openOrderInitialMargin": money(_order_margin(desk, key[0])),
                "leverage": str(leverage),
                "isolated": key[0] in account.isolated,
                "entryPrice": _entry_text(desk, key, contract),
                "breakEvenPrice": _entry_text(desk, key, contract),
                "maxNotional": str(contract.notional_max(leverage)),
                "bidNotional": "0",
                "askNotional": "0",
            }
        )
    return {
        "feeTier": 0,
        "feeBurn": False,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
        **sums.totals(),
        "assets": [{**sums.asset("USDT"), "marginAvailable": True}],
        "positions": positions,
    }


def account_config(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "dualSidePosition": desk.venue.account.is_hedged,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }


def symbol_config(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    account = desk.venue.account
    wanted = desk.optional_symbol(parameters)
    return [
        {
            "symbol": symbol,
            "marginType": "ISOLATED" if symbol in account.isolated else "CROSSED",
            "isAutoAddMargin": False,
            "leverage": account.leverage[symbol],
            "maxNotionalValue": str(contract.notional_max(account.leverage[symbol])),
        }
        for symbol, contract in desk.venue.contracts.items()
        if wanted in (None, symbol)
    ]


# --- positions ----------------------------------------------------------------------------------


def positions_v2(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    account = desk.venue.account
    wanted = desk.optional_symbol(parameters)
    return [
        {
            **_position(desk, key, contract),
            "leverage": str(account.leverage[key[0]]),
            "maxNotionalValue": str(contract.notional_max(account.leverage[key[0]])),
            "marginType": "isolated" if key[0] in account.isolated else "cross",
            "isAutoAddMargin": "false",
        }
        for key, contract in _reported(desk, every=True)
        if wanted in (None, key[0])
    ]


def positions_v3(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    wanted = desk.optional_symbol(parameters)
    return [
        {
            **_position(desk, key, contract),
            "marginAsset": contract.quote,
            "initialMargin": money(_position_margin(desk, key) + _order_margin(desk, key[0])),
            "maintMargin": money(_maintenance(desk, key)),
            "positionInitialMargin": money(_position_margin(desk, key)),
            "openOrderInitialMargin": money(_order_margin(desk, key[0])),
            "adl": 2 if desk.venue.account.quantity(key) else 0,
            "bidNotional": "0",
            "askNotional": "0",
        }
        for key, contract in _reported(desk, every=False)
        if wanted in (None, key[0])
    ]


def _reported(desk: Desk, *, every: bool) -> Iterator[tuple[Key, Contract]]:
    """Positions to report: of every symbol, or only where there is a position or an open order."""
    account = desk.venue.account
    ordered = {order.symbol for order in desk.venue.books.open_orders()}
    for symbol, contract in desk.venue.contracts.items():
        for leg in account.legs():
            if every or symbol in ordered or account.quantity((symbol, leg)):
                yield (symbol, leg), contract


def _position(desk: Desk, key: Key, contract: Contract) -> dict[str, object]:
    account, mark = desk.venue.account, desk.venue.markets[key[0]].mark
    isolated = account.isolated_wallets.get(key, ZERO)
    unrealised = account.unrealised(key, mark)
    return {
        "symbol": key[0],
        "positionSide": key[1].value,
        "positionAmt": quantity_text(contract, account.quantity(key)),
        "entryPrice": _entry_text(desk, key, contract),
        "breakEvenPrice": _entry_text(desk, key, contract),
        "markPrice": money(mark),
        "unRealizedProfit": money(unrealised),
        "liquidationPrice": _liquidation_text(desk, key, contract),
        "isolatedMargin": money(isolated + unrealised if isolated else ZERO),
        "notional": money(account.quantity(key) * mark),
        "isolatedWallet": money(isolated),
        "updateTime": account.updated_ns.get(key, 0) // MS,
    }


def _account_position(desk: Desk, key: Key, contract: Contract) -> dict[str, object]:
    account, mark = desk.venue.account, desk.venue.markets[key[0]].mark
    isolated = account.isolated_wallets.get(key, ZERO)
    unrealised = account.unrealised(key, mark)
    return {
        "symbol": key[0],
        "positionSide": key[1].value,
        "positionAmt": quantity_text(contract, account.quantity(key)),
        "unrealizedProfit": money(unrealised),
        "isolatedMargin": money(isolated + unrealised if isolated else ZERO),
        "notional": money(account.quantity(key) * mark),
        "isolatedWallet": money(isolated),
        "initialMargin": money(_position_margin(desk, key) + _order_margin(desk, key[0])),
        "maintMargin": money(_maintenance(desk, key)),
        "updateTime": account.updated_ns.get(key, 0) // MS,
    }


def _entry_text(desk: Desk, key: Key, contract: Contract) -> str:
    position = desk.venue.account.positions.get(key)
    return (
        format(position.entry_price.quantize(Decimal("1E-12")).normalize(), "f")
        if position
        else "0.0"
    )


def _liquidation_text(desk: Desk, key: Key, contract: Contract) -> str:
    """Where this position alone, all else standing, would use up its margin."""
    account, venue = desk.venue.account, desk.venue
    quantity = account.quantity(key)
    if not quantity:
        return "0"
    mark = venue.markets[key[0]].mark
    if key in account.isolated_wallets:
        spare = account.isolated_wallets[key] + account.unrealised(key, mark)
        spare -= account.maintenance(key, mark)
    else:
        spare = account.cross_balance + account.cross_unrealised(venue.markets)
        spare -= sum(
            (account.maintenance(each, venue.markets[each[0]].mark) for each in account.positions),
            ZERO,
        )
    ratio = contract.bracket(quantity * mark).maintenance_ratio
    price = mark - spare / (quantity - abs(quantity) * ratio)
    return price_text(contract, price) if price > 0 else "0"


def _position_margin(desk: Desk, key: Key) -> Decimal:
    return desk.venue.account.position_margin(key, desk.venue.markets[key[0]].mark)


def _order_margin(desk: Desk, symbol: Symbol) -> Decimal:
    resting = desk.venue.books.open_orders(symbol)
    return desk.venue.account.order_margin(symbol, resting, desk.venue.markets[symbol].mark)


def _maintenance(desk: Desk, key: Key) -> Decimal:
    return desk.venue.account.maintenance(key, desk.venue.markets[key[0]].mark)


# --- settings -----------------------------------------------------------------------------------


def set_leverage(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract = desk.contract(parameters)
    leverage = parameters.integer("leverage")
    desk.venue.set_leverage(contract.symbol, leverage)
    return {
        "leverage": leverage,
        "maxNotionalValue": str(contract.notional_max(leverage)),
        "symbol": contract.symbol,
    }


def set_margin_type(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract = desk.contract(parameters)
    margin_type = parameters.text("marginType")
    if margin_type not in {"ISOLATED", "CROSSED"}:
        raise missing("marginType")
    if any(True for _ in desk.venue.books.waiting(contract.symbol)):
        raise Refusal(Reason.MARGIN_TYPE_WITH_ORDERS)
    desk.venue.set_isolated(contract.symbol, margin_type == "ISOLATED")
    return dict(_OK)


def position_mode(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"dualSidePosition": desk.venue.account.is_hedged}


def set_position_mode(desk: Desk, parameters: Parameters) -> dict[str, object]:
    parameters.text("dualSidePosition")
    desk.venue.set_hedged(parameters.flag("dualSidePosition"))
    return dict(_OK)


def multi_assets_mode(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"multiAssetsMargin": False}


def commission_rate(desk: Desk, parameters: Parameters) -> dict[str, object]:
    contract, account = desk.contract(parameters), desk.venue.account
    return {
        "symbol": contract.symbol,
        "makerCommissionRate": fixed(account.maker_fee, 6),
        "takerCommissionRate": fixed(account.taker_fee, 6),
        "rpiCommissionRate": "0.000050",
    }


def leverage_brackets(desk: Desk, parameters: Parameters) -> object:
    wanted = desk.optional_symbol(parameters)
    documents = [
        {
            "symbol": symbol,
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": each.number,
                    "initialLeverage": each.leverage_max,
                    "notionalCap": int(each.notional_max),
                    "notionalFloor": int(each.notional_min),
                    "maintMarginRatio": float(each.maintenance_ratio),
                    "cum": float(each.deduction),
                }
                for each in contract.brackets
            ],
        }
        for symbol, contract in desk.venue.contracts.items()
        if wanted in (None, symbol)
    ]
    return documents if wanted is None else documents[0]


def income(desk: Desk, parameters: Parameters) -> list[dict[str, object]]:
    wanted = parameters.optional("incomeType")
    symbol = parameters.optional("symbol")
    if wanted is not None and wanted not in IncomeKind.__members__:
        raise missing("incomeType")
    limit = parameters.optional_integer("limit")
    limit = 100 if limit is None else limit
    if not 1 <= limit <= 1000:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    page = parameters.optional_integer("page") or 1
    records = [
        each
        for each in desk.venue.account.incomes
        if wanted in (None, each.kind.value) and symbol in (None, each.symbol)
    ]
    records = within_window(desk, parameters, records, lambda each: each.ts_ns)
    return [_income_json(each) for each in records[(page - 1) * limit : page * limit]]


def _income_json(each: Income) -> dict[str, object]:
    return {
        "symbol": each.symbol,
        "incomeType": each.kind.value,
        "income": money(each.amount),
        "asset": "USDT",
        "info": each.kind.value,
        "time": each.ts_ns // MS,
        "tranId": each.income_id,
        "tradeId": str(each.execution_id) if each.execution_id else "",
    }


def trading_status(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"indicators": {}, "updateTime": desk.now_ms()}


# --- listen key ---------------------------------------------------------------------------------


def open_listen_key(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"listenKey": desk.listen_keys.open()}


def keep_listen_key(desk: Desk, parameters: Parameters) -> dict[str, object]:
    return {"listenKey": desk.listen_keys.keep_alive()}


def close_listen_key(desk: Desk, parameters: Parameters) -> dict[str, object]:
    desk.listen_keys.close()
    return {}


ROUTES = (
    Route(method="GET", path="/fapi/v2/balance", handler=balance, weight=5),
    Route(method="GET", path="/fapi/v3/balance", handler=balance, weight=5),
    Route(method="GET", path="/fapi/v2/account", handler=account_v2, weight=5),
    Route(method="GET", path="/fapi/v3/account", handler=account_v3, weight=5),
    Route(method="GET", path="/fapi/v1/accountConfig", handler=account_config, weight=5),
    Route(method="GET", path="/fapi/v1/symbolConfig", handler=symbol_config, weight=5),
    Route(method="GET", path="/fapi/v2/positionRisk", handler=positions_v2, weight=5),
    Route(method="GET", path="/fapi/v3/positionRisk", handler=positions_v3, weight=5),
    Route(method="POST", path="/fapi/v1/leverage", handler=set_leverage),
    Route(method="POST", path="/fapi/v1/marginType", handler=set_margin_type),
    Route(method="GET", path=_DUAL, handler=position_mode, weight=30),
    Route(method="POST", path=_DUAL, handler=set_position_mode),
    Route(method="GET", path="/fapi/v1/multiAssetsMargin", handler=multi_assets_mode, weight=30),
    Route(method="GET", path="/fapi/v1/commissionRate", handler=commission_rate, weight=20),
    Route(
        method="GET",
        path="/fapi/v1/leverageBracket",
        handler=leverage_brackets,
        weight=weight_by_symbol(1, 1),
    ),
    Route(method="GET", path="/fapi/v1/income", handler=income, weight=30),
    Route(method="GET", path="/fapi/v1/apiTradingStatus", handler=trading_status),
    Route(method="POST", path=_LISTEN_KEY, handler=open_listen_key, security=Security.KEY),
    Route(method="PUT", path=_LISTEN_KEY, handler=keep_listen_key, security=Security.KEY),
    Route(method="DELETE", path=_LISTEN_KEY, handler=close_listen_key, security=Security.KEY),
)

__all__ = ["ROUTES"]
