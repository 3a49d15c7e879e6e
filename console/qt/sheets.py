"""Questions asked in the page: a sheet covers the page region and resolves a future.

Why not dialogs: a modal window swallows every click on the stop (console.md, finding 2). A sheet
covers only the page; the header with the stop stays live, and a trip closes any open sheet with
its safe answer.
Thread: GUI loop. Fails: a host that is closed or interrupted answers with the sheet's safe answer.
"""

import asyncio

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget
from shiboken6 import isValid

from console.theme import LiveTheme, Role

__all__ = ["PageRegion", "Sheet", "SheetHost"]

_SCRIM_OPACITY = 0.62


class Sheet(QFrame):
    """One question. Emit ``answered`` with the answer; ``safe_answer`` stands for Esc and for
    a trip.
    """

    answered = Signal(str)
    safe_answer = ""

    def __init__(self, *, title: str) -> None:
        super().__init__()
        self.setObjectName("sheet")
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.answered.emit(self.safe_answer)
            return
        super().keyPressEvent(event)

    def focus_first(self) -> None:
        """Put the focus where typing should start; the sheet itself unless overridden."""
        self.setFocus(Qt.FocusReason.OtherFocusReason)


class PageRegion(QWidget):
    """The part of the window that a sheet may cover; tells when its size changes."""

    resized = Signal()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


class SheetHost(QWidget):
    """The layer over the page region that shows at most one sheet at a time."""

    opened = Signal()
    closed = Signal()

    def __init__(self, *, region: PageRegion, theme: LiveTheme) -> None:
        super().__init__(region)
        self._region = region
        self._theme = theme
        self._sheet: Sheet | None = None
        self._answer: asyncio.Future[str] | None = None
        self._focus_before: QWidget | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 12, 24, 12)
        self._layout = layout
        self.setAccessibleName("Question")
        region.resized.connect(self._cover)
        self.hide()

    @property
    def current(self) -> Sheet | None:
        """The sheet that is open, if any."""
        return self._sheet

    async def ask(self, sheet: Sheet) -> str:
        """Show ``sheet`` and wait for its answer. An open sheet is answered safely first."""
        self.dismiss()
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._sheet = sheet
        sheet.answered.connect(self._on_answered)
        focus = self._region.window().focusWidget()
        if not self.isAncestorOf(focus):
            self._focus_before = focus
        self._layout.addWidget(sheet, 0, Qt.AlignmentFlag.AlignCenter)
        self._cover()
        self.show()
        self.raise_()
        sheet.show()
        sheet.focus_first()
        self.opened.emit()
        try:
            return await answer
        finally:
            self._remove(sheet)

    def dismiss(self) -> None:
        """Answer the open sheet with its safe answer: a trip and a close do this."""
        if self._sheet is not None:
            self._on_answered(self._sheet.safe_answer)

    def _on_answered(self, answer: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
        if self._sheet is not None:
            self._remove(self._sheet)

    def _remove(self, sheet: Sheet) -> None:
        if self._sheet is not sheet:
            return
        self._sheet = None
        self._answer = None
        self._layout.removeWidget(sheet)
        sheet.hide()
        sheet.deleteLater()
        self.hide()
        before, self._focus_before = self._focus_before, None
        if before is not None and isValid(before) and before.isVisible():
            before.setFocus(Qt.FocusReason.OtherFocusReason)
        self.closed.emit()

    def _cover(self) -> None:
        self.setGeometry(self._region.rect())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        colour = QColor(self._theme.colour(Role.SCRIM))
        colour.setAlphaF(_SCRIM_OPACITY)
        painter.fillRect(self.rect(), colour)
