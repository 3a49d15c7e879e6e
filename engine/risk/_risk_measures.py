"""The gate's questions about the account: is there room for more risk at all?

Pure. The figures are judged here again and not only by the breaker's state, since the policy may
have been tightened since the last change of equity. Losses are positive fractions.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.model.policy import Profile
from engine.model.reasons import Reason, ReasonCode
from engine.risk.breaker import percent
from engine.risk.facts import DrawdownState, GateFacts, GovernorState


def measure_reasons(facts: GateFacts, profile: Profile) -> Iterator[Reason]:
    """Drawdown, daily loss, loss streak, minimum balance, governor, entries a minute."""
    yield from _drawdown_reasons(facts, profile)
    if facts.daily_loss >= profile.max_daily_loss:
        yield Reason(
            code=ReasonCode.DAILY_LOSS,
            detail=f"{percent(facts.daily_loss)} lost today, "
            f"the limit is {percent(profile.max_daily_loss)}",
        )
    if 0 < profile.max_consecutive_losses <= facts.loss_streak:
        yield Reason(
            code=ReasonCode.LOSS_STREAK,
            detail=f"{facts.loss_streak} losing trades in a row, "
            f"the limit is {profile.max_consecutive_losses}",
        )
    if facts.equity < profile.min_balance:
        yield Reason(
            code=ReasonCode.MIN_BALANCE,
            detail=f"equity {facts.equity:.2f}, the minimum is {profile.min_balance:.2f}",
        )
    if facts.governor is GovernorState.QUARANTINE:
        yield Reason(code=ReasonCode.GOVERNOR_QUARANTINE, detail="only exits are allowed")
    if facts.governor is GovernorState.HARD_STOP:
        yield Reason(code=ReasonCode.GOVERNOR_HARD_STOP, detail="the governor has stopped trading")
    if facts.entries_last_minute >= profile.max_orders_per_minute:
        yield Reason(
            code=ReasonCode.MAX_ORDERS_PER_MINUTE,
            detail=f"{facts.entries_last_minute} in the last 60 s, "
            f"at most {profile.max_orders_per_minute}",
        )


def _drawdown_reasons(facts: GateFacts, profile: Profile) -> Iterator[Reason]:
    drawdown, state = facts.drawdown, facts.drawdown_state
    if state is DrawdownState.UNKNOWN or drawdown is None:
        yield Reason(
            code=ReasonCode.DRAWDOWN_UNKNOWN, detail="a position is open that cannot be priced"
        )
        return
    soft, hard = profile.drawdown_soft, profile.drawdown_hard
    if state is DrawdownState.HARD or drawdown >= hard:
        yield Reason(
            code=ReasonCode.DRAWDOWN_HARD,
            detail=f"{percent(drawdown)}, the limit is {percent(hard)}",
        )
    elif state is DrawdownState.SOFT or drawdown >= soft:
        yield Reason(
            code=ReasonCode.DRAWDOWN_SOFT,
            detail=f"{percent(drawdown)}, the limit is {percent(soft)} and ends 0.5 % below it",
        )


__all__ = ["measure_reasons"]
