"""The guarded reset of the emergency stop (R-ESS-5): one list of conditions, and starts nothing.

Trips are cleared by name, every measure that would trip again is re-based by name or must change
first, and all of it is audited. Order: START needed is durable first, then the latch is armed, then
trip clearing, re-bases and audit are recorded; a crash anywhere in between leaves the engine latched or
READY, never trading.
"""

from __future__ import annotations

from engine.api import CommandResult
from engine.emergency_stop import ResetFacts, reset_conditions
from engine.kernel.operator_commands import NEEDS_START, OperatorCommands
from engine.kernel.parts import Parts
from engine.model.emergency import REBASES, Clearing, Condition, ResetRequest
from engine.model.errors import StoreError
from engine.model.snapshots import EngineState, LinkState
from engine.risk import DrawdownState

_WHY_MIN_BALANCE = "equity is below min_balance: lower it in the policy, or add capital"


class ResetCommand:
    """Checks and carries out a reset."""

    def __init__(self, *, parts: Parts, commands: OperatorCommands) -> None:
        self._parts = parts
        self._commands = commands

    def would_trip_again(self) -> tuple[str, ...]:
        """Measures that would trip again at once."""
        parts = self._parts
        account = parts.ledger.account()
        found = parts.breaker.would_trip(
            equity=account.equity,
            peak=account.peak,
            day_start=account.day_start_equity,
            losses=account.loss_streak,
        )
        capital = parts.policy.active().governor
        loss = (account.capital - account.equity) / account.capital
        return (*found, "capital") if loss >= capital.hard else found

    def conditions(self, request: ResetRequest | None = None) -> tuple[Condition, ...]:
        """The list for console and command line; without a request, as far as it can be told."""
        raise NotImplementedError


__all__ = ["ResetCommand"]
