"""The bus's records of an event type and of a subscription.

A channel keeps its handlers as a tuple that is replaced, never changed: whoever subscribes or
leaves while an event is delivered takes effect with the next event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from engine.model.events import Event
from engine.model.snapshots import BusHandlerSnapshot, BusTypeSnapshot

_log = logging.getLogger(__name__)
Handler = Callable[[Any], None]

# A burst of faults is over when a handler was well for this long.
_BURST_NS = 10_000_000_000
_WORDS_MAX = 120


class Burst:
    """Says which of many faults to log: the first of a burst, with how many went before in
    silence."""

    __slots__ = ("_last_ns", "_silent")

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._silent = 0

    def note(self, now_ns: int) -> int | None:
        """Note a fault; the number not logged since the last line, or None when this one is silent
        too."""
        begins = self._last_ns is None or now_ns - self._last_ns > _BURST_NS
        self._last_ns = now_ns
        if not begins:
            self._silent += 1
            return None
        silent, self._silent = self._silent, 0
        return silent


class Subscription:
    """A handler, what it listens to, and its record."""

    __slots__ = (
        "error_burst",
        "errors",
        "fault",
        "fault_ns",
        "handler",
        "name",
        "ns_max",
        "slow",
        "slow_burst",
        "types",
    )

    def __init__(self, handler: Handler, types: tuple[type[Event], ...] | None, name: str) -> None:
        self.handler = handler
        self.types = types
        self.name = name
        self.errors = 0
        self.slow = 0
        self.ns_max = 0
        # What it did last that it should not, and when (monotonic).
        self.fault = ""
        self.fault_ns: int | None = None
        self.error_burst = Burst()
        self.slow_burst = Burst()

    def wants(self, event_type: type[Event]) -> bool:
        return self.types is None or issubclass(event_type, self.types)

    def raised(self, event: Event, error: Exception, now_ns: int) -> None:
        """Count it and log the first of a burst."""
        self.errors += 1
        self.fault_ns = now_ns
        self.fault = f"raised {_words(error)} on {event.TYPE} (trace {event.trace})"
        silent = self.error_burst.note(now_ns)
        if silent is not None:
            _log.error(
                "handler %s raised on %s (trace %s; %d more since it was last said)",
                *(self.name, event.TYPE, event.trace, silent),
                exc_info=error,
            )

    def overran(self, event: Event, took_ns: int, now_ns: int) -> None:
        """Count a call above the budget and log the first of a burst."""
        self.slow += 1
        self.fault_ns = now_ns
        self.fault = f"took {took_ns // 1_000_000} ms on {event.TYPE} (trace {event.trace})"
        silent = self.slow_burst.note(now_ns)
        if silent is not None:
            _log.warning(
                "handler %s took %d ms on %s (trace %s; %d more since it was last said)",
                *(self.name, took_ns // 1_000_000, event.TYPE, event.trace, silent),
            )

    def overran_in_flood(self, events: int, took_ns: int, now_ns: int) -> None:
        """Somebody was slow in a flood, and will be named if it happens again."""
        self.slow += 1
        self.ns_max = max(self.ns_max, took_ns)
        self.fault_ns = now_ns
        took_ms = took_ns // 1_000_000
        self.fault = f"took {took_ms} ms among {events} events of a flood and is looked for"
        if self.slow_burst.note(now_ns) is not None:
            _log.warning(
                "%d events took %d ms: a slow handler is being looked for", events, took_ms
            )

    def snapshot(self, now_ns: int) -> BusHandlerSnapshot:
        return BusHandlerSnapshot(
            name=self.name,
            errors=self.errors,
            slow=self.slow,
            ms_max=self.ns_max / 1e6,
            last_fault=self.fault,
            last_fault_age_s=None if self.fault_ns is None else (now_ns - self.fault_ns) / 1e9,
        )


class Channel:
    """One event type: how it travels, who hears it, and its counts."""

    __slots__ = (
        "conflated",
        "delayed",
        "delivered",
        "dropped",
        "durable",
        "errors",
        "fast",
        "handlers",
        "is_tick",
        "name",
        "ns_max",
        "ns_total",
        "subscriptions",
        "timed",
        "type",
    )

    def __init__(self, event_type: type[Event]) -> None:
        self.type = event_type
        self.name = event_type.TYPE
        self.durable = event_type.DURABLE
        self.fast = event_type.FAST
        self.is_tick = event_type.CONFLATED
        self.subscriptions: tuple[Subscription, ...] = ()
        self.handlers: tuple[Handler, ...] = ()
        self.delivered = 0
        self.dropped = 0
        self.conflated = 0
        self.delayed = 0
        self.errors = 0
        self.timed = 0
        self.ns_total = 0
        self.ns_max = 0

    def listen(self, subscriptions: list[Subscription]) -> None:
        """Take those of the bus's subscriptions that want this type, in their order."""
        self.subscriptions = tuple(one for one in subscriptions if one.wants(self.type))
        self.handlers = tuple(one.handler for one in self.subscriptions)

    def count(self, run: int, *, delayed: bool) -> None:
        """Count deliveries out of the queue."""
        self.delivered += run
        if delayed:
            self.delayed += run

    def done(self) -> int:
        """Published events that are no longer in the queue."""
        return self.delivered + self.conflated + self.dropped

    def snapshot(self, *, waiting: int) -> BusTypeSnapshot:
        return BusTypeSnapshot(
            type=self.name,
            published=self.done() + waiting,
            dropped=self.dropped,
            conflated=self.conflated,
            delayed=self.delayed,
            errors=self.errors,
            handler_us_mean=self.ns_total / self.timed / 1e3 if self.timed else 0.0,
            handler_us_max=self.ns_max / 1e3,
        )


def _words(error: Exception) -> str:
    """The error in one short line."""
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return words if len(words) <= _WORDS_MAX else words[: _WORDS_MAX - 1] + "…"


__all__ = ["Burst", "Channel", "Handler", "Subscription"]
