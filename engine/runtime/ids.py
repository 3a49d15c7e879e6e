"""Ids: unique without coordination, cheap enough for every event, and stamped with the clock.

Event, signal, trip and trade ids are `PREFIX-N`: a prefix of 40 random bits drawn once per process
start, and a counter. Client order ids are node, database generation and a number that is never
reused.
"""

from __future__ import annotations

import itertools
import os
import random

from engine.model.events import Common
from engine.model.ids import ClientOrderId, EventId, TraceId, client_order_id
from engine.ports.clock import Clock


class IdSource:
    """Makes ids; `seed` fixes the prefix for tests."""

    def __init__(self, *, seed: int | None = None) -> None:
        raw = os.urandom(5) if seed is None else random.Random(seed).randbytes(5)
        self._prefix = raw.hex()
        self._counter = itertools.count(1)

    def next(self, kind: str = "e") -> str:
        """A new id; `kind` is a letter that helps a reader (e event, s signal, t trade, x trip)."""
        return f"{kind}{self._prefix}-{next(self._counter)}"


class OrderIds:
    """Client order ids of one database generation; `highest` is the highest number used so far."""

    def __init__(self, *, node: str, generation: int, highest: int) -> None:
        self._node = node
        self._generation = generation
        self._number = highest

    @property
    def generation(self) -> int:
        return self._generation

    def next(self) -> ClientOrderId:
        self._number += 1
        return client_order_id(self._node, self._generation, self._number)


class Stamper:
    """Makes the common fields of events for one source."""

    def __init__(self, *, clock: Clock, ids: IdSource, source: str) -> None:
        self._clock = clock
        self._ids = ids
        self._source = source

    def __call__(self, trace: TraceId | None = None) -> Common:
        """Fields id, ts_ns, source, trace; without a trace the event starts its own."""
        identifier = self._ids.next()
        return {
            "id": EventId(identifier),
            "ts_ns": self._clock.now_ns(),
            "source": self._source,
            "trace": TraceId(identifier) if trace is None else trace,
        }


__all__ = ["IdSource", "OrderIds", "Stamper"]
