"""Sizing: fraction × equity × leverage, every cap, the brake, and rounding down."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.ids import SignalId, TraceId
from engine.model.instrument import paper_instrument
from engine.model.policy import replace_value
from engine.model.signals import Signal
from engine.model.values import Side
from engine.model.venue import Approved
from engine.risk import GovernorState, OpenExposure, check, open_exposure, size_entry
from tests.fakes.risk_facts import BTC, ETH, NOW_NS, PROFILE, entry, healthy, working

D = Decimal
FREE = OpenExposure(margin_left=D(100_000))


def signal(**changes: Any) -> Signal:
    values: dict[str, Any] = {
        "id": SignalId("s1"),
        "symbol": BTC,
        "side": Side.BUY,
        "confidence": 0.8,
        "strategy": "breakout",
        "ts_ns": NOW_NS,
        "trace": TraceId("s1"),
    }
    return Signal(**{**values, **changes})


def size(**changes: Any) -> Decimal:
    values: dict[str, Any] = {
        "profile": PROFILE,
        "equity": D(100_000),
        "mark": D(50_000),
        "instrument": paper_instrument(BTC),
        "governor": GovernorState.NORMAL,
        "exposure": FREE,
    }
    given_signal = changes.pop("signal", signal())
    return size_entry(given_signal, **{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "0.2"),  # 0.02 × 100,000 × 5 = 10,000.
        ({"mark": D(49_999)}, "0.2"),  # 0.200004, rounded down.
        ({"mark": D(50_001)}, "0.199"),
        ({"equity": D(50_000)}, "0.1"),
        ({"equity": D(1_000_000)}, "0.2"),  # max_order_notional and max_position_notional hold.
        ({"profile": replace_value(PROFILE, "max_order_notional", D(5_000))}, "0.1"),
        ({"exposure": OpenExposure(symbol_notional=D(7_500), margin_left=D(9_999))}, "0.05"),
        ({"exposure": OpenExposure(gross_notional=D(47_500), margin_left=D(9_999))}, "0.05"),
        ({"exposure": OpenExposure(gross_notional=D(51_000), margin_left=D(9_999))}, "0"),
        ({"exposure": OpenExposure(margin_left=D(500))}, "0.05"),
        ({"exposure": OpenExposure(margin_left=D(-1))}, "0"),
        ({"governor": GovernorState.SOFT_BRAKE}, "0.1"),
        ({"governor": GovernorState.QUARANTINE}, "0"),
        ({"governor": GovernorState.HARD_STOP}, "0"),
        ({"mark": D(20_000_000)}, "0"),  # Less than the venue's minimum.
        ({"mark": D(0)}, "0"),
        ({"equity": D(-1)}, "0"),
        ({"signal": signal(is_exit=True)}, "0"),
    ],
)
def test_size(changes: dict[str, Any], expected: str) -> None:
    assert size(**changes) == D(expected)


def test_exposure_counts_what_is_in_flight() -> None:
    facts = healthy(
        positions={BTC: D("0.1")},
        working=(working(1, quantity=D("0.05")), working(2, symbol=ETH, quantity=D(1))),
    )
    assert open_exposure(BTC, facts) == OpenExposure(
        symbol_notional=D(7_500), gross_notional=D(10_000), margin_left=D(99_000)
    )
    assert open_exposure(BTC, healthy(marks={})) is None


@settings(deadline=None)
@given(
    equity=st.integers(50_000, 5_000_000),
    mark=st.integers(100, 9_000_000).map(lambda cents: D(cents) / 100),
    position=st.integers(0, 500).map(lambda steps: D(steps) / 1_000),
    other=st.integers(0, 30),
    brake=st.booleans(),
)
def test_what_is_sized_passes_the_gate_that_saw_the_same_facts(
    equity: int, mark: Decimal, position: Decimal, other: int, brake: bool
) -> None:
    facts = healthy(
        equity=D(equity),
        available_margin=D(equity),
        positions={BTC: position, ETH: D(other)},
        marks={BTC: mark, ETH: D(2_500)},
        governor=GovernorState.SOFT_BRAKE if brake else GovernorState.NORMAL,
    )
    exposure = open_exposure(BTC, facts)
    assert exposure is not None
    quantity = size(equity=facts.equity, mark=mark, exposure=exposure, governor=facts.governor)
    if quantity:
        assert isinstance(check(entry(quantity=quantity), facts, PROFILE), Approved)
