"""What the console needs from Qt beyond widgets: the loop, timers, tasks, sheets.

The one rule: no nested event loop and no modal window, ever; either would make the stop button
dead.
"""

from console.qt.loop import ConsoleEventLoop
from console.qt.sheets import PageRegion, Sheet, SheetHost
from console.qt.tasks import ConsoleTasks, async_slot
from console.qt.timers import named_timer

__all__ = [
    "ConsoleEventLoop",
    "ConsoleTasks",
    "PageRegion",
    "Sheet",
    "SheetHost",
    "async_slot",
    "named_timer",
]
