"""Protocols that the outside fills: clock, the four venue ports, market feed, event log, latch,
key vault.

Rule: protocols only, in the words of `engine.model`; siblings that must talk do it through these,
and the kernel plugs them together.
"""

from engine.ports.clock import Clock
from engine.ports.commands import CommandLedger, CommandTarget
from engine.ports.events import EventLog, LatchView
from engine.ports.keys import KeyCabinet, KeyVault
from engine.ports.market import MarketFeed, MarketSink
from engine.ports.venue import AccountReads, Exits, FinalCheck, OrderEntry, Streams

__all__ = [
    "AccountReads",
    "Clock",
    "CommandLedger",
    "CommandTarget",
    "EventLog",
    "Exits",
    "FinalCheck",
    "KeyCabinet",
    "KeyVault",
    "LatchView",
    "MarketFeed",
    "MarketSink",
    "OrderEntry",
    "Streams",
]
