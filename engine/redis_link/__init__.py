"""The link to Redis: mirrors the journal into the node's stream, exactly once and in order.

Rule: Redis being away needs no special case; the journal's unsent tail is the buffer, and the link
says truthfully whether it is up.
"""

from engine.redis_link.link import RedisLink
from engine.redis_link.mode import LinkSettings, choose

__all__ = ["LinkSettings", "RedisLink", "choose"]
