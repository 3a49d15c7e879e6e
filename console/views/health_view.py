"""The Health page: two halves behind two buttons, links and records, bus and dead letters.

Why two: every figure is shown whole at 1280 by 680, and nothing scrolls but tables.
"""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from console.theme import LiveTheme
from console.views.health_events_view import HealthEventsView
from console.views.health_links_view import HealthLinksView

__all__ = ["HealthView"]

_PARTS = (("links", "Links and records"), ("events", "Bus and dead letters"))


class HealthView(QWidget):
    """Page D 8."""

    part_chosen = Signal(str)

    def __init__(self, *, theme: LiveTheme) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAccessibleName("Health page")
        self.links = HealthLinksView(theme=theme)
        self.events = HealthEventsView(theme=theme)
        self._halves: dict[str, QWidget] = {"links": self.links, "events": self.events}
        self._stack = QStackedWidget()
        for half in self._halves.values():
            self._stack.addWidget(half)
        group = QButtonGroup(self)
        group.setExclusive(True)
        self._buttons: dict[str, QPushButton] = {}
        line = QHBoxLayout()
        line.setSpacing(0)
        for at, (part, title) in enumerate(_PARTS):
            button = QPushButton(title)
            button.setObjectName("segment")
            button.setCheckable(True)
            button.setProperty("last", at == len(_PARTS) - 1)
            button.clicked.connect(lambda _=False, part=part: self.show_part(part))
            group.addButton(button)
            line.addWidget(button)
            self._buttons[part] = button
        line.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(8)
        outer.addLayout(line)
        outer.addWidget(self._stack, 1)
        self._buttons["links"].setChecked(True)

    @property
    def part(self) -> str:
        """Which half is shown."""
        return "links" if self._stack.currentWidget() is self.links else "events"

    def show_part(self, part: str) -> None:
        """Show one half."""
        self._stack.setCurrentWidget(self._halves[part])
        self._buttons[part].setChecked(True)
        self.part_chosen.emit(part)
