"""The emergency latch on disk: the one file that decides whether this desk may take risk.

Its one rule: what cannot be read is latched. Standard library only, so that the engine, the guard
and an offline ``panic`` share it without sharing anything else that could be broken.
"""

from engine.latch.latch_file import LatchFile, may_create
from engine.latch.latch_state import DAMAGED_OWNER, LatchState, LatchTrip, StopState

__all__ = ["DAMAGED_OWNER", "LatchFile", "LatchState", "LatchTrip", "StopState", "may_create"]
