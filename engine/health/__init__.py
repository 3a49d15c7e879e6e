"""Health: what needs a person, what has failed and is being restarted, and whether the loop runs.

Rule: an alarm is something to do; what needs no action is a line in the journal.
"""

from engine.health.alarm_desk import AlarmDesk
from engine.health.alarms_table import ALARMS, AlarmSpec
from engine.health.clock_jump import ClockJumpDetector
from engine.health.components import ComponentHealth, ComponentSnapshot, ComponentState
from engine.health.loop_lag import LoopLagMonitor
from engine.health.self_healing import SelfHealing

__all__ = [
    "ALARMS",
    "AlarmDesk",
    "AlarmSpec",
    "ClockJumpDetector",
    "ComponentHealth",
    "ComponentSnapshot",
    "ComponentState",
    "LoopLagMonitor",
    "SelfHealing",
]
