"""What the bus counted: per event type and per handler, as frozen values.

Handler times are measured exactly while the queue is short and sampled during a flood. Units:
nanoseconds. `conflated` ticks gave way to a newer one of their symbol, `dropped` ticks to a full
queue or to the orderly stop, so that published = delivered + waiting + conflated + dropped.
`delayed` events waited for longer than one turn of the loop.
"""

from __future__ import annotations

import msgspec


class TypeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one event type. `handler_ns_mean` is over the timed deliveries, all handlers
    together."""

    published: int
    dropped: int
    conflated: int
    delayed: int
    errors: int
    handler_ns_mean: int
    handler_ns_max: int


class HandlerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One handler: how often it raised or overran its budget, and its slowest timed call."""

    errors: int
    slow: int
    ns_max: int


class BusStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the bus counts, by dotted event type and by handler name."""

    types: dict[str, TypeStatistics]
    handlers: dict[str, HandlerStatistics]
    high_water: int
    journal_errors: int


__all__ = ["BusStatistics", "HandlerStatistics", "TypeStatistics"]
