"""The theme in force, told to every painted widget by one signal.

Why an object: widgets that paint themselves need the colours at paint time, and a switch of theme
must reach them all at once; a passed-in holder does that without a global.
Thread: GUI only.
"""

import re
from typing import Final

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

from console.theme.fonts import TextStyle, font_for, resources_dir
from console.theme.roles import DUSK, Role, Theme

__all__ = ["LiveTheme", "build_palette", "render_style_sheet"]

_PALETTE: Final = (
    (QPalette.ColorRole.Window, Role.WINDOW),
    (QPalette.ColorRole.WindowText, Role.TEXT),
    (QPalette.ColorRole.Base, Role.FIELD),
    (QPalette.ColorRole.AlternateBase, Role.PANEL),
    (QPalette.ColorRole.Text, Role.TEXT),
    (QPalette.ColorRole.Button, Role.RAISED),
    (QPalette.ColorRole.ButtonText, Role.TEXT),
    (QPalette.ColorRole.BrightText, Role.TEXT),
    (QPalette.ColorRole.ToolTipBase, Role.PANEL),
    (QPalette.ColorRole.ToolTipText, Role.TEXT),
    (QPalette.ColorRole.PlaceholderText, Role.TEXT_MUTED),
    (QPalette.ColorRole.Highlight, Role.SELECTION),
    (QPalette.ColorRole.HighlightedText, Role.ON_SELECTION),
    (QPalette.ColorRole.Link, Role.SELECTION),
    (QPalette.ColorRole.Light, Role.RULE),
    (QPalette.ColorRole.Midlight, Role.RULE),
    (QPalette.ColorRole.Mid, Role.BORDER),
    (QPalette.ColorRole.Dark, Role.BORDER),
    (QPalette.ColorRole.Shadow, Role.FIELD),
    (QPalette.ColorRole.Accent, Role.SELECTION),
)
_DISABLED: Final = (
    # Set explicitly: with only the default group, a disabled Reset looked live.
    (QPalette.ColorRole.WindowText, Role.TEXT_DISABLED),
    (QPalette.ColorRole.Text, Role.TEXT_DISABLED),
    (QPalette.ColorRole.ButtonText, Role.TEXT_DISABLED),
    (QPalette.ColorRole.Button, Role.PANEL),
)


_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}")


def build_palette(theme: Theme) -> QPalette:
    """Our own palette; the platform's colour scheme is not relied on (R37)."""
    palette = QPalette()
    for role, ours in _PALETTE:
        palette.setColor(role, QColor(theme[ours]))
    for role, ours in _DISABLED:
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme[ours]))
    return palette


def render_style_sheet(theme: Theme) -> str:
    """The style template with its roles filled in; an unknown role is an error."""
    text = (resources_dir() / "styles" / "console.qss").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda match: theme[Role(match.group(1))], text)


class LiveTheme(QObject):
    """Holds the theme in force and applies it to the application."""

    changed = Signal()

    def __init__(self, *, application: QApplication, theme: Theme = DUSK) -> None:
        super().__init__()
        self._application = application
        self._current = theme
        application.setStyle(QStyleFactory.create("Fusion"))
        application.setFont(font_for(TextStyle.BODY))
        self._apply()

    @property
    def current(self) -> Theme:
        """The theme in force."""
        return self._current

    def colour(self, role: Role) -> QColor:
        """The colour of a role in the theme in force."""
        return QColor(self._current[role])

    def switch(self, theme: Theme) -> None:
        """Use another theme from now on."""
        if theme is self._current:
            return
        self._current = theme
        self._apply()
        self.changed.emit()

    def _apply(self) -> None:
        self._application.setPalette(build_palette(self._current))
        self._application.setStyleSheet(render_style_sheet(self._current))
