"""Every recorded and documented payload of Binance parses, or is refused with a reason."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import OrderKind, OrderState
from engine.model.values import Side
from engine.venues.binance import decoding
from engine.venues.binance.decoding import (
    AlgoAcknowledgement,
    AlgoAnswer,
    BalanceAnswer,
    CountdownAnswer,
    DoneAnswer,
    ExchangeAnswer,
    IncomeAnswer,
    LeverageAnswer,
    LimitAnswer,
    ModeAnswer,
    OrderAnswer,
    PositionAnswer,
    TradeAnswer,
    Undecodable,
    decode,
)
from engine.venues.binance.user_stream import read_updates

_KINDS: tuple[Any, ...] = (
    OrderAnswer,
    tuple[OrderAnswer, ...],
    AlgoAnswer,
    tuple[AlgoAnswer, ...],
    AlgoAcknowledgement,
    tuple[TradeAnswer, ...],
    tuple[PositionAnswer, ...],
    tuple[BalanceAnswer, ...],
    tuple[IncomeAnswer, ...],
    decoding.TimeAnswer,
    ModeAnswer,
    LeverageAnswer,
    CountdownAnswer,
    DoneAnswer,
    tuple[LimitAnswer, ...],
    ExchangeAnswer,
)
# What each documented answer of an endpoint that we use must be read as, whole.
_TRADE = "docs_examples/binance_usdm/trade__rest-api"
_ACCOUNT = "docs_examples/binance_usdm/account__rest-api"
_PYTHON = "nautilus_trader/binance_futures_py/http_futures"
_USED: dict[str, Any] = {
    f"{_TRADE}.1.json": OrderAnswer,
    f"{_TRADE}__All-Orders.1.json": tuple[OrderAnswer, ...],
    f"{_TRADE}__Cancel-Order.1.json": OrderAnswer,
    f"{_TRADE}__Query-Order.1.json": OrderAnswer,
    f"{_TRADE}__Query-Current-Open-Order.1.json": OrderAnswer,
    f"{_TRADE}__Current-All-Open-Orders.1.json": tuple[OrderAnswer, ...],
    f"{_TRADE}__New-Algo-Order.1.json": AlgoAnswer,
    f"{_TRADE}__Query-Algo-Order.1.json": AlgoAnswer,
    f"{_TRADE}__Query-All-Algo-Orders.1.json": tuple[AlgoAnswer, ...],
    f"{_TRADE}__Current-All-Algo-Open-Orders.1.json": tuple[AlgoAnswer, ...],
    f"{_TRADE}__Cancel-Algo-Order.1.json": AlgoAcknowledgement,
    f"{_TRADE}__Cancel-All-Open-Orders.1.json": DoneAnswer,
    f"{_TRADE}__Cancel-All-Algo-Open-Orders.1.json": DoneAnswer,
    f"{_TRADE}__Auto-Cancel-All-Open-Orders.1.json": CountdownAnswer,
    f"{_TRADE}__Change-Initial-Leverage.1.json": LeverageAnswer,
    f"{_TRADE}__Change-Position-Mode.1.json": DoneAnswer,
    f"{_TRADE}__Account-Trade-List.1.json": tuple[TradeAnswer, ...],
    f"{_TRADE}__Position-Information-V3.1.json": tuple[PositionAnswer, ...],
    f"{_TRADE}__Position-Information-V3.2.json": tuple[PositionAnswer, ...],
    f"{_ACCOUNT}__Futures-Account-Balance-V3.1.json": tuple[BalanceAnswer, ...],
    f"{_ACCOUNT}__Get-Current-Position-Mode.1.json": ModeAnswer,
    f"{_ACCOUNT}__Get-Income-History.1.json": tuple[IncomeAnswer, ...],
    f"{_ACCOUNT}__Query-Rate-Limit.1.json": tuple[LimitAnswer, ...],
    "docs_examples/binance_usdm/market-data__rest-api__Exchange-Information.1.json": ExchangeAnswer,
    f"{_PYTHON}_account_orders.json": tuple[OrderAnswer, ...],
    f"{_PYTHON}_account_trades.json": tuple[TradeAnswer, ...],
    f"{_PYTHON}_account_position_side_dual.json": ModeAnswer,
    f"{_PYTHON}_account_positions_hedge.json": tuple[PositionAnswer, ...],
    f"{_PYTHON}_account_positions_one_way.json": tuple[PositionAnswer, ...],
    f"{_PYTHON}_market_exchange_info.json": ExchangeAnswer,
}


def _payloads(recorded_data: Path) -> dict[str, bytes]:
    """Every Binance payload: files, and each line of recorded bytes."""
    root = recorded_data / "fixtures"
    payloads: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or "binance" not in name.lower():
            continue
        if name.startswith("cryptofeed/"):
            for number, line in enumerate(path.read_bytes().splitlines()):
                payloads[f"{name}:{number}"] = line.partition(b": ")[2]
        else:
            payloads[name] = path.read_bytes()
    return payloads


def _to_our_words(read: Any) -> None:
    """Take what was decoded the whole way; only Undecodable may come out."""
    items = read if isinstance(read, tuple) else (read,)
    for item in items:
        if isinstance(item, OrderAnswer):
            decoding.to_order(item)
        elif isinstance(item, AlgoAnswer):
            decoding.to_conditional(item)
        elif isinstance(item, TradeAnswer):
            decoding.to_fill(item, ClientOrderId("ours"))
        elif isinstance(item, PositionAnswer):
            decoding.to_position(item)
        elif isinstance(item, BalanceAnswer):
            decoding.to_balances((item,))
        elif isinstance(item, IncomeAnswer):
            decoding.to_movement(item)
        elif isinstance(item, ExchangeAnswer):
            for symbol in item.symbols:
                decoding.to_instrument(symbol)


@pytest.mark.timeout(60)
def test_every_payload_parses_or_is_refused_with_a_reason(recorded_data: Path) -> None:
    payloads = _payloads(recorded_data)
    assert len(payloads) > 1_500
    parsed = 0
    reasons: list[str] = []
    for body in payloads.values():
        for kind in _KINDS:
            for cut in (body, body[: len(body) // 2]):
                try:
                    _to_our_words(decode(cut, kind))
                    parsed += 1
                except Undecodable as error:
                    reasons.append(str(error))
    assert parsed > len(_USED)
    assert len(reasons) > parsed
    assert all(reasons)


def test_every_push_is_read_or_refused_with_a_reason(recorded_data: Path) -> None:
    told = 0
    reasons: list[str] = []
    refused: list[str] = []
    for body in _payloads(recorded_data).values():
        message = body
        if body.lstrip()[:9].replace(b"\n", b"").replace(b" ", b"").startswith(b'{"stre'):
            message = json.dumps(json.loads(body)["data"]).encode()  # As the combined streams say.
        is_ours = b'ORDER_TRADE_UPDATE"' in message or b'"ALGO_UPDATE"' in message
        for text, is_whole in ((message, True), (message[: len(message) // 2], False)):
            try:
                updates = read_updates(text.decode())
                told += len(updates)
            except Undecodable as error:
                reasons.append(str(error))
                if is_ours and is_whole:
                    refused.append(str(error))
    assert told >= 20
    assert all("without its fee" in reason for reason in refused), refused
    assert all(reasons)


@pytest.mark.parametrize("name", sorted(_USED))
def test_every_documented_answer_that_is_used_is_read_whole(name: str, recorded_data: Path) -> None:
    body = (recorded_data / "fixtures" / name).read_bytes()
    _to_our_words(decode(body, _USED[name]))


def test_the_filters_of_122_real_contracts(recorded_data: Path) -> None:
    recorded = (recorded_data / "fixtures/cryptofeed/BINANCE_FUTURES.0").read_bytes()
    exchange = decode(recorded.splitlines()[0].partition(b": ")[2], ExchangeAnswer)
    instruments = {each.symbol: decoding.to_instrument(each) for each in exchange.symbols}
    assert len(instruments) == 122
    bitcoin = instruments[Symbol("BTCUSDT")]
    assert (bitcoin.tick_size, bitcoin.quantity_step) == (Decimal("0.01"), Decimal("0.001"))
    assert (bitcoin.quantity_min, bitcoin.notional_min) == (Decimal("0.001"), Decimal(5))
    assert [(each.rate_limit_type, each.interval_num, each.limit) for each in exchange.rate_limits]


_ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 7,
    "clientOrderId": "node-g1-1",
    "status": "PARTIALLY_FILLED",
    "side": "SELL",
    "type": "LIMIT",
    "origQty": "0.300",
    "executedQty": "0.1",
    "price": "60000.10",
    "reduceOnly": True,
    "updateTime": 1_700_000_000_123,
    "aFieldOfTomorrow": [1, 2],
}


def test_an_order_is_taken_over_exactly() -> None:
    order = decoding.to_order(decode(json.dumps(_ORDER).encode(), OrderAnswer))
    assert order.state is OrderState.PARTIALLY_FILLED
    assert (order.side, order.kind, order.reduce_only) == (Side.SELL, OrderKind.LIMIT, True)
    assert (order.quantity, order.filled) == (Decimal("0.3"), Decimal("0.1"))
    assert order.price == Decimal("60000.10")
    assert order.ts_ns == 1_700_000_000_123_000_000
    assert not order.is_conditional


@pytest.mark.parametrize(
    "field", ["symbol", "orderId", "clientOrderId", "status", "side", "origQty", "executedQty"]
)
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    body = json.dumps({name: value for name, value in _ORDER.items() if name != field})
    with pytest.raises(Undecodable, match=field):
        decode(body.encode(), OrderAnswer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "SLEEPING"),
        ("side", "HOLD"),
        ("origQty", "NaN"),
        ("executedQty", "Infinity"),
        ("price", ""),
    ],
)
def test_an_odd_value_is_refused_by_name(field: str, value: str) -> None:
    answer = decode(json.dumps({**_ORDER, field: value}).encode(), OrderAnswer)
    with pytest.raises(Undecodable, match=field):
        decoding.to_order(answer)


def test_a_conditional_order_takes_state_and_fills_from_the_order_it_became() -> None:
    answer = AlgoAnswer(
        algo_id=3,
        client_algo_id="node-g1-2",
        order_type="STOP_MARKET",
        symbol="BTCUSDT",
        side="SELL",
        algo_status="FINISHED",
        quantity="0.300",
        trigger_price="58000",
        reduce_only=True,
    )
    alone = decoding.to_conditional(answer)
    assert (alone.state, alone.filled) == (OrderState.CANCELLED, Decimal(0))
    real = decoding.to_order(decode(json.dumps(_ORDER).encode(), OrderAnswer))
    became = decoding.to_conditional(answer, msgspec.structs.replace(real, filled=Decimal("0.2")))
    assert (became.state, became.filled) == (OrderState.PARTIALLY_FILLED, Decimal("0.2"))
    assert became.client_order_id == "node-g1-2"
    assert became.is_conditional


@pytest.mark.parametrize(
    ("side", "leg", "reduces"),
    [
        ("BUY", "LONG", False),
        ("SELL", "LONG", True),
        ("SELL", "SHORT", False),
        ("BUY", "SHORT", True),
    ],
)
def test_an_order_against_its_leg_only_reduces(side: str, leg: str, reduces: bool) -> None:
    answer = decode(
        json.dumps({**_ORDER, "side": side, "positionSide": leg, "reduceOnly": False}).encode(),
        OrderAnswer,
    )
    assert decoding.to_order(answer).reduce_only is reduces


def test_a_position_side_that_nobody_knows_is_refused() -> None:
    odd = {**_ORDER, "positionSide": "SIDEWAYS"}
    with pytest.raises(Undecodable, match="positionSide"):
        decoding.to_order(decode(json.dumps(odd).encode(), OrderAnswer))


def test_trade_ids_of_two_symbols_are_two_executions() -> None:
    assert decoding.execution_id("BTCUSDT", 1) != decoding.execution_id("ETHUSDT", 1)
