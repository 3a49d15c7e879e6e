"""Typed identifiers, so that a venue's order id cannot be passed where ours is meant.

All are strings on the wire. A client order id is made once, before the first attempt, from node,
database generation and a number (`client_order_id`), and never changes: a retry is the same order.
"""

from __future__ import annotations

import re
from typing import NewType

EventId = NewType("EventId", str)
TraceId = NewType("TraceId", str)
SignalId = NewType("SignalId", str)
ClientOrderId = NewType("ClientOrderId", str)
VenueOrderId = NewType("VenueOrderId", str)
ExecutionId = NewType("ExecutionId", str)
TradeId = NewType("TradeId", str)
TripId = NewType("TripId", str)
Symbol = NewType("Symbol", str)

# Both venues take at most 36 characters; Bybit has the narrower alphabet [A-Za-z0-9-_] (venues.md
# B3).
CLIENT_ORDER_ID_LENGTH_MAX = 36
_CLIENT_ORDER_ID = re.compile(r"^[A-Za-z0-9_-]{1,36}$")
_NODE = re.compile(r"^[a-z0-9][a-z0-9-]{0,15}$")


def node_name(text: str) -> str:
    """Check a node name: 1-16 of lower-case letters, digits, hyphen. Raises ValueError saying
    so.
    """
    if not _NODE.match(text):
        raise ValueError(
            f"node name {text!r} must be 1-16 lower-case letters, digits or hyphens, "
            "not starting with a hyphen"
        )
    return text


def client_order_id(node: str, generation: int, number: int) -> ClientOrderId:
    """Make the client order id `NODE-gG-N`; raises ValueError when it would not fit both venues."""
    text = f"{node}-g{generation}-{number}"
    if generation < 1 or number < 1 or not _CLIENT_ORDER_ID.match(text):
        raise ValueError(f"client order id {text!r} does not fit the venues' rules")
    return ClientOrderId(text)


def client_order_number(identifier: ClientOrderId, node: str) -> tuple[int, int] | None:
    """Return (generation, number) of one of our own ids, or None when it was not made by this
    node.
    """
    match = re.match(rf"^{re.escape(node)}-g(\d+)-(\d+)$", identifier)
    return (int(match.group(1)), int(match.group(2))) if match else None


__all__ = [
    "CLIENT_ORDER_ID_LENGTH_MAX",
    "ClientOrderId",
    "EventId",
    "ExecutionId",
    "SignalId",
    "Symbol",
    "TraceId",
    "TradeId",
    "TripId",
    "VenueOrderId",
    "client_order_id",
    "client_order_number",
    "node_name",
]
