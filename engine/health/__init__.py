"""Health: what needs a person, whether the loop runs.

Rule: an alarm is something to do; what needs no action is a line in the journal.
"""

from engine.health.alarm_desk import AlarmDesk
from engine.health.alarms_table import ALARMS, AlarmSpec
from engine.health.clock_jump import ClockJumpDetector
from engine.health.loop_lag import LoopLagMonitor

__all__ = [
    "ALARMS",
    "AlarmDesk",
    "AlarmSpec",
    "ClockJumpDetector",
    "LoopLagMonitor",
]
