"""Speak to a Seawall node over Redis: commands in, events out (docs/desk_client.md).

For other services of the desk. Needs redis-py and nothing else: no engine, no Qt. The contract is
`docs/contract.md`, Redis.
"""

from desk_client.client import DeskClient
from desk_client.messages import (
    CommandRefusedError,
    DeskEvent,
    NoAnswerError,
    Outcome,
    Sent,
)

__all__ = [
    "CommandRefusedError",
    "DeskClient",
    "DeskEvent",
    "NoAnswerError",
    "Outcome",
    "Sent",
]
