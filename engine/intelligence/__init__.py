"""Opinions about prices: where signals come from.

Rule: it proposes and never trades; whatever it says passes queue, sizing and gate like anyone's.
"""

from engine.intelligence.volatility_breakout import BreakoutParameters, VolatilityBreakout

__all__ = ["BreakoutParameters", "VolatilityBreakout"]
