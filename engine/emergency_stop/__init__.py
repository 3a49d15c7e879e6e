"""The emergency stop: the latch, the procedure that closes everything, and the lists around it.

Its one rule: it needs a venue and nothing else. Disk, database, Redis, bus and policy are told,
never asked and never waited for.
"""

from engine.emergency_stop.collaborators import (
    Exposure,
    KnownAccount,
    StopHooks,
    StopIdentity,
    StopVenue,
)
from engine.emergency_stop.conditions import (
    LINKS_UP_S,
    ResetFacts,
    StartFacts,
    clearing_conditions,
    reset_conditions,
    start_conditions,
    unmet,
)
from engine.emergency_stop.emergency_stop import EmergencyStop
from engine.emergency_stop.flattening import FlatProof
from engine.emergency_stop.order_series import is_closing_order

__all__ = [
    "LINKS_UP_S",
    "EmergencyStop",
    "Exposure",
    "FlatProof",
    "KnownAccount",
    "ResetFacts",
    "StartFacts",
    "StopHooks",
    "StopIdentity",
    "StopVenue",
    "clearing_conditions",
    "is_closing_order",
    "reset_conditions",
    "start_conditions",
    "unmet",
]
