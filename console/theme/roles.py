"""Colour roles and the two themes that fill them.

What: every colour of the console has a role ("limit crossed", "secondary text"), and a theme gives
each role one value. Why: a colour carries a meaning here, so it may exist only once; contrast and
colour-vision distances are then checked on this table alone (``tests/unit/console/theme``).
Qt-free: values are ``#RRGGBB`` strings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from console.viewmodels.appearance import Tone

__all__ = ["DAY", "DUSK", "THEMES", "Role", "Theme", "Tone"]


class Role(StrEnum):
    """What a colour means. The value is the name style templates use, ``{{role}}``."""

    WINDOW = "window"
    PANEL = "panel"
    FIELD = "field"
    RAISED = "raised"
    PRESSED = "pressed"
    TEXT = "text"
    TEXT_MUTED = "text_muted"
    TEXT_DISABLED = "text_disabled"
    BORDER = "border"
    RULE = "rule"
    TREND = "trend"
    NORMAL_BAND = "normal_band"
    CRITICAL = "critical"
    ON_CRITICAL = "on_critical"
    HIGH = "high"
    ON_HIGH = "on_high"
    LOW = "low"
    ON_LOW = "on_low"
    SELECTION = "selection"
    ON_SELECTION = "on_selection"
    STOP_FACE = "stop_face"
    STOP_RING = "stop_ring"
    STOP_LATCHED = "stop_latched"
    ON_STOP = "on_stop"
    STOP_OUTLINE = "stop_outline"
    CHIP_OUTLINE = "chip_outline"
    SCRIM = "scrim"


_TONE_FILL: Mapping[Tone, tuple[Role, Role]] = {
    Tone.NEUTRAL: (Role.RAISED, Role.TEXT),
    Tone.QUIET: (Role.PANEL, Role.TEXT_MUTED),
    Tone.LOW: (Role.LOW, Role.ON_LOW),
    Tone.HIGH: (Role.HIGH, Role.ON_HIGH),
    Tone.CRITICAL: (Role.CRITICAL, Role.ON_CRITICAL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """One complete set of colours."""

    name: str
    title: str
    is_dark: bool
    colours: Mapping[Role, str]

    def __post_init__(self) -> None:
        missing = set(Role) - set(self.colours)
        if missing:
            raise ValueError(f"theme {self.name} has no colour for {sorted(missing)}")

    def __getitem__(self, role: Role) -> str:
        return self.colours[role]

    def fill(self, tone: Tone) -> tuple[str, str]:
        """Background and text colour of a chip of this tone."""
        background, text = _TONE_FILL[tone]
        return self.colours[background], self.colours[text]


_STOP: Mapping[Role, str] = {
    # The same pair in both themes: nothing else in the application may use it (R04).
    Role.STOP_FACE: "#C8102E",
    Role.STOP_RING: "#FFD400",
    Role.STOP_LATCHED: "#7A0A1C",
    Role.ON_STOP: "#FFFFFF",
    Role.STOP_OUTLINE: "#16191C",
}

DUSK = Theme(
    name="dusk",
    title="Dusk",
    is_dark=True,
    colours={
        **_STOP,
        Role.WINDOW: "#23272B",
        Role.PANEL: "#2B3035",
        Role.FIELD: "#1D2124",
        Role.RAISED: "#363C42",
        Role.PRESSED: "#1D2124",
        Role.TEXT: "#E6E9EC",
        Role.TEXT_MUTED: "#A9B2BA",
        Role.TEXT_DISABLED: "#79838C",
        Role.BORDER: "#79838C",
        Role.RULE: "#3B4248",
        Role.TREND: "#A9BCCB",
        Role.NORMAL_BAND: "#39424A",
        Role.CRITICAL: "#F66F68",
        Role.ON_CRITICAL: "#000000",
        Role.HIGH: "#F4B117",
        Role.ON_HIGH: "#000000",
        Role.LOW: "#FEEF92",
        Role.ON_LOW: "#000000",
        Role.SELECTION: "#64AAE9",
        Role.ON_SELECTION: "#000000",
        Role.CHIP_OUTLINE: "#F2F4F6",
        Role.SCRIM: "#14171A",
    },
)

DAY = Theme(
    name="day",
    title="Day",
    is_dark=False,
    colours={
        **_STOP,
        Role.WINDOW: "#D9DCDF",
        Role.PANEL: "#E6E8EA",
        Role.FIELD: "#F2F3F4",
        Role.RAISED: "#F2F3F4",
        Role.PRESSED: "#C6CDD3",
        Role.TEXT: "#16191C",
        Role.TEXT_MUTED: "#454D54",
        Role.TEXT_DISABLED: "#6B747C",
        Role.BORDER: "#6B747C",
        Role.RULE: "#C3C9CE",
        Role.TREND: "#3A4C5A",
        Role.NORMAL_BAND: "#C6CDD3",
        Role.CRITICAL: "#B00E28",
        Role.ON_CRITICAL: "#FFFFFF",
        Role.HIGH: "#E97809",
        Role.ON_HIGH: "#000000",
        Role.LOW: "#F8F297",
        Role.ON_LOW: "#000000",
        Role.SELECTION: "#0674C9",
        Role.ON_SELECTION: "#FFFFFF",
        Role.CHIP_OUTLINE: "#16191C",
        Role.SCRIM: "#5C646B",
    },
)

THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (DUSK, DAY)}
