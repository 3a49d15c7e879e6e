"""What the parts of execution are given, grouped so that constructors stay readable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import msgspec

from engine.model.ids import Symbol
from engine.model.instrument import Instrument
from engine.model.orders import Intent
from engine.model.policy import Profile
from engine.model.reasons import Reason
from engine.model.signals import Signal
from engine.model.venue import Approved
from engine.ports import AccountReads, Clock, Exits, OrderEntry, Streams
from engine.runtime import IdSource, OrderIds, Stamper


class SizedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What sizing decided: quantity in base coin (zero with the reasons why), leverage, and the
    distance of the stop as a fraction of the entry price.
    """

    quantity: Decimal
    leverage: Decimal
    stop_loss: Decimal
    reasons: tuple[Reason, ...] = ()


class Permission(Protocol):
    """The gate: the approval, or every reason against an entry."""

    def __call__(
        self, intent: Intent, *, override_duplicate: bool = False
    ) -> Approved | tuple[Reason, ...]: ...


SizeEntry = Callable[[Signal], SizedEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePorts:
    """The ways to one venue that execution uses. `streams` is asked whether it is up; what it
    says comes by `Booking.on_update`.
    """

    entry: OrderEntry
    exits: Exits
    reads: AccountReads
    streams: Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Trading clock, a stopwatch in real nanoseconds, and jitter between 0 and 1."""

    clock: Clock
    stopwatch: Callable[[], int]
    jitter: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where ids and event stamps come from."""

    order_ids: OrderIds
    ids: IdSource
    stamper: Stamper


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Who decides: the gate, sizing, the policy in force, the instruments' grids."""

    permission: Permission
    size_entry: SizeEntry
    profile: Callable[[], Profile]
    instrument: Callable[[Symbol], Instrument]


__all__ = [
    "Identity",
    "Judgement",
    "Permission",
    "SizeEntry",
    "SizedEntry",
    "Timing",
    "VenuePorts",
]
