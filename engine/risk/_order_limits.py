"""The gate's questions about one order: does it fit the venue's filters and every limit of the
profile?

Pure. Positions are judged at their worst, everything in flight and this order counted. Money in
account currency, quantities in base coin.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from engine.model.instrument import Instrument
from engine.model.orders import Intent, OrderState
from engine.model.policy import Profile
from engine.model.reasons import Reason, ReasonCode
from engine.model.values import ZERO, plain
from engine.risk.breaker import percent
from engine.risk.exposure import (
    exposed_symbols,
    gross_notional,
    margin_in_flight,
    value_price,
    worst_position,
)
from engine.risk.facts import GateFacts

DUPLICATE_WITHIN_NS = 5_000_000_000
_UNANSWERED = frozenset({OrderState.INTENDED, OrderState.SUBMITTED, OrderState.UNRESOLVED})
_UNRESOLVED = frozenset({OrderState.UNRESOLVED, OrderState.LOST})


def order_reasons(
    intent: Intent, facts: GateFacts, profile: Profile, *, override_duplicate: bool = False
) -> Iterator[Reason]:
    """Everything that speaks against this order in particular.

    `override_duplicate`: an operator wants it sent although it is the same as a recent one; nothing
    else is waived by it.
    """
    # Zero: it was sized just now, and the approval will put the version on it.
    if intent.policy_version not in (0, facts.policy_version):
        yield Reason(
            code=ReasonCode.POLICY_CHANGED,
            detail=f"sized under version {intent.policy_version}, now it is {facts.policy_version}",
        )
    yield from _symbol_reasons(intent, facts, profile)
    if not override_duplicate:
        yield from _duplicate_reasons(intent, facts)
    price = value_price(intent.symbol, facts, intent)
    if price is None:
        yield Reason(code=ReasonCode.NO_MARK, detail=f"{intent.symbol} has no price yet")
    else:
        if facts.instrument is not None:
            yield from _filter_reasons(intent, price, facts.instrument)
        yield from _size_reasons(intent, price, facts, profile)
        yield from _collar_reasons(intent, facts.marks[intent.symbol], profile)
    yield from _account_reasons(intent, facts, profile)


def _symbol_reasons(intent: Intent, facts: GateFacts, profile: Profile) -> Iterator[Reason]:
    if facts.instrument is None:
        yield Reason(
            code=ReasonCode.SYMBOL_UNKNOWN, detail=f"the venue does not list {intent.symbol}"
        )
    age, limit = facts.market_age_s.get(intent.symbol), profile.max_market_data_age_s
    if age is None or age > limit:
        said = "no price yet" if age is None else f"{age:.1f} s old"
        yield Reason(
            code=ReasonCode.MARKET_DATA_STALE, detail=f"{intent.symbol}: {said}, at most {limit} s"
        )
    unresolved = [
        order.client_order_id
        for order in facts.working
        if order.intent.symbol == intent.symbol and order.state in _UNRESOLVED
    ]
    if unresolved:
        yield Reason(
            code=ReasonCode.SYMBOL_UNRESOLVED,
            detail=f"{intent.symbol}: nobody knows yet what became of {', '.join(unresolved)}",
        )
    if (legs := facts.two_legs.get(intent.symbol)) is not None:
        yield Reason(
            code=ReasonCode.TWO_LEGS,
            detail=f"{intent.symbol} is {legs} at once at the venue: close one of them",
        )
    position = facts.positions.get(intent.symbol, ZERO)
    if intent.side.sign * position < 0:
        yield Reason(
            code=ReasonCode.POSITION_ALREADY_OPEN,
            detail=f"{intent.symbol}: {plain(position)} is open, an entry against it would flip it",
        )


def _duplicate_reasons(intent: Intent, facts: GateFacts) -> Iterator[Reason]:
    candidates = [
        earlier
        for earlier in facts.recent
        if facts.now_ns - earlier.created_ns <= DUPLICATE_WITHIN_NS
    ]
    # One that nobody has answered counts however long ago it was made.
    candidates.extend(order.intent for order in facts.working if order.state in _UNANSWERED)
    for earlier in candidates:
        if earlier.client_order_id != intent.client_order_id and _is_same(earlier, intent):
            age_s = (facts.now_ns - earlier.created_ns) / 1e9
            yield Reason(
                code=ReasonCode.DUPLICATE_ORDER,
                detail=f"the same as {earlier.client_order_id}, {age_s:.1f} s ago",
            )
            return


def _is_same(one: Intent, other: Intent) -> bool:
    return (
        one.symbol == other.symbol
        and one.side is other.side
        and one.quantity == other.quantity
        and one.price == other.price
        and one.reduce_only == other.reduce_only
    )


def _filter_reasons(intent: Intent, price: Decimal, instrument: Instrument) -> Iterator[Reason]:
    quantity, value = intent.quantity, instrument.notional(price, intent.quantity)
    if quantity < instrument.quantity_min or value < instrument.notional_min:
        yield Reason(
            code=ReasonCode.BELOW_VENUE_MINIMUM,
            detail=f"quantity {plain(quantity)} worth {value:.2f}, at least "
            f"{plain(instrument.quantity_min)} worth {plain(instrument.notional_min)}",
        )
    off_price = intent.price is not None and instrument.round_price(intent.price) != intent.price
    if (
        off_price
        or instrument.round_quantity(quantity) != quantity
        or quantity > instrument.quantity_max
    ):
        yield Reason(
            code=ReasonCode.OFF_VENUE_GRID,
            detail=f"quantity {plain(quantity)} in steps of {plain(instrument.quantity_step)}, "
            f"at most {plain(instrument.quantity_max)}; price in ticks of "
            f"{plain(instrument.tick_size)}",
        )


def _size_reasons(
    intent: Intent, price: Decimal, facts: GateFacts, profile: Profile
) -> Iterator[Reason]:
    value, limit = intent.quantity * price, profile.max_order_notional
    if value > limit:
        yield Reason(code=ReasonCode.MAX_ORDER_NOTIONAL, detail=f"{value:.2f}, at most {limit:.2f}")
    position = facts.positions.get(intent.symbol, ZERO)
    worst = worst_position(intent.symbol, position, facts.working, intent).largest * price
    limit = profile.max_position_notional
    if worst > limit:
        yield Reason(
            code=ReasonCode.MAX_POSITION_NOTIONAL,
            detail=f"{worst:.2f} with everything in flight, at most {limit:.2f}",
        )


def _collar_reasons(intent: Intent, mark: Decimal, profile: Profile) -> Iterator[Reason]:
    for price in (intent.price, intent.trigger_price):
        if price is not None and abs(price - mark) > profile.price_collar * mark:
            off = abs(price - mark) / mark
            yield Reason(
                code=ReasonCode.PRICE_COLLAR,
                detail=f"{plain(price)} is {percent(off)} from the mark {plain(mark)}, "
                f"at most {percent(profile.price_collar)}",
            )
            return


def _account_reasons(intent: Intent, facts: GateFacts, profile: Profile) -> Iterator[Reason]:
    leverage_max = profile.max_leverage
    if facts.instrument is not None:
        leverage_max = min(leverage_max, facts.instrument.leverage_max)
    if not 0 < intent.leverage <= leverage_max:
        yield Reason(
            code=ReasonCode.MAX_LEVERAGE,
            detail=f"{plain(intent.leverage)}×, at most {plain(leverage_max)}×",
        )
    symbols = exposed_symbols(facts, intent)
    if len(symbols) > profile.max_open_positions:
        yield Reason(
            code=ReasonCode.MAX_OPEN_POSITIONS,
            detail=f"{len(symbols)} with everything in flight, "
            f"at most {profile.max_open_positions}",
        )
    unpriced = sorted(s for s in symbols - {intent.symbol} if value_price(s, facts) is None)
    if unpriced:
        yield Reason(code=ReasonCode.NO_MARK, detail=f"open without a price: {', '.join(unpriced)}")
    gross, limit = gross_notional(facts, intent), profile.max_gross_exposure * facts.equity
    if gross is not None and gross > limit:
        yield Reason(
            code=ReasonCode.MAX_GROSS_EXPOSURE,
            detail=f"{gross:.2f} with everything in flight, at most {limit:.2f}",
        )
    margin = margin_in_flight(facts, intent)
    if margin is not None and margin > facts.available_margin:
        yield Reason(
            code=ReasonCode.INSUFFICIENT_MARGIN,
            detail=f"{margin:.2f} needed with everything in flight, "
            f"{facts.available_margin:.2f} available",
        )


__all__ = ["DUPLICATE_WITHIN_NS", "order_reasons"]
