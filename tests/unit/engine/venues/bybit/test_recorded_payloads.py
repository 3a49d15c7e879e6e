"""Every recorded or documented payload of Bybit is read, or refused with a reason.

The table below says which reader each is for. What has no reader of ours (candles, books,
sub-accounts) must be refused by every reader: nothing may be taken for something it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from engine.model.errors import Refused
from engine.model.ids import Symbol
from engine.model.orders import OrderState
from engine.runtime import SystemClock
from engine.venues.bybit.accounts import (
    decode_ack,
    decode_batch,
    decode_cancel_all,
    decode_executions,
    decode_orders,
    decode_positions,
    decode_wallet,
)
from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.errors import RequestKind
from engine.venues.bybit.instruments import ContractPage, decode_contracts
from engine.venues.bybit.market_stream import BybitMarketReader
from engine.venues.bybit.movements import decode_movements
from engine.venues.bybit.streams import (
    PrivateMessage,
    decode_private,
    decode_server_time,
    decode_tickers,
)
from tests.fakes.market_sink import RecordingSink

Reader = Callable[[bytes], object]
_FOLDERS = ("docs_examples/bybit_v5", "nautilus_trader/bybit_rust")


def _decode_batch(body: bytes) -> object:
    return decode_batch(body, RequestKind.PLACE, count=2)


def _read_public(body: bytes) -> object:
    """The reader of the public stream, which pushes what it reads."""
    sink = RecordingSink()
    reader = BybitMarketReader(sink=sink, clock=SystemClock(), symbols=[Symbol("BTCUSDT")])
    try:
        reader.read(body.decode())
    except Refused as refused:
        return refused  # The venue said no: read, and understood.
    return sink


# The beginning of a file's name decides; the longest that fits. A reason means: refused with it.
_TABLE: Mapping[str, tuple[Reader, str]] = {
    "account__wallet-balance": (decode_wallet, ""),
    "account__transaction-log": (decode_movements, ""),
    "http_get_wallet_balance": (decode_wallet, ""),
    "market__instrument.": (decode_contracts, "category"),
    "http_get_instruments_linear.": (decode_contracts, ""),
    "http_get_instruments_linear_symbol": (decode_contracts, "TSLAUSDT: Object missing"),
    "http_get_instruments_inverse.": (decode_contracts, "'InversePerpetual' is not linear"),
    "http_get_instruments_inverse_symbol": (decode_contracts, "category: 'inverse'"),
    "http_get_instruments_option.": (decode_contracts, "`contractType`"),
    "http_get_instruments_option_symbol": (decode_contracts, "category: 'option'"),
    "http_get_instruments_spot": (decode_contracts, "`contractType`"),
    "market__tickers.": (decode_tickers, "category"),
    "market__time": (decode_server_time, ""),
    "order__create-order": (decode_ack, ""),
    "order__amend-order": (decode_ack, ""),
    "order__cancel-order": (decode_ack, ""),
    "order__cancel-all": (decode_cancel_all, ""),
    "order__batch-": (_decode_batch, ""),
    "order__open-order": (decode_orders, ""),
    "order__order-list": (decode_orders, ""),
    "http_get_order_partially": (decode_orders, ""),
    "http_get_orders_": (decode_orders, ""),
    "order__execution": (decode_executions, ""),
    "http_get_executions": (decode_executions, ""),
    "position__position.1": (decode_positions, "category: 'inverse'"),
    "http_get_positions": (decode_positions, ""),
    "websocket__private__": (decode_private, ""),
    "websocket__private__fast-execution": (decode_private, "topic: 'execution.fast'"),
    "ws_account_": (decode_private, ""),
    "ws_account_execution_fast": (decode_private, "topic: 'execution.fast'"),
    "ws_account_position_with_open_time": (decode_private, "topic: neither it nor op"),
    "ws_auth_": (decode_private, ""),
    "ws_order_response": (decode_private, ""),
    "ws_subscription_": (_read_public, ""),
    "websocket__public__ticker": (_read_public, ""),
    "websocket__public__ticker.1": (_read_public, "was not asked for"),
    # Of spot, where there is no mark.
    "websocket__public__ticker.2": (_read_public, "markPrice: is missing"),
    "websocket__public__trade": (_read_public, ""),
    "ws_ticker_": (_read_public, ""),
    "ws_ticker_option": (_read_public, "'BTC-6JAN23-17500-C' was not asked for"),
    "ws_orderbook_snapshot": (_read_public, ""),
    "ws_orderbook_delta": (_read_public, "'delta' of a book that comes whole"),
    "ws_public_trade": (_read_public, "topic: 'trade.linear.BTCUSDT'"),
    "websocket__trade__guideline.": (decode_private, ""),
    # These four are what a client sends.
    "websocket__trade__guideline.1": (decode_private, "success: neither it nor retCode"),
    "websocket__trade__guideline.3": (decode_private, "success: neither it nor retCode"),
    "websocket__trade__guideline.5": (decode_private, "success: neither it nor retCode"),
    "websocket__trade__guideline.7": (decode_private, "success: neither it nor retCode"),
}
_READERS = sorted({reader for reader, _ in _TABLE.values()}, key=lambda reader: reader.__name__)
# Named all the same, so that a new kind of file cannot slip through unnoticed.
_WITHOUT_READER = (
    "account__", "market__", "order__dcp", "position__", "websocket__public__", "http_get_",
    "http_post_", "ws_kline", "ws_orderbook",
)  # fmt: skip


def _payloads(recorded: Path) -> list[Path]:
    found = [path for name in _FOLDERS for path in (recorded / "fixtures" / name).glob("*.json")]
    assert len(found) >= 100, "the recorded payloads of Bybit are not all there"
    return sorted(found)


def _row_for(name: str) -> tuple[Reader, str] | None:
    fitting = [prefix for prefix in _TABLE if name.startswith(prefix)]
    return _TABLE[max(fitting, key=len)] if fitting else None


def _refusal(reader: Reader, body: bytes) -> str:
    try:
        read = reader(body)
    except Undecodable as error:
        return str(error) or "without a reason"
    if isinstance(read, ContractPage) and read.refused and not read.contracts:
        # Contracts are refused one by one.
        return "; ".join(f"{symbol}: {reason}" for symbol, reason in read.refused)
    return ""


def test_every_payload_is_read_or_refused_with_a_reason(recorded_data: Path) -> None:
    wrong: list[str] = []
    read = 0
    for path in _payloads(recorded_data):
        body, row = path.read_bytes(), _row_for(path.name)
        if row is not None:
            reader, reason = row
            refusal = _refusal(reader, body)
            read += not refusal
            if (reason not in refusal) if reason else refusal:
                wrong.append(f"{path.name}: {refusal or 'read'}, expected {reason or 'read'}")
        elif not path.name.startswith(_WITHOUT_READER):
            wrong.append(f"{path.name}: nobody has said what becomes of it")
        else:
            taken = [each.__name__ for each in _READERS if not _refusal(each, body)]
            if taken:
                wrong.append(f"{path.name}: taken by {taken}")
    assert wrong == []
    assert read >= 55


def test_what_they_say_is_what_is_read(recorded_data: Path) -> None:
    folder = recorded_data / "fixtures" / "nautilus_trader" / "bybit_rust"
    positions = decode_positions((folder / "http_get_positions.json").read_bytes()).rows
    assert [str(leg.position.quantity) for leg in positions] == ["0.5", "-5.0", "0"]
    rejected = decode_orders(
        (folder / "http_get_order_partially_filled_rejected.json").read_bytes()
    ).rows[0]
    assert (rejected.state, rejected.filled) == (OrderState.CANCELLED, Decimal("0.005"))
    assert rejected.reason == "INSUFFICIENT_MARGIN"
    contracts = decode_contracts((folder / "http_get_instruments_linear.json").read_bytes())
    assert [each.instrument.symbol for each in contracts.contracts] == ["BTCUSDT", "ETHUSDT"]
    adl = decode_private((folder / "ws_account_execution_adl.json").read_bytes())
    assert isinstance(adl, PrivateMessage)
    (update,) = adl.updates
    assert update.fill is not None
    assert update.fill.client_order_id == "@9aac161b-8ed6-450d-9cab-c5cc67c21785"
