"""The signal queue: bounded, best first, at the allowed rate, victims named."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from engine.execution.signal_queue import SignalQueue
from engine.model.ids import SignalId, Symbol, TraceId
from engine.model.signals import Signal
from engine.model.values import Side

SECOND = 1_000_000_000


def signal(number: int, confidence: float, ts_ns: int = 0) -> Signal:
    return Signal(
        id=SignalId(f"s{number}"),
        symbol=Symbol("BTCUSDT"),
        side=Side.BUY,
        confidence=confidence,
        strategy="test",
        ts_ns=ts_ns,
        trace=TraceId(f"s{number}"),
    )


def test_in_a_full_queue_the_lowest_confidence_loses_its_place_to_a_better_newcomer() -> None:
    queue = SignalQueue()
    for number, confidence in enumerate((0.5, 0.2, 0.9)):
        assert queue.offer(signal(number, confidence), capacity=3).accepted
    offer = queue.offer(signal(3, 0.4), capacity=3)
    assert offer.accepted
    assert offer.victim is not None
    assert offer.victim.id == "s1"
    assert len(queue) == 3


def test_a_newcomer_that_is_no_better_is_the_victim_itself() -> None:
    queue = SignalQueue()
    queue.offer(signal(0, 0.5), capacity=1)
    offer = queue.offer(signal(1, 0.5), capacity=1)
    assert not offer.accepted
    assert offer.victim is not None
    assert offer.victim.id == "s1"


def test_best_confidence_first_and_two_a_second() -> None:
    queue = SignalQueue()
    for number, confidence in enumerate((0.1, 0.9, 0.5)):
        queue.offer(signal(number, confidence), capacity=100)
    rate = Decimal(2)
    taken = [queue.take(now_ns=SECOND + n, rate_per_s=rate) for n in range(3)]
    assert [entry.id if entry else None for entry in taken] == ["s1", "s2", None]
    assert 0.99 < queue.wait_s(now_ns=SECOND + 2, rate_per_s=rate) <= 1.0
    late = queue.take(now_ns=2 * SECOND + 1, rate_per_s=rate)
    assert late is not None
    assert late.id == "s0"


def test_a_rate_below_one_a_second_stretches_the_window() -> None:
    queue = SignalQueue()
    for number in range(2):
        queue.offer(signal(number, 0.5), capacity=10)
    rate = Decimal("0.2")
    assert queue.take(now_ns=0, rate_per_s=rate) is not None
    assert queue.take(now_ns=4 * SECOND, rate_per_s=rate) is None
    assert queue.take(now_ns=5 * SECOND, rate_per_s=rate) is not None


def test_a_rate_of_zero_lets_nothing_through() -> None:
    queue = SignalQueue()
    queue.offer(signal(0, 0.5), capacity=10)
    assert queue.take(now_ns=0, rate_per_s=Decimal(0)) is None


def test_old_signals_expire() -> None:
    queue = SignalQueue()
    queue.offer(signal(0, 0.5, ts_ns=0), capacity=10)
    queue.offer(signal(1, 0.5, ts_ns=3 * SECOND), capacity=10)
    expired = queue.expire(now_ns=6 * SECOND, ttl_s=Decimal(5))
    assert [entry.id for entry in expired] == ["s0"]
    assert len(queue) == 1


def test_a_capacity_that_shrinks_takes_the_weakest_out() -> None:
    queue = SignalQueue()
    for number, confidence in enumerate((0.5, 0.2, 0.9, 0.2)):
        queue.offer(signal(number, confidence, ts_ns=number), capacity=10)
    assert [entry.id for entry in queue.trim(capacity=2)] == ["s3", "s1"]
    assert queue.trim(capacity=2) == []
    assert len(queue) == 2


@given(
    st.lists(st.floats(min_value=0, max_value=1), max_size=300),
    st.integers(min_value=1, max_value=100),
)
def test_a_flood_never_overruns_the_queue_and_nobody_is_lost(
    confidences: list[float], capacity: int
) -> None:
    queue = SignalQueue()
    victims = []
    for number, confidence in enumerate(confidences):
        offer = queue.offer(signal(number, confidence), capacity=capacity)
        if offer.victim is not None:
            victims.append(offer.victim)
        assert len(queue) <= capacity
    assert len(queue) + len(victims) == len(confidences)
    kept: list[float] = []
    while (best := queue.take(now_ns=len(kept) * SECOND, rate_per_s=Decimal(1))) is not None:
        kept.append(best.confidence)
    assert kept == sorted(kept, reverse=True)
    assert all(victim.confidence <= min(kept) for victim in victims)
