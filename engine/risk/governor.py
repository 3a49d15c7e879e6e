"""The governor: brakes by the loss from *initial* capital, rung by rung, and lets go slowly.

Initial capital and not the peak, so that a profitable account is not braked by its own high; the
breaker watches the high. A pure table with a thin shell: up the ladder at once, straight to the
rung that the loss asks for; down one rung at a time, and only when the loss has stayed below the
recovery line for the whole cool-down; or to NORMAL by an audited re-base. Losses are positive
fractions of initial capital, times UTC nanoseconds, so that the cool-down survives a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model import policy
from engine.model.emergency import TripSource
from engine.model.errors import require
from engine.model.events import CircuitBreakerTriggered, Event, GovernorChanged
from engine.model.values import ONE, ZERO
from engine.risk.breaker import Trip, percent
from engine.risk.facts import GovernorState
from engine.runtime import Stamper

# Having been above this multiple of initial capital, a loss is called eroded profit.
PROFIT_MARK = Decimal("1.05")


class GovernorTrigger(StrEnum):
    """What moves the governor."""

    LOSS_SOFT = "loss_soft"
    LOSS_QUARANTINE = "loss_quarantine"
    LOSS_HARD = "loss_hard"
    COOLED_DOWN = "cooled_down"
    REBASED = "rebased"


_S = GovernorState
_T = GovernorTrigger
# What is not in the table changes nothing: a milder loss never lowers a rung by itself.
TRANSITIONS: Mapping[tuple[GovernorState, GovernorTrigger], GovernorState] = {
    (_S.NORMAL, _T.LOSS_SOFT): _S.SOFT_BRAKE,
    (_S.NORMAL, _T.LOSS_QUARANTINE): _S.QUARANTINE,
    (_S.NORMAL, _T.LOSS_HARD): _S.HARD_STOP,
    (_S.SOFT_BRAKE, _T.LOSS_QUARANTINE): _S.QUARANTINE,
    (_S.SOFT_BRAKE, _T.LOSS_HARD): _S.HARD_STOP,
    (_S.QUARANTINE, _T.LOSS_HARD): _S.HARD_STOP,
    (_S.HARD_STOP, _T.COOLED_DOWN): _S.QUARANTINE,
    (_S.QUARANTINE, _T.COOLED_DOWN): _S.SOFT_BRAKE,
    (_S.SOFT_BRAKE, _T.COOLED_DOWN): _S.NORMAL,
    (_S.SOFT_BRAKE, _T.REBASED): _S.NORMAL,
    (_S.QUARANTINE, _T.REBASED): _S.NORMAL,
    (_S.HARD_STOP, _T.REBASED): _S.NORMAL,
}


class GovernorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that must survive a restart. `below_since_ns` is None while above the recovery line."""

    state: GovernorState = GovernorState.NORMAL
    has_profited: bool = False
    below_since_ns: int | None = None


class Move(msgspec.Struct, frozen=True):
    """The record after an equity, and what moved it, if anything did."""

    record: GovernorRecord
    trigger: GovernorTrigger | None


def loss_fraction(equity: Decimal, initial: Decimal) -> Decimal:
    """Loss from initial capital as a positive fraction, zero when there is a profit."""
    if initial <= 0:
        return ONE
    return max(ZERO, (initial - equity) / initial)


def advance(
    record: GovernorRecord,
    *,
    equity: Decimal,
    initial: Decimal,
    now_ns: int,
    rungs: policy.Governor,
) -> Move:
    """One step of the machine, for a new equity. Pure."""
    loss = loss_fraction(equity, initial)
    has_profited = record.has_profited or equity > PROFIT_MARK * initial
    trigger = _loss_trigger(loss, rungs)
    following = None if trigger is None else TRANSITIONS.get((record.state, trigger))
    if following is not None:
        return Move(GovernorRecord(state=following, has_profited=has_profited), trigger)
    below_since = record.below_since_ns
    if record.state is GovernorState.NORMAL or loss >= rungs.recover:
        below_since = None
    elif below_since is None:
        below_since = now_ns
    elif now_ns - below_since >= rungs.cooldown_s * 1_000_000_000:
        lower = TRANSITIONS[record.state, GovernorTrigger.COOLED_DOWN]
        return Move(
            GovernorRecord(state=lower, has_profited=has_profited, below_since_ns=now_ns),
            GovernorTrigger.COOLED_DOWN,
        )
    if below_since == record.below_since_ns and has_profited == record.has_profited:
        return Move(record, None)
    return Move(
        msgspec.structs.replace(record, has_profited=has_profited, below_since_ns=below_since), None
    )


def _loss_trigger(loss: Decimal, rungs: policy.Governor) -> GovernorTrigger | None:
    if loss >= rungs.hard:
        return GovernorTrigger.LOSS_HARD
    if loss >= rungs.quarantine:
        return GovernorTrigger.LOSS_QUARANTINE
    return GovernorTrigger.LOSS_SOFT if loss >= rungs.soft else None


class Governor:
    """The shell: keeps the record, tells of every rung, trips the stop on the last one.

    `remember` is called with each changed record, for the database.
    """

    def __init__(
        self,
        *,
        rungs: Callable[[], policy.Governor],
        trip: Trip,
        emit: Callable[[Event], object],
        stamp: Stamper,
        remember: Callable[[GovernorRecord], object],
        restored: GovernorRecord,
    ) -> None:
        self._rungs = rungs
        self._trip = trip
        self._emit = emit
        self._stamp = stamp
        self._remember = remember
        self._record = restored

    @property
    def state(self) -> GovernorState:
        return self._record.state

    @property
    def record(self) -> GovernorRecord:
        return self._record

    def on_equity(self, equity: Decimal, initial: Decimal, now_ns: int) -> None:
        """Judge a new equity; on reaching HARD_STOP the stop has tripped on return."""
        rungs = self._rungs()
        move = advance(self._record, equity=equity, initial=initial, now_ns=now_ns, rungs=rungs)
        if move.record is self._record:
            return
        self._record = move.record
        if move.trigger is not None:
            loss = loss_fraction(equity, initial)
            if move.record.state is GovernorState.HARD_STOP:
                self._trip_and_tell(loss, rungs)
            self._tell(move.trigger, loss, rungs)
        self._remember(move.record)

    def rebase(self, *, is_flat: bool) -> None:
        """Start anew from re-based capital; only when flat (the reset's condition, R-RSK-2)."""
        require(is_flat, "the governor is re-based only when flat")
        before = self._record.state
        self._record = GovernorRecord()
        if before is not GovernorState.NORMAL:
            self._tell(GovernorTrigger.REBASED, ZERO, self._rungs())
        self._remember(self._record)

    def _trip_and_tell(self, loss: Decimal, rungs: policy.Governor) -> None:
        reason = (
            f"loss of {percent(loss)} from initial capital, "
            f"the governor stops at {percent(rungs.hard)}"
        )
        self._trip(TripSource.GOVERNOR, reason)
        self._emit(
            CircuitBreakerTriggered(
                **self._stamp(),
                reason=reason,
                current_drawdown=loss,
                max_drawdown=rungs.hard,
                metric="governor",
                value=loss,
                threshold=rungs.hard,
            )
        )

    def _tell(self, trigger: GovernorTrigger, loss: Decimal, rungs: policy.Governor) -> None:
        state = self._record.state
        threshold = {
            GovernorState.NORMAL: rungs.recover,
            GovernorState.SOFT_BRAKE: rungs.soft,
            GovernorState.QUARANTINE: rungs.quarantine,
            GovernorState.HARD_STOP: rungs.hard,
        }[state]
        if trigger in (GovernorTrigger.COOLED_DOWN, GovernorTrigger.REBASED):
            codes: tuple[str, ...] = (trigger.value.upper(),)
            threshold = rungs.recover
        else:
            kind = "PROFIT_ERODED" if self._record.has_profited else "MAX_DRAWDOWN"
            codes = (f"{kind}_{state.value}",)
        self._emit(
            GovernorChanged(
                **self._stamp(),
                state=state.value,
                reason_codes=codes,
                metric="loss_from_initial",
                value=loss,
                threshold=threshold,
            )
        )


__all__ = [
    "PROFIT_MARK",
    "TRANSITIONS",
    "Governor",
    "GovernorRecord",
    "GovernorTrigger",
    "Move",
    "advance",
    "loss_fraction",
]
