"""What can go wrong on the way to Redis, and how a person is told.

`LINK_FAULTS` end a session and are expected; anything else is a programmer's error and goes to the
task guard.
"""

from __future__ import annotations

import redis.exceptions

from engine.model.errors import EngineError, StoreError


class LinkFault(EngineError):
    """The link cannot work now, for a reason that is already in plain words."""


LINK_FAULTS = (
    LinkFault,
    StoreError,
    redis.exceptions.RedisError,
    OSError,
    TimeoutError,
)


def was_cut(error: BaseException) -> bool:
    """Whether the other side closed the connection, as Redis does on a command it will not read."""
    if isinstance(error, redis.exceptions.ResponseError):
        return "Protocol error" in str(error)
    return isinstance(error, redis.exceptions.ConnectionError | ConnectionError)


def cause_of(error: BaseException) -> str:
    """The fault in words for the console."""
    if isinstance(error, LinkFault | StoreError):
        return str(error)
    if isinstance(error, redis.exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, redis.exceptions.AuthenticationError):
        return "Redis refuses our user or password"
    if isinstance(error, redis.exceptions.ConnectionError | OSError):
        inner = error.__cause__ or error.__context__
        if isinstance(inner, ConnectionRefusedError | FileNotFoundError):
            return "nothing listens at its address"
        return "the connection was closed"
    return f"Redis answered: {error}"


__all__ = ["LINK_FAULTS", "LinkFault", "cause_of", "was_cut"]
