"""The bundled typeface and the type scale.

Qt 6 brings no fonts of its own, so a machine without fonts would show nothing; the console ships
IBM Plex Sans (SIL Open Font Licence, text beside the files). Its digits are of one width, so a
changing number does not dance. Sizes are pixels at 100 %.
Fails: a missing file is an installation fault and raises ``FontMissingError``, never a silent
fallback.
"""

from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

from PySide6.QtGui import QFont, QFontDatabase

__all__ = [
    "FONT_FAMILY",
    "FontMissingError",
    "TextStyle",
    "font_for",
    "load_fonts",
    "resources_dir",
]

FONT_FAMILY: Final = "IBM Plex Sans"
_FILES: Final = ("IBMPlexSans-Regular.ttf", "IBMPlexSans-SemiBold.ttf", "IBMPlexSans-Bold.ttf")


class FontMissingError(RuntimeError):
    """A bundled font file is absent or unreadable: the installation is broken."""


class TextStyle(Enum):
    """The whole type scale: (pixel size, weight, letter spacing in pixels)."""

    STOP = (23, QFont.Weight.Bold, 0.4)
    STOP_SCOPE = (11, QFont.Weight.Normal, 0.0)
    CLOCK = (18, QFont.Weight.DemiBold, 0.0)
    TITLE = (17, QFont.Weight.DemiBold, 0.0)
    CHIP = (13, QFont.Weight.DemiBold, 0.2)
    HEADING = (11, QFont.Weight.DemiBold, 0.8)
    BODY = (13, QFont.Weight.Normal, 0.0)
    STRONG = (13, QFont.Weight.DemiBold, 0.0)
    SMALL = (11, QFont.Weight.Normal, 0.0)
    SMALL_STRONG = (11, QFont.Weight.DemiBold, 0.0)


def resources_dir() -> Path:
    """The folder of fonts and style templates, beside the ``console`` package, frozen or not."""
    return Path(__file__).resolve().parents[2] / "resources"


def load_fonts() -> None:
    """Register the bundled typeface with Qt; needs a QGuiApplication."""
    for name in _FILES:
        path = resources_dir() / "fonts" / name
        if QFontDatabase.addApplicationFont(str(path)) < 0:
            raise FontMissingError(f"cannot load the bundled font {path}")


@cache
def font_for(style: TextStyle) -> QFont:
    """A QFont of the scale, made once, not to be altered.

    Hinting is off sideways, so that widths are the same at every scale.
    """
    size_px, weight, spacing_px = style.value
    font = QFont(FONT_FAMILY)
    font.setPixelSize(size_px)
    font.setWeight(weight)
    font.setHintingPreference(QFont.HintingPreference.PreferVerticalHinting)
    if spacing_px:
        font.setLetterSpacing(QFont.SpacingType.AbsoluteSpacing, spacing_px)
    return font
