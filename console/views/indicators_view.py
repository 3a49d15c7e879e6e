"""Key indicators: one bar each, in order of importance.

What does not fit a low window is left off from the end.
Nothing is cut in the middle: a bar is shown whole or not at all.
"""

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QVBoxLayout

from console.theme import LiveTheme
from console.viewmodels.appearance import IndicatorState
from console.viewmodels.indicators import INDICATOR_NAMES
from console.widgets import IndicatorBar, Panel

__all__ = ["IndicatorsView"]

_BAR_PX = 38
_FRAME_PX = 40
_SHOWN_MIN = 3
_GAP_PX = 6
_GAP_HIGH_PX = 26


class IndicatorsView(Panel):
    """The panel of bars."""

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__("Key indicators", theme=theme)
        self._bars = [
            IndicatorBar(
                theme=theme, state=IndicatorState(name=name, value="", at=None, normal_to=1.0)
            )
            for name in INDICATOR_NAMES
        ]
        self._column = QVBoxLayout()
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(_GAP_PX)
        for bar in self._bars:
            self._column.addWidget(bar)
        self.add_layout(self._column)
        self.add_stretch()
        for bar in self._bars[_SHOWN_MIN:]:
            bar.hide()

    def show_states(self, states: tuple[IndicatorState, ...]) -> None:
        """One state per bar."""
        for bar, state in zip(self._bars, states, strict=True):
            bar.show_state(state)

    def minimumSizeHint(self) -> QSize:
        # Only the first few must fit: the others give way in a low window.
        return QSize(240, _FRAME_PX + _SHOWN_MIN * (_BAR_PX + _GAP_PX))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        room = max(_SHOWN_MIN, (self.height() - _FRAME_PX) // (_BAR_PX + _GAP_PX))
        for at, bar in enumerate(self._bars):
            if bar.isHidden() == (at < room):
                bar.setVisible(at < room)
        shown = min(room, len(self._bars))
        spare = (self.height() - _FRAME_PX) // shown - _BAR_PX
        self._column.setSpacing(min(_GAP_HIGH_PX, max(_GAP_PX, spare)))
