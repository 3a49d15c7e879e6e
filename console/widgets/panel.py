"""A titled panel: heading, optional note at its right, body. The console's only kind of box."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLayout, QSizePolicy, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.widgets.labels import TextLabel

__all__ = ["Panel"]


class Panel(QFrame):
    """Heading in small letters above a body; ``note`` is secondary text on the same line."""

    def __init__(self, title: str, *, theme: LiveTheme, note_widest: str = "") -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAccessibleName(title)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(12, 9, 12, 10)
        outer.setSpacing(6)
        self._heading = TextLabel(
            title.upper(), theme=theme, style=TextStyle.HEADING, role=Role.TEXT_MUTED
        )
        self._note = TextLabel(
            theme=theme,
            style=TextStyle.SMALL,
            role=Role.TEXT_MUTED,
            align=Qt.AlignmentFlag.AlignRight,
            widest=note_widest,
            may_elide=True,
        )
        line = QHBoxLayout()
        line.setSpacing(12)
        line.addWidget(self._heading)
        line.addWidget(self._note, 1)
        outer.addLayout(line)
        self._outer = outer
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def set_title(self, title: str) -> None:
        """Change the heading."""
        self._heading.set_text(title.upper())
        self.setAccessibleName(title)

    def set_note(self, note: str) -> None:
        """Secondary text at the right of the heading."""
        self._note.set_text(note)

    def add(self, widget: QWidget, stretch: int = 0) -> None:
        """Put a widget below what is there."""
        self._outer.addWidget(widget, stretch)

    def add_layout(self, layout: QLayout, stretch: int = 0) -> None:
        """Put a layout below what is there."""
        self._outer.addLayout(layout, stretch)

    def add_stretch(self) -> None:
        """Keep the rest of the height empty."""
        self._outer.addStretch(1)
