"""Stopping without the engine: what `seawall panic` does when none runs or none answers.

Its one rule: it may latch and it may reduce, and it needs neither kernel nor Redis nor window.
"""

from engine.stop_guard.without_engine import offline_panic

__all__ = ["offline_panic"]
