"""The gate: says yes or no to an order before it leaves the desk, with every reason and its
figures.

Why here: every entry to a venue passes this one function, so a limit is written once. Pure: no
clock, no I/O; the facts come in as a value. Fails closed: what cannot be judged is refused. Exits
are refused for one reason only, that they would not reduce. Units as in `engine.risk.facts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from engine.model.errors import require
from engine.model.ids import Symbol
from engine.model.orders import Intent, OrderPurpose, OrderRecord, OrderState
from engine.model.policy import Profile
from engine.model.reasons import Reason, ReasonCode
from engine.model.values import ZERO, Side, plain
from engine.model.venue import Approved
from engine.risk._infrastructure import infrastructure_reasons, permission_reasons
from engine.risk._order_limits import order_reasons
from engine.risk._risk_measures import measure_reasons
from engine.risk.facts import GateFacts


def check(
    intent: Intent, facts: GateFacts, profile: Profile, *, override_duplicate: bool = False
) -> Approved | tuple[Reason, ...]:
    """Judge an entry: the approval, or every reason against it, never an empty tuple.

    `override_duplicate` waives the rule against identical orders (R-EXE-3), and only that one.
    """
    is_meant = intent.purpose is OrderPurpose.ENTRY and not intent.reduce_only
    require(is_meant, "the gate judges entries; exits go through check_exit")
    reasons = (
        *standing_reasons(facts, profile),
        *order_reasons(intent, facts, profile, override_duplicate=override_duplicate),
    )
    if reasons:
        return reasons
    # Every order carries the policy version that allowed it (R-POL-2).
    stamped = msgspec.structs.replace(intent, policy_version=facts.policy_version)
    return Approved(intent=stamped, policy_version=facts.policy_version, approved_ns=facts.now_ns)


def standing_reasons(facts: GateFacts, profile: Profile) -> tuple[Reason, ...]:
    """What holds every entry back now, whatever it is; empty while the gate is open."""
    return (
        *permission_reasons(facts),
        *infrastructure_reasons(facts, profile),
        *measure_reasons(facts, profile),
    )


def check_exit(
    intent: Intent,
    *,
    position: Decimal,
    working: Iterable[OrderRecord],
    fresh_read_ns: int | None = None,
) -> tuple[Reason, ...]:
    """Judge an exit or a protective stop; empty means that it may go.

    Refused only when the position afterwards could be larger or on the other side, with every
    order in flight on the same side counted. Not counted: resting reduce-only stops and
    take-profits (they can only reduce, and are cancelled by the venue or us when the position is
    gone), and reduce-only orders that were sent before a fresh read of `position` and never
    answered: those may be tried again (R-EXE-4).
    """
    if not intent.reduce_only:
        return (_would_not_reduce("it is not marked reduce-only"),)
    if position == 0:
        return (_would_not_reduce("there is no position"),)
    if intent.side.sign * position > 0:
        return (_would_not_reduce(f"it is on the side of the position of {plain(position)}"),)
    in_flight = ZERO
    if not intent.kind.is_conditional:
        others = (one for one in working if one.client_order_id != intent.client_order_id)
        in_flight = closing_in_flight(
            intent.symbol, intent.side, others, fresh_read_ns=fresh_read_ns
        )
    if intent.quantity <= 0 or intent.quantity + in_flight > abs(position):
        return (
            _would_not_reduce(
                f"quantity {plain(intent.quantity)} and {plain(in_flight)} in flight,"
                f" the position is {plain(position)}"
            ),
        )
    return ()


def closing_in_flight(
    symbol: Symbol,
    side: Side,
    working: Iterable[OrderRecord],
    *,
    fresh_read_ns: int | None = None,
) -> Decimal:
    """What is on its way on the closing side, as `check_exit` counts it: a close has room for the
    rest of the position.
    """
    return sum(
        (
            order.remaining
            for order in working
            if order.intent.symbol == symbol
            and order.intent.side is side
            and _counts_against_exit(order, fresh_read_ns)
        ),
        ZERO,
    )


def _counts_against_exit(order: OrderRecord, fresh_read_ns: int | None) -> bool:
    if order.external and not order.intent.reduce_only:
        # Somebody else's resting order may never fill, and ours can only reduce: being unable to
        # close is the greater risk.
        return False
    if not order.intent.reduce_only:
        return True
    if order.intent.kind.is_conditional:
        return False
    return not (
        fresh_read_ns is not None
        and order.state is OrderState.UNRESOLVED
        and order.updated_ns < fresh_read_ns
    )


def _would_not_reduce(detail: str) -> Reason:
    return Reason(code=ReasonCode.WOULD_NOT_REDUCE, detail=detail)


def final_check(
    approved: Approved, *, latched: bool, halted: bool, policy_version: int
) -> tuple[Reason, ...]:
    """Right before the bytes leave: every await since the gate may have changed these three."""
    if not latched and not halted and approved.policy_version == policy_version:
        return ()
    reasons = []
    if latched:
        reasons.append(Reason(code=ReasonCode.LATCHED, detail="the emergency stop is latched"))
    if halted:
        reasons.append(Reason(code=ReasonCode.HALTED, detail="entries are held"))
    if approved.policy_version != policy_version:
        detail = f"approved under version {approved.policy_version}, now it is {policy_version}"
        reasons.append(Reason(code=ReasonCode.POLICY_CHANGED, detail=detail))
    return tuple(reasons)


__all__ = ["check", "check_exit", "closing_in_flight", "final_check", "standing_reasons"]
