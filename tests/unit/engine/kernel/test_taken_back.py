"""What events give back to a restored database: money follows them, safety only gets stricter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.kernel.standing import HALTED
from engine.kernel.taken_back import Rebuilding
from engine.kernel.wiring import GOVERNOR
from engine.model import events as ev
from engine.model.emergency import Trip, TripSource
from engine.model.ids import (
    ClientOrderId,
    EventId,
    ExecutionId,
    Symbol,
    TraceId,
    TradeId,
    TripId,
)
from engine.model.orders import OrderPurpose, OrderState
from engine.model.policy import seeded
from engine.model.values import Side
from engine.portfolio import LedgerTotals
from engine.risk import GovernorRecord, GovernorState
from engine.trade_state import OpenState

BTC = Symbol("BTCUSDT")
DAY_NS = 86_400_000_000_000
NOW_NS = 20_000 * DAY_NS + 1
INITIAL = Decimal(100_000)


def state(**changes: Any) -> OpenState:
    empty: dict[str, Any] = {
        **dict.fromkeys(("orders", "positions", "trades", "executions"), ()),
        **dict.fromkeys(("trips", "clearings", "alarms"), ()),
        **{"generation": 2, "last_mark": None, "totals_json": None, "loss_streak": 0},
        **{"highest_number": 0, "last_fill_ns": 0, "standing": {}},
        "policy": seeded(INITIAL, live=False),
    }
    return OpenState(**(empty | changes))


def rebuilding(opened: OpenState | None = None, *, latched: bool = False) -> Rebuilding:
    return Rebuilding(
        state=opened or state(),
        initial=INITIAL,
        currency="USDT",
        node="desk",
        latched=latched,
        live=False,
        now_ns=NOW_NS,
    )


def common(number: int, *, ts_ns: int = NOW_NS) -> ev.Common:
    identifier = f"e-{number}"
    return {
        "id": EventId(identifier),
        "ts_ns": ts_ns,
        "source": "engine",
        "trace": TraceId(identifier),
    }


def order(kind: type[ev.OrderEvent], number: int, **changes: Any) -> Any:
    return kind(
        **common(number),
        client_order_id=ClientOrderId("desk-g1-1"),
        symbol=BTC,
        side=Side.BUY,
        quantity=Decimal(2),
        **changes,
    )


def filled(number: int, execution: str, quantity: str, price: str, **changes: Any) -> Any:
    return order(
        ev.OrderFilled,
        number,
        execution_id=ExecutionId(execution),
        last_quantity=Decimal(quantity),
        last_price=Decimal(price),
        fee=Decimal(1),
        fee_currency="USDT",
        executed_at=NOW_NS + number,
        **changes,
    )


def opened(number: int, trade: str) -> ev.TradeOpened:
    return ev.TradeOpened(
        **common(number),
        trade_id=TradeId(trade),
        symbol=BTC,
        side=Side.BUY,
        quantity=Decimal(1),
        entry_price=Decimal(100),
        opened_at=1,
    )


def equity(number: int, value: str, peak: str, *, ts_ns: int = NOW_NS) -> ev.AccountEquityUpdated:
    return ev.AccountEquityUpdated(
        **common(number, ts_ns=ts_ns),
        equity=Decimal(value),
        balance=Decimal(value),
        unrealised=Decimal(0),
        peak=Decimal(peak),
        drawdown=Decimal(0),
    )


def totals_of(changed: Any) -> LedgerTotals:
    assert isinstance(changed.totals, LedgerTotals)
    return changed.totals


def test_an_order_its_fills_and_its_trade_come_back() -> None:
    follower = rebuilding()
    events = [
        order(ev.OrderIntended, 1, purpose=OrderPurpose.ENTRY, strategy="breakout"),
        order(ev.OrderSubmitted, 2),
        filled(3, "x-1", "1", "100"),
        opened(4, "t-9"),
        filled(5, "x-2", "1", "102"),
        filled(6, "x-1", "1", "100"),
    ]
    changed = follower.follow(events)
    record = changed.orders["desk-g1-1"]
    assert (record.state, record.filled, record.fees) == (OrderState.FILLED, 2, 2)
    assert record.filled_notional == 202
    assert changed.intents[0].strategy == "breakout"
    assert [fill.execution_id for fill in changed.fills] == ["x-1", "x-2"]
    assert changed.fills[0].ts_ns == NOW_NS + 3
    assert changed.positions[BTC].quantity == 2
    assert changed.positions[BTC].entry_price == 101
    assert list(changed.trades) == ["t-9"]
    assert changed.trades["t-9"].strategy == "breakout"
    assert totals_of(changed).fees == 2
    assert follower.not_applied == {"order.filled": 1}, "an execution counts once"


def test_a_fill_waits_for_the_trade_that_was_told_with_it() -> None:
    follower = rebuilding()
    events = [order(ev.OrderIntended, 1), filled(2, "x-1", "1", "100"), opened(3, "t-9")]
    assert follower.complete(events[:2]) == 1
    assert follower.complete(events) == 1
    assert follower.complete([*events, order(ev.OrderAccepted, 4)]) == 4
    assert follower.complete([None, order(ev.OrderIntended, 1)]) == 2


def test_a_true_execution_takes_the_place_of_the_inferred_fill_once() -> None:
    """The position is told by the inferred fill; price and fee by what replaced it."""
    follower = rebuilding()
    inferred = filled(2, "inferred:v-1:2", "2", "100")
    true = filled(
        4,
        "x-1",
        "2",
        "101",
        replaces="inferred:v-1:2",
        replaced_price=Decimal(100),
        replaced_at=inferred.executed_at,
    )
    changed = follower.follow([order(ev.OrderIntended, 1), inferred, opened(3, "t-9"), true, true])
    record = changed.orders["desk-g1-1"]
    assert (record.state, record.filled, record.filled_notional) == (OrderState.FILLED, 2, 202)
    assert changed.positions[BTC].quantity == 2
    assert changed.positions[BTC].entry_price == 101
    assert [(one.execution_id, one.quantity) for one in changed.replaced] == [("inferred:v-1:2", 0)]
    assert totals_of(changed).fees == 2
    assert follower.not_applied == {"order.filled": 1}


def test_the_money_of_an_order_opened_elsewhere_counts() -> None:
    follower = rebuilding()
    changed = follower.follow([order(ev.OrderAccepted, 1), filled(2, "x-1", "1", "100")])
    assert changed.positions[BTC].quantity == 1
    assert changed.orders == {}
    assert follower.not_applied == {"order.accepted": 1}


def test_the_peak_rises_and_falls_only_after_a_reset() -> None:
    trip = Trip(id=TripId("x-1"), source=TripSource.BUTTON, reason="r", ts_ns=1)
    follower = rebuilding(state(trips=(trip,)))
    changed = follower.follow([equity(1, "101000", "105000"), equity(2, "99000", "99000")])
    assert totals_of(changed).peak == 105_000
    reset = ev.EmergencyReset(**common(3), trip_id=TripId("x-1"), phase="cleared", reason="ok")
    later = follower.follow([reset, equity(4, "99000", "99000", ts_ns=NOW_NS + DAY_NS)])
    assert totals_of(later).peak == 99_000
    assert (totals_of(later).day, totals_of(later).day_start_equity) == (20_001, 99_000)
    assert later.clearings[0].trips == ("x-1",)


def test_a_reset_that_the_latch_file_does_not_confirm_is_not_taken() -> None:
    follower = rebuilding(latched=True)
    reset = ev.EmergencyReset(**common(1), trip_id=TripId("x-1"), phase="cleared", reason="ok")
    assert follower.follow([reset]).clearings == []
    assert follower.not_applied == {"system.emergency.reset": 1}


def test_a_trip_keeps_its_source_and_other_phases_are_none() -> None:
    follower = rebuilding()
    words: list[tuple[str, str]] = [
        ("tripped", "drawdown: 12 % lost"),
        ("completed", "drawdown: 12 % lost"),
        ("tripped", "somebody: what"),
    ]
    changed = follower.follow(
        [
            ev.EmergencyTriggered(**common(n), trip_id=TripId(f"x-{n}"), phase=phase, reason=reason)
            for n, (phase, reason) in enumerate(words)
        ]
    )
    assert [(one.id, one.source, one.reason) for one in changed.trips] == [
        ("x-0", TripSource.DRAWDOWN, "12 % lost"),
        ("x-2", TripSource.BUS, "somebody: what"),
    ]


def policy_changed(version: int, **changes: tuple[str, str]) -> ev.PolicyChanged:
    dotted = {name.replace("__", "."): pair for name, pair in changes.items()}
    return ev.PolicyChanged(
        **common(version), version=version, author="ann", reason="because", changes=dotted
    )


def test_of_a_policy_version_the_stricter_values_are_taken_and_the_looser_named() -> None:
    before = seeded(INITIAL, live=False)
    follower = rebuilding()
    changed = follower.follow(
        [
            policy_changed(before.version, conservative__max_leverage=("5", "1")),
            policy_changed(
                before.version + 1,
                conservative__max_leverage=("5", "4"),
                aggressive__max_leverage=("20", "25"),
                nonsense=("1", "2"),
            ),
        ]
    )
    [document] = changed.policies
    assert document.version == before.version + 1
    assert document.profiles["conservative"].max_leverage == 4
    assert document.profiles["aggressive"] == before.profiles["aggressive"]
    assert "left out as looser: aggressive.max_leverage, nonsense" in document.reason
    assert follower.not_applied["policy.changed, looser: aggressive.max_leverage"] == 1
    assert follower.not_applied["policy.changed"] == 1, "a version that is here stays as it is"


def test_of_a_conflict_the_stricter_value_of_both_sides_is_taken() -> None:
    before = seeded(INITIAL, live=False)
    follower = rebuilding()
    changed = follower.follow(
        [
            ev.PolicyConflicted(
                **common(1),
                version=before.version + 2,
                author="merge",
                reason="both sides changed",
                changes={
                    "conservative.max_leverage": ("4", "3"),
                    "aggressive.max_leverage": ("25", "18"),
                },
            )
        ]
    )
    [document] = changed.policies
    assert document.version == before.version + 2
    assert document.profiles["conservative"].max_leverage == 3
    assert document.profiles["aggressive"].max_leverage == 18
    assert not follower.not_applied


@pytest.mark.parametrize(
    ("held_before", "words", "held"),
    [
        (False, ["halted"], "lunch"),
        (False, ["halted", "running"], None),
        (True, ["running"], "unsaid"),
        (True, ["halted", "running"], "lunch"),
    ],
)
def test_a_hold_comes_back_and_one_of_before_the_backup_stays(
    held_before: bool, words: list[str], held: str | None
) -> None:
    follower = rebuilding(state(standing={HALTED: "earlier"} if held_before else {}))
    changed = follower.follow(
        [
            ev.EngineStateChanged(**common(n), state=word, why="lunch")
            for n, word in enumerate(words)
        ]
    )
    assert changed.standing.get(HALTED, "unsaid") == held


def test_the_governor_only_climbs() -> None:
    record = GovernorRecord(state=GovernorState.SOFT_BRAKE, has_profited=True)
    standing = {GOVERNOR: msgspec.json.encode(record).decode()}

    def moved(to: str) -> dict[str, str | None]:
        event = ev.GovernorChanged(
            **common(1),
            state=to,
            reason_codes=(),
            metric="m",
            value=Decimal(0),
            threshold=Decimal(0),
        )
        return rebuilding(state(standing=standing)).follow([event]).standing

    assert moved("NORMAL") == {}
    raised = moved("QUARANTINE")[GOVERNOR]
    assert raised is not None
    found = msgspec.json.decode(raised, type=GovernorRecord)
    assert (found.state, found.has_profited) == (GovernorState.QUARANTINE, True)
