"""Where prices come from when no venue is connected: a simulated market and recorded ones.

Rule: a feed pushes into a `MarketSink` and knows nothing of what happens there.
"""

from engine.market.recording import first_ts_ns
from engine.market.replay_feed import ReplayFeed
from engine.market.simulated_feed import SimulatedFeed

__all__ = ["ReplayFeed", "SimulatedFeed", "first_ts_ns"]
