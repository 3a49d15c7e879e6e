"""Painted controls that carry meaning: chips, the stop, hold buttons, indicator bars, tables.

The one rule: no decisions here; a widget shows what it is handed and says what was pressed.
"""

from console.widgets.chip import Chip
from console.widgets.facts_grid import FactsGrid
from console.widgets.hold_button import HoldButton
from console.widgets.indicator_bar import IndicatorBar
from console.widgets.labels import TextLabel
from console.widgets.panel import Panel
from console.widgets.paragraph import Paragraph
from console.widgets.progress_line import ProgressLine
from console.widgets.sparkline import Sparkline
from console.widgets.step_timeline import StepTimeline
from console.widgets.stop_button import StopButton

__all__ = [
    "Chip",
    "FactsGrid",
    "HoldButton",
    "IndicatorBar",
    "Panel",
    "Paragraph",
    "ProgressLine",
    "Sparkline",
    "StepTimeline",
    "StopButton",
    "TextLabel",
]
