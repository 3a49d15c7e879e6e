"""The event bus: typed, ordered, bounded, with a fast path that nothing can delay.

Rule: handlers are synchronous and short; whoever may be slow hands over at once and works
elsewhere.
"""

from engine.bus.event_bus import EventBus

__all__ = ["EventBus"]
