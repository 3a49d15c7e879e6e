"""Colours, type and style, once, by role. No hex colour exists outside this package."""

from console.theme.fonts import FONT_FAMILY, load_fonts
from console.theme.live_theme import LiveTheme
from console.theme.roles import DAY, DUSK, THEMES, Role, Theme

__all__ = ["DAY", "DUSK", "FONT_FAMILY", "THEMES", "LiveTheme", "Role", "Theme", "load_fonts"]
