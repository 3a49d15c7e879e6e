"""F6: from region to region, without a mouse (R60)."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

__all__ = ["RegionRing"]


class RegionRing:
    """Moves the focus between the rail and the page; the stop takes no focus, its keys work
    everywhere.
    """

    def __init__(
        self, *, window: QWidget, regions: tuple[QWidget, ...], target: Callable[[], QWidget]
    ) -> None:
        self._window = window
        self._regions = regions
        self._target = target

    def next(self) -> None:
        """Go on."""
        self._go(1)

    def previous(self) -> None:
        """Go back."""
        self._go(-1)

    def _go(self, step: int) -> None:
        focus: QWidget | None = self._window.focusWidget()
        at = 0
        for index, region in enumerate(self._regions):
            if focus and region.isAncestorOf(focus):
                at = index + step
        region = self._regions[at % len(self._regions)]
        owner = self._target() if region is self._regions[-1] else region
        for widget in owner.findChildren(QWidget):
            takes = bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)
            if takes and widget.isVisible() and widget.isEnabled():
                widget.setFocus(Qt.FocusReason.TabFocusReason)
                return
