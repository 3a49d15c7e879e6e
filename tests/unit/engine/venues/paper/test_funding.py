"""When funding is due: by the feed's words, else at the regular times; each payment once."""

from __future__ import annotations

from decimal import Decimal

from engine.model.ids import Symbol
from engine.venues.paper.funding import INTERVAL_NS, NEVER_NS, Due, FundingTimes

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
_S = 1_000_000_000
_RATE = Decimal("0.0001")
# A funding time.
_EIGHT = 60_000 * INTERVAL_NS


def test_at_a_rate_of_zero_nothing_is_ever_due() -> None:
    times = FundingTimes(rate=Decimal(0))
    times.begin(_EIGHT - 1)
    assert times.next_ns == NEVER_NS
    assert times.take(_EIGHT, [BTC]) == []


def test_whoever_is_held_pays_at_each_regular_time_once() -> None:
    times = FundingTimes(rate=_RATE)
    times.begin(_EIGHT - 1)
    assert times.next_ns == _EIGHT
    assert times.take(_EIGHT - 1, [BTC]) == []
    assert times.take(_EIGHT + 5, [BTC, ETH]) == [
        Due(BTC, _RATE, _EIGHT),
        Due(ETH, _RATE, _EIGHT),
    ]
    assert times.take(_EIGHT + 6, [BTC]) == []
    assert times.next_ns == _EIGHT + INTERVAL_NS


def test_what_the_feed_says_of_a_symbol_outranks_the_regular_times() -> None:
    times = FundingTimes(rate=_RATE)
    times.begin(_EIGHT - 1)
    rate = Decimal("-0.0003")
    times.tell(BTC, rate, _EIGHT + 7 * _S, _EIGHT - 5)
    assert times.take(_EIGHT, [BTC, ETH]) == [Due(ETH, _RATE, _EIGHT)]
    assert times.take(_EIGHT + 7 * _S, [BTC]) == [Due(BTC, rate, _EIGHT + 7 * _S)]


def test_the_newest_rate_before_the_time_is_paid() -> None:
    times = FundingTimes(rate=Decimal(0))
    times.tell(BTC, _RATE, _EIGHT, _EIGHT - 900 * _S)
    times.tell(BTC, _RATE * 2, _EIGHT, _EIGHT - 1 * _S)
    assert times.take(_EIGHT, [BTC]) == [Due(BTC, _RATE * 2, _EIGHT)]
    assert times.next_ns == NEVER_NS


def test_a_word_about_the_next_time_does_not_undo_the_last() -> None:
    """The venue's clock is ahead: it speaks of the next time before ours has come to this one."""
    times = FundingTimes(rate=Decimal(0))
    times.tell(BTC, _RATE, _EIGHT, _EIGHT - 900 * _S)
    times.tell(BTC, _RATE * 3, _EIGHT + INTERVAL_NS, _EIGHT - 2 * _S)
    assert times.next_ns == 0, "it is owed at once"
    assert times.take(_EIGHT - 1 * _S, [BTC]) == [Due(BTC, _RATE, _EIGHT)]
    assert times.next_ns == _EIGHT + INTERVAL_NS


def test_a_time_that_was_moved_before_it_came_is_not_owed() -> None:
    times = FundingTimes(rate=Decimal(0))
    times.tell(BTC, _RATE, _EIGHT, _EIGHT - 3600 * _S)
    times.tell(BTC, _RATE, _EIGHT + INTERVAL_NS, _EIGHT - 3599 * _S)
    assert times.take(_EIGHT, [BTC]) == []
