"""Commands that come to a node over the bus: their types, what each carries, what became of one.

The fields are the contract's. Fractions are positive, times UTC nanoseconds; `origin` is who the
sender says it is, proven only as far as the command is signed. Payloads are strict: an unknown
field or a wrong type is refused, never ignored.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.emergency import Scope
from engine.model.events import CommandAccepted
from engine.model.ids import TraceId
from engine.model.values import Side

# How long a signed command is good for, and how far ahead the sender's clock may be.
COMMAND_FRESH_S = 30
COMMAND_AHEAD_S = 5


class CommandType(StrEnum):
    """Everything that may be said over the bus."""

    SIGNAL_SUBMIT = "signal.submit"
    MODEL_PROMOTE = "model.promote"
    STRATEGY_SWITCH = "strategy.switch"
    POLICY_MODE = "policy.mode"
    POLICY_UPDATE = "policy.update"
    TRADING_HALT = "trading.halt"
    TRADING_RESUME = "trading.resume"
    EMERGENCY_TRIP = "emergency.trip"

    @property
    def is_stop(self) -> bool:
        """What only makes the desk safer: anyone may say it, unsigned and however late."""
        return self in (CommandType.TRADING_HALT, CommandType.EMERGENCY_TRIP)


class _Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every payload may say beside its own."""

    origin: str = ""


class SignalSubmit(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`confidence` 0 to 1; `stop_loss` and `take_profit` are fractions of the entry price."""

    symbol: str
    side: Side
    confidence: float
    strategy: str
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


class ModelPromote(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of a model."""

    name: str
    version: str


class StrategySwitch(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To a strategy by its name."""

    to: str


class PolicyMode(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To a profile by its name."""

    name: str
    reason: str = ""


class PolicyUpdate(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields by name, as in `seawall policy set`; numbers are kept as they were written."""

    base_version: int
    fields: dict[str, msgspec.Raw]
    reason: str = ""


class Hold(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Halt and resume."""

    reason: str = ""


class TripRequest(_Payload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The emergency stop."""

    reason: str = ""
    scope: Scope = Scope.NODE


Payload = (
    SignalSubmit | ModelPromote | StrategySwitch | PolicyMode | PolicyUpdate | Hold | TripRequest
)


class BusCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One command that was judged to be good; `stream_id` is the entry it came with.

    `nonce` only where a signature was needed: a stop is never a replay of anything.
    """

    type: CommandType
    id: str
    stream_id: str
    payload: Payload
    nonce: str | None = None
    # None where it is not needed and was not there.
    ts_ns: int | None = None
    is_signed: bool = False

    @property
    def origin(self) -> str:
        """Who says to have sent it."""
        return self.payload.origin or ("signed" if self.is_signed else "unsigned")

    @property
    def author(self) -> str:
        """For audit and policy."""
        return f"bus:{self.origin}"

    @property
    def trace(self) -> TraceId:
        """Follows the command through everything it causes."""
        return TraceId(self.id)


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a command that had its effect."""

    type: CommandType
    id: str
    stream_id: str
    nonce: str | None
    received_ns: int


class CommandNote(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the transaction of a command's effect: that it was done, and the event."""

    record: CommandRecord
    event: CommandAccepted | None = None


class CommandResult(StrEnum):
    """What became of a command. POSTPONED: the disk could not do it now, nothing had effect."""

    DONE = "done"
    REFUSED = "refused"
    POSTPONED = "postponed"


class CommandOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """`why` says in words what was wrong."""

    result: CommandResult
    why: str = ""


__all__ = [
    "COMMAND_AHEAD_S",
    "COMMAND_FRESH_S",
    "BusCommand",
    "CommandNote",
    "CommandOutcome",
    "CommandRecord",
    "CommandResult",
    "CommandType",
    "Hold",
    "ModelPromote",
    "Payload",
    "PolicyMode",
    "PolicyUpdate",
    "SignalSubmit",
    "StrategySwitch",
    "TripRequest",
]
