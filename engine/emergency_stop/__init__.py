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
from engine.emergency_stop.emergency_stop import EmergencyStop
from engine.emergency_stop.order_series import is_closing_order

__all__ = [
    "EmergencyStop",
    "Exposure",
    "KnownAccount",
    "StopHooks",
    "StopIdentity",
    "StopVenue",
    "is_closing_order",
]
