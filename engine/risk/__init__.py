"""Risk: what may be done with money now. Pure checks, with a thin shell where something is
published.

Rule: nothing here keeps a limit of its own; thresholds are read from the policy at the moment of
the check. Only this package makes an `Approved`.
"""

from engine.risk.breaker import DrawdownBreaker
from engine.risk.exposure import OpenExposure, open_exposure, worst_position
from engine.risk.facts import DrawdownState, GateFacts, GovernorState
from engine.risk.gate import (
    check,
    check_exit,
    closing_in_flight,
    final_check,
    standing_reasons,
)
from engine.risk.governor import Governor, GovernorRecord
from engine.risk.mark_filter import MarkFilter
from engine.risk.mark_watch import MarkWatch
from engine.risk.room import limits_for, liquidation_price, quantity_left
from engine.risk.sizing import entry_leverage, size_entry

__all__ = [
    "DrawdownBreaker",
    "DrawdownState",
    "GateFacts",
    "Governor",
    "GovernorRecord",
    "GovernorState",
    "MarkFilter",
    "MarkWatch",
    "OpenExposure",
    "check",
    "check_exit",
    "closing_in_flight",
    "entry_leverage",
    "final_check",
    "limits_for",
    "liquidation_price",
    "open_exposure",
    "quantity_left",
    "size_entry",
    "standing_reasons",
    "worst_position",
]
