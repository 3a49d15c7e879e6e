"""Execution: from a signal to the venue and back into the books.

Rule: durable before sent, booked once, unknown is a state, exits are never blocked.
"""

from engine.execution.collaborators import (
    Identity,
    Judgement,
    SizedEntry,
    Timing,
    VenuePorts,
)
from engine.execution.reconciliation import Divergence
from engine.execution.recorder import announce
from engine.execution.service import Books, ExecutionService, Hooks

__all__ = [
    "Books",
    "Divergence",
    "ExecutionService",
    "Hooks",
    "Identity",
    "Judgement",
    "SizedEntry",
    "Timing",
    "VenuePorts",
    "announce",
]
