"""Events: the contract's types, what is durable and fast, and the way through JSON and back."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from engine.model.events import (
    ALL_EVENTS,
    COMMON_FIELDS,
    EVENT_TYPES,
    RETENTION,
    SHED_ORDER,
    Event,
    OrderFilled,
    PolicyChanged,
    decode,
    payload,
)
from engine.model.ids import ClientOrderId, EventId, ExecutionId, Symbol, TraceId
from engine.model.values import Side

FILLED = OrderFilled(
    id=EventId("e1"),
    ts_ns=1,
    source="test",
    trace=TraceId("t1"),
    client_order_id=ClientOrderId("desk-g1-1"),
    symbol=Symbol("BTCUSDT"),
    side=Side.BUY,
    quantity=Decimal("0.010"),
    filled=Decimal("0.004"),
    execution_id=ExecutionId("x1"),
    last_quantity=Decimal("0.004"),
    last_price=Decimal("61800.30"),
    fee=Decimal("0.1236"),
    fee_currency="USDT",
)


@pytest.mark.parametrize("event", ALL_EVENTS, ids=lambda event: event.TYPE)
def test_every_type_has_a_dotted_name_of_its_own(event: type[Event]) -> None:
    assert "." in event.TYPE
    assert EVENT_TYPES[event.TYPE] is event


@pytest.mark.parametrize("event", ALL_EVENTS, ids=lambda event: event.TYPE)
def test_what_is_about_money_or_safety_is_never_given_up(event: type[Event]) -> None:
    assert event.CLASS in RETENTION
    family = event.TYPE.split(".")[0]
    is_record = family in {"order", "trade", "risk", "policy"} or event.TYPE.startswith(
        ("position.opened", "position.closed", "position.force", "system.emergency", "journal.")
    )
    assert (event.CLASS not in SHED_ORDER) >= is_record
    assert set(SHED_ORDER) | {0} == set(RETENTION)
    assert list(SHED_ORDER) == sorted(SHED_ORDER, reverse=True)


def test_money_is_text_in_json_and_the_common_fields_are_beside_it() -> None:
    body = json.loads(payload(FILLED))
    assert body["last_price"] == "61800.30"
    assert body["quantity"] == "0.010"
    assert not set(COMMON_FIELDS) & set(body)


def test_an_event_comes_back_equal_from_its_journal_row() -> None:
    again = decode(
        FILLED.TYPE, FILLED.id, FILLED.ts_ns, FILLED.source, FILLED.trace, payload(FILLED)
    )
    assert again == FILLED


def test_changes_of_a_policy_come_back_as_pairs() -> None:
    event = PolicyChanged(
        id=EventId("e2"),
        ts_ns=2,
        source="policy",
        trace=TraceId("e2"),
        version=2,
        author="op",
        reason="less",
        changes={"conservative.max_leverage": ("5", "3")},
    )
    assert decode(event.TYPE, "e2", 2, "policy", "e2", payload(event)) == event


@pytest.mark.parametrize(
    ("name", "durable", "fast"),
    [
        ("market.tick", False, False),
        ("signal.received", True, False),
        ("order.filled", True, True),
        ("trade.closed", True, False),
        ("position.updated", False, True),
        ("position.closed", True, True),
        ("account.equity.updated", False, True),
        ("system.emergency.triggered", True, True),
        ("execution.positions_reconciled", True, False),
        ("bus.queue.critical", True, True),
        ("alarm.raised", True, True),
    ],
)
def test_durability_and_speed_are_the_contracts(name: str, durable: bool, fast: bool) -> None:
    assert (EVENT_TYPES[name].DURABLE, EVENT_TYPES[name].FAST) == (durable, fast)
