"""The one door: what the console, the command line and the control socket may ask of an engine.

Rule: commands go up through `EngineClient`, state comes down as snapshots; nothing goes sideways.
"""

from engine.api.client import CommandResult, EngineClient, HistoryPoint, PolicyVersion

__all__ = ["CommandResult", "EngineClient", "HistoryPoint", "PolicyVersion"]
