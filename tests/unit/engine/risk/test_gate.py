"""The gate, reason by reason, and the two promises that hold whatever is in flight."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.errors import InvariantBroken
from engine.model.ids import ClientOrderId, Symbol
from engine.model.instrument import paper_instrument
from engine.model.orders import Intent, OrderKind, OrderPurpose, OrderRecord, OrderState
from engine.model.policy import replace_value
from engine.model.reasons import ReasonCode
from engine.model.snapshots import EngineState
from engine.model.values import Side
from engine.model.venue import Approved
from engine.risk import (
    DrawdownState,
    GateFacts,
    GovernorState,
    check,
    check_exit,
    final_check,
    standing_reasons,
)
from tests.fakes.risk_facts import BTC, ETH, NOW_NS, PROFILE, entry, exit_, healthy, working

D = Decimal
C = ReasonCode
STALE_BTC = {BTC: 6.2, ETH: 0.1}


def codes(outcome: Any) -> set[ReasonCode]:
    assert not isinstance(outcome, Approved), "the gate approved what it should refuse"
    return {reason.code for reason in outcome}


def test_a_healthy_desk_may_trade() -> None:
    outcome = check(entry(), healthy(), PROFILE)
    assert outcome == Approved(intent=entry(), policy_version=7, approved_ns=NOW_NS)


def test_the_approval_puts_the_policy_version_on_the_order() -> None:
    outcome = check(entry(policy_version=0), healthy(), PROFILE)
    assert isinstance(outcome, Approved)
    assert outcome.intent == entry(policy_version=7)


# Each row: the code, what is wrong with the facts, what is wrong with the intent, the profile.
ROWS: list[tuple[ReasonCode, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (C.LATCHED, {"latched": True}, {}, {}),
    (C.LATCHED, {"engine_state": EngineState.LATCHED}, {}, {}),
    (C.TRIP_UNCLEARED, {"trips_uncleared": ("desk:x1",)}, {}, {}),
    (C.NOT_RUNNING, {"engine_state": EngineState.READY, "engine_why": "waits for START"}, {}, {}),
    (C.NOT_RUNNING, {"engine_state": EngineState.STOPPING}, {}, {}),
    (C.HALTED, {"halted": True}, {}, {}),
    (C.HALTED, {"engine_state": EngineState.HALTED}, {}, {}),
    (C.REDUCE_ONLY, {"reduce_only": True}, {}, {}),
    (C.REDUCE_ONLY, {"engine_state": EngineState.REDUCE_ONLY}, {}, {}),
    (C.NEW_TRADES_NOT_ALLOWED, {"allow_new_trades": False}, {}, {}),
    (C.REDIS_DOWN, {"redis_up": False}, {}, {}),
    (C.REDIS_DOWN, {"redis_answer_age_s": None}, {}, {}),
    (C.REDIS_DOWN, {"redis_answer_age_s": 2.51}, {}, {}),
    (C.RECOVERING, {"recovering": "step 3 of 4: positions"}, {}, {}),
    (C.POLICY_TOO_OLD, {"policy_age_s": 300.1}, {}, {}),
    (C.POLICY_TOO_OLD, {"policy_age_s": None}, {}, {}),
    (C.POLICY_CHANGED, {}, {"policy_version": 6}, {}),
    (C.STORE_UNHEALTHY, {"store_healthy": False, "store_why": "disk full"}, {}, {}),
    (C.STORE_UNHEALTHY, {"store_lag_s": 2.1}, {}, {}),
    (C.VENUE_STREAM_DOWN, {"venue_stream_connected": False}, {}, {}),
    (C.MARKET_STREAM_DOWN, {"market_streams_down": {"quotes": "closed"}}, {}, {}),
    (C.MARKET_DATA_STALE, {"market_age_s": STALE_BTC}, {}, {}),
    (C.MARKET_DATA_STALE, {"market_age_s": {}}, {}, {}),
    (C.BUS_SATURATED, {"bus_saturated": True}, {}, {}),
    (C.LOOP_LAG, {"loop_lag_ms": 251.0}, {}, {}),
    (C.CLOCK_JUMP, {"clock_jump": "the clock jumped by 3.2 s"}, {}, {}),
    (C.CLOCK_OFFSET, {"receive_window_ms": 1000, "clock_offset_ms": None}, {}, {}),
    (C.CLOCK_OFFSET, {"receive_window_ms": 1000, "clock_offset_ms": -501.0}, {}, {}),
    (C.DRAWDOWN_SOFT, {"drawdown_state": DrawdownState.SOFT, "drawdown": D("0.046")}, {}, {}),
    (C.DRAWDOWN_SOFT, {"drawdown": D("0.05")}, {}, {}),
    (C.DRAWDOWN_HARD, {"drawdown_state": DrawdownState.HARD, "drawdown": D("0.099")}, {}, {}),
    (C.DRAWDOWN_HARD, {"drawdown": D("0.1")}, {}, {}),
    (C.DRAWDOWN_UNKNOWN, {"drawdown_state": DrawdownState.UNKNOWN}, {}, {}),
    (C.DRAWDOWN_UNKNOWN, {"drawdown": None}, {}, {}),
    (C.DAILY_LOSS, {"daily_loss": D("0.05")}, {}, {}),
    (C.LOSS_STREAK, {"loss_streak": 5}, {}, {"max_consecutive_losses": 5}),
    (C.MIN_BALANCE, {"equity": D("49_999.99")}, {}, {}),
    (C.GOVERNOR_QUARANTINE, {"governor": GovernorState.QUARANTINE}, {}, {}),
    (C.GOVERNOR_HARD_STOP, {"governor": GovernorState.HARD_STOP}, {}, {}),
    (C.MAX_OPEN_POSITIONS, {"positions": {ETH: D(1)}}, {}, {"max_open_positions": 1}),
    (C.MAX_OPEN_POSITIONS, {"working": (working(1, symbol=ETH),)}, {}, {"max_open_positions": 1}),
    (C.MAX_POSITION_NOTIONAL, {"positions": {BTC: D("0.101")}}, {}, {}),
    (C.MAX_POSITION_NOTIONAL, {"working": (working(1, quantity=D("0.101")),)}, {}, {}),
    (C.MAX_GROSS_EXPOSURE, {"positions": {ETH: D("18.01")}}, {}, {}),
    (C.MAX_ORDER_NOTIONAL, {}, {}, {"max_order_notional": D("4999.99")}),
    (C.MAX_LEVERAGE, {}, {"leverage": D("5.1")}, {}),
    (C.MAX_LEVERAGE, {}, {"leverage": D(0)}, {}),
    (C.MAX_ORDERS_PER_MINUTE, {"entries_last_minute": 60}, {}, {}),
    (C.PRICE_COLLAR, {}, {"kind": OrderKind.LIMIT, "price": D(48_999)}, {}),
    (C.PRICE_COLLAR, {}, {"kind": OrderKind.LIMIT, "price": D(51_001)}, {}),
    (
        C.DUPLICATE_ORDER,
        {"recent": (working(1, created_ns=NOW_NS - 5_000_000_000).intent,)},
        {},
        {},
    ),
    (C.DUPLICATE_ORDER, {"working": (working(1, OrderState.SUBMITTED),)}, {}, {}),
    (C.SYMBOL_UNRESOLVED, {"working": (working(1, OrderState.UNRESOLVED),)}, {}, {}),
    (C.SYMBOL_UNRESOLVED, {"working": (working(1, OrderState.LOST),)}, {}, {}),
    (C.TWO_LEGS, {"two_legs": {BTC: "long 1 and short -1"}}, {}, {}),
    (C.SYMBOL_UNKNOWN, {"instrument": None}, {}, {}),
    (C.BELOW_VENUE_MINIMUM, {"marks": {BTC: D(4_000)}}, {"quantity": D("0.001")}, {}),
    (C.BELOW_VENUE_MINIMUM, {}, {"quantity": D(0)}, {}),
    (C.OFF_VENUE_GRID, {}, {"quantity": D("0.1001")}, {}),
    (C.OFF_VENUE_GRID, {}, {"kind": OrderKind.LIMIT, "price": D("50000.05")}, {}),
    (C.INSUFFICIENT_MARGIN, {"available_margin": D("999.99")}, {}, {}),
    (
        C.INSUFFICIENT_MARGIN,
        {"available_margin": D(1_500), "working": (working(1, symbol=ETH, quantity=D("1.1")),)},
        {},
        {},
    ),
    (C.POSITION_ALREADY_OPEN, {"positions": {BTC: D("-0.1")}}, {}, {}),
    (C.NO_MARK, {"marks": {ETH: D(2_500)}}, {}, {}),
    (C.NO_MARK, {"positions": {Symbol("SOLUSDT"): D(1)}}, {}, {}),
]


@pytest.mark.parametrize(("code", "facts", "order", "profile"), ROWS)
def test_each_reason_is_given(
    code: ReasonCode, facts: dict[str, Any], order: dict[str, Any], profile: dict[str, Any]
) -> None:
    limits = PROFILE
    for name, value in profile.items():
        limits = replace_value(limits, name, value)
    outcome = check(entry(**order), healthy(**facts), limits)
    assert not isinstance(outcome, Approved)
    assert code in codes(outcome)
    assert all(reason.detail for reason in outcome), "a reason without its figures"


def test_every_code_of_the_gate_has_a_row() -> None:
    elsewhere = {C.QUEUE_FULL, C.SIGNAL_EXPIRED, C.WOULD_NOT_REDUCE}
    assert {row[0] for row in ROWS} == set(ReasonCode) - elsewhere


@pytest.mark.parametrize(
    "facts",
    [
        {"redis_standalone": True, "redis_up": False, "redis_answer_age_s": None},
        {"recent": (working(1, created_ns=NOW_NS - 5_000_000_001).intent,)},
        {"positions": {BTC: D("0.1")}},
        {"loop_lag_ms": 250.0},
        {"drawdown": D("0.0499")},
        {"loss_streak": 99},  # Seeded off on paper.
        {"positions": {ETH: D("18")}},
    ],
)
def test_just_within_is_approved(facts: dict[str, Any]) -> None:
    assert isinstance(check(entry(), healthy(**facts), PROFILE), Approved)


def test_all_reasons_come_at_once() -> None:
    facts = healthy(latched=True, halted=True, redis_up=False, market_age_s=STALE_BTC)
    outcome = check(entry(leverage=D(50)), facts, PROFILE)
    assert codes(outcome) >= {
        C.LATCHED,
        C.HALTED,
        C.REDIS_DOWN,
        C.MARKET_DATA_STALE,
        C.MAX_LEVERAGE,
    }


def test_standing_reasons_need_no_order() -> None:
    assert standing_reasons(healthy(), PROFILE) == ()
    reasons = standing_reasons(healthy(latched=True, policy_age_s=400.0), PROFILE)
    assert [reason.code for reason in reasons] == [C.LATCHED, C.POLICY_TOO_OLD]
    assert reasons[1].detail == "confirmed 400.0 s ago, at most 300 s"


def test_facts_that_nobody_filled_in_are_refused() -> None:
    """Fails closed: a fact left at its default never opens the gate."""
    empty = GateFacts(now_ns=NOW_NS, policy_version=7, engine_state=EngineState.RUNNING)
    assert codes(check(entry(), empty, PROFILE)) >= {
        C.LATCHED,
        C.NEW_TRADES_NOT_ALLOWED,
        C.REDIS_DOWN,
        C.POLICY_TOO_OLD,
        C.STORE_UNHEALTHY,
        C.VENUE_STREAM_DOWN,
        C.BUS_SATURATED,
        C.DRAWDOWN_UNKNOWN,
        C.MIN_BALANCE,
        C.GOVERNOR_HARD_STOP,
        C.SYMBOL_UNKNOWN,
        C.NO_MARK,
        C.MARKET_DATA_STALE,
    }


@pytest.mark.parametrize(
    "facts",
    [
        {"recent": (working(1, created_ns=NOW_NS - 5_000_000_000).intent,)},
        {"working": (working(1, OrderState.SUBMITTED),)},
    ],
)
def test_an_operator_may_override_the_duplicate_rule_and_only_that(facts: dict[str, Any]) -> None:
    same = healthy(**facts)
    assert codes(check(entry(), same, PROFILE)) == {C.DUPLICATE_ORDER}
    assert isinstance(check(entry(), same, PROFILE, override_duplicate=True), Approved)
    unknown = healthy(working=(working(1, OrderState.UNRESOLVED),), halted=True)
    outcome = check(entry(), unknown, PROFILE, override_duplicate=True)
    assert codes(outcome) == {C.SYMBOL_UNRESOLVED, C.HALTED}


def test_an_exit_given_to_the_entry_gate_is_a_programmers_error() -> None:
    with pytest.raises(InvariantBroken):
        check(exit_(), healthy(), PROFILE)


# --- the final check -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latched", "halted", "version", "expected"),
    [
        (False, False, 7, []),
        (True, False, 7, [C.LATCHED]),
        (False, True, 7, [C.HALTED]),
        (False, False, 8, [C.POLICY_CHANGED]),
        (True, True, 8, [C.LATCHED, C.HALTED, C.POLICY_CHANGED]),
    ],
)
def test_final_check(latched: bool, halted: bool, version: int, expected: list[ReasonCode]) -> None:
    approved = check(entry(), healthy(), PROFILE)
    assert isinstance(approved, Approved)
    reasons = final_check(approved, latched=latched, halted=halted, policy_version=version)
    assert [reason.code for reason in reasons] == expected


# --- exits ---------------------------------------------------------------------------------------

STOP = working(
    2, reduce_only=True, kind=OrderKind.STOP_MARKET, purpose=OrderPurpose.PROTECTIVE_STOP
)
HALF_EXIT = working(3, reduce_only=True, quantity=D("0.05"))
LOST_ANSWER = working(4, OrderState.UNRESOLVED, reduce_only=True, updated_ns=NOW_NS - 10)


@pytest.mark.parametrize(
    ("position", "orders", "changes", "allowed"),
    [
        (D("0.1"), (), {}, True),
        (D("0.1"), (STOP,), {}, True),  # A full-size stop rests beside every position.
        (D("0.1"), (HALF_EXIT,), {"quantity": D("0.05")}, True),
        (D("0.1"), (HALF_EXIT,), {"quantity": D("0.051")}, False),
        (D("0.1"), (working(5, side=Side.SELL, quantity=D("0.05")),), {}, False),
        (D("0.1"), (working(5, symbol=ETH, reduce_only=True),), {}, True),
        (D("0.1"), (LOST_ANSWER,), {}, False),
        (D("0.099"), (), {}, False),
        (D(0), (), {}, False),
        (D("-0.1"), (), {}, False),
        (D("-0.1"), (), {"side": Side.BUY}, True),
        (D("0.1"), (), {"reduce_only": False}, False),
        (D("0.1"), (), {"quantity": D(0)}, False),
        (D("0.1"), (HALF_EXIT,), {"kind": OrderKind.STOP_MARKET}, True),
        (D("0.1"), (), {"kind": OrderKind.STOP_MARKET, "quantity": D("0.2")}, False),
    ],
)
def test_exits_are_refused_only_when_they_would_not_reduce(
    position: Decimal, orders: tuple[OrderRecord, ...], changes: dict[str, Any], allowed: bool
) -> None:
    reasons = check_exit(exit_(**changes), position=position, working=orders)
    assert (reasons == ()) is allowed
    assert {reason.code for reason in reasons} <= {C.WOULD_NOT_REDUCE}


def test_somebody_elses_resting_order_keeps_no_exit_back() -> None:
    """It may never fill, and then nothing could close the position."""
    resting = working(5, side=Side.SELL, quantity=D("0.05"))
    theirs = msgspec.structs.replace(resting, external=True)
    assert check_exit(exit_(), position=D("0.1"), working=(theirs,)) == ()
    reducing = msgspec.structs.replace(HALF_EXIT, external=True)
    assert check_exit(exit_(), position=D("0.1"), working=(reducing,)) != ()


def test_an_exit_without_an_answer_may_be_tried_again_after_a_fresh_read() -> None:
    again = exit_(client_order_id=ClientOrderId("desk-g1-201"))
    position = D("0.1")
    refused = check_exit(again, position=position, working=(LOST_ANSWER,), fresh_read_ns=1)
    assert [reason.code for reason in refused] == [C.WOULD_NOT_REDUCE]
    allowed = check_exit(again, position=position, working=(LOST_ANSWER,), fresh_read_ns=NOW_NS)
    assert allowed == ()


# --- what holds whatever is in flight ------------------------------------------------------------

LIVE = st.sampled_from(
    [OrderState.INTENDED, OrderState.SUBMITTED, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED]
)
QUANTITY = st.integers(1, 90).map(lambda steps: D(steps) / 1_000)
POSITION = st.integers(-150, 150).map(lambda steps: D(steps) / 1_000)


@st.composite
def in_flight(draw: st.DrawFn) -> tuple[OrderRecord, ...]:
    return tuple(
        working(
            number,
            draw(LIVE),
            symbol=draw(st.sampled_from([BTC, ETH])),
            side=draw(st.sampled_from(Side)),
            quantity=draw(QUANTITY),
            reduce_only=draw(st.booleans()),
            purpose=OrderPurpose.EXIT,
        )
        if draw(st.booleans())
        else working(
            number,
            draw(LIVE),
            symbol=draw(st.sampled_from([BTC, ETH])),
            side=draw(st.sampled_from(Side)),
            quantity=draw(QUANTITY),
        )
        for number in range(1, draw(st.integers(0, 5)) + 1)
    )


def play(position: Decimal, fills: list[Intent]) -> Decimal:
    """The venue's side: reduce-only orders fill at most to zero, entries fill whole."""
    for intent in fills:
        quantity = intent.quantity
        if intent.reduce_only:
            reducible = abs(position) if intent.side.sign * position < 0 else D(0)
            quantity = min(quantity, reducible)
        position += intent.side.sign * quantity
    return position


@settings(max_examples=150, deadline=None)
@given(data=st.data(), orders=in_flight(), btc=POSITION, eth=POSITION, quantity=QUANTITY)
def test_no_approved_order_can_break_a_limit(
    data: st.DataObject,
    orders: tuple[OrderRecord, ...],
    btc: Decimal,
    eth: Decimal,
    quantity: Decimal,
) -> None:
    side = data.draw(st.sampled_from(Side))
    limits = replace_value(PROFILE, "max_gross_exposure", D("0.15"))
    facts = healthy(positions={BTC: btc, ETH: eth}, working=orders)
    intent = entry(quantity=quantity, side=side)
    outcome = check(intent, facts, limits)
    if not isinstance(outcome, Approved):
        return
    intents = [order.intent for order in orders]
    filled = [one for one in intents if data.draw(st.booleans())]
    sequence = data.draw(st.permutations([*filled, intent]))
    after = {
        symbol: play(position, [one for one in sequence if one.symbol == symbol])
        for symbol, position in ((BTC, btc), (ETH, eth))
    }
    values = {symbol: abs(after[symbol]) * facts.marks[symbol] for symbol in after}
    assert values[BTC] <= limits.max_position_notional
    assert sum(values.values()) <= limits.max_gross_exposure * facts.equity
    assert sum(1 for value in values.values() if value) <= limits.max_open_positions
    assert quantity * facts.marks[BTC] <= limits.max_order_notional
    assert paper_instrument(BTC).round_quantity(quantity) == quantity


@settings(max_examples=150, deadline=None)
@given(data=st.data(), orders=in_flight(), position=POSITION, quantity=QUANTITY)
def test_no_approved_exit_increases_or_flips(
    data: st.DataObject,
    orders: tuple[OrderRecord, ...],
    position: Decimal,
    quantity: Decimal,
) -> None:
    """Even where the venue ignores the reduce-only mark, as it may under load or by a fault."""
    intent = exit_(quantity=quantity, side=data.draw(st.sampled_from(Side)))
    if check_exit(intent, position=position, working=orders):
        return
    same_side = [
        order.intent
        for order in orders
        if order.intent.symbol == BTC and order.intent.side is intent.side
    ]
    filled = [one for one in same_side if data.draw(st.booleans())]
    after = position
    for one in data.draw(st.permutations([*filled, intent])):
        after += one.side.sign * one.quantity
        assert abs(after) <= abs(position)
        assert after * position >= 0


def test_the_facts_cannot_be_changed_after_the_check() -> None:
    with pytest.raises(AttributeError):
        healthy().latched = True  # type: ignore[misc]
    assert msgspec.structs.asdict(healthy())["latched"] is False
