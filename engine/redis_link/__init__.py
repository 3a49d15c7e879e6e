"""The link to Redis: mirrors the journal into the node's stream, exactly once and in order, and
carries what the desk shares.

Rule: Redis being away needs no special case; the journal's unsent tail is the buffer, and the link
says truthfully whether it is up.
"""

from engine.redis_link.desk_connection import CHANGES_KEY, CHANGES_MAX, DeskConnection
from engine.redis_link.faults import LINK_FAULTS, LinkFault
from engine.redis_link.ingress import Ingress
from engine.redis_link.link import RedisLink
from engine.redis_link.mode import LinkSettings, choose
from engine.redis_link.past_events import PastEvents
from engine.redis_link.recovery_part import RecoveryPart
from engine.redis_link.shared_emergency import (
    EMERGENCY_KEY,
    EMERGENCY_TOPIC,
    FoundEmergency,
    SharedEmergency,
)
from engine.redis_link.shared_policy import POLICY_KEY, POLICY_TOPIC, RedisSharedPolicy

__all__ = [
    "CHANGES_KEY",
    "CHANGES_MAX",
    "EMERGENCY_KEY",
    "EMERGENCY_TOPIC",
    "LINK_FAULTS",
    "POLICY_KEY",
    "POLICY_TOPIC",
    "DeskConnection",
    "FoundEmergency",
    "Ingress",
    "LinkFault",
    "LinkSettings",
    "PastEvents",
    "RecoveryPart",
    "RedisLink",
    "RedisSharedPolicy",
    "SharedEmergency",
    "choose",
]
