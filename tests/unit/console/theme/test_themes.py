"""Contrast and colour-vision distance of both themes, from the table alone."""

from __future__ import annotations

import itertools
import math

import pytest

from console.theme import DAY, DUSK, THEMES, Role, Theme
from console.theme.live_theme import build_palette, render_style_sheet

TEXT_PAIRS = [
    (Role.TEXT, Role.WINDOW),
    (Role.TEXT, Role.PANEL),
    (Role.TEXT, Role.FIELD),
    (Role.TEXT, Role.RAISED),
    (Role.TEXT, Role.NORMAL_BAND),
    (Role.TEXT_MUTED, Role.WINDOW),
    (Role.TEXT_MUTED, Role.PANEL),
    (Role.TEXT_MUTED, Role.FIELD),
    (Role.ON_CRITICAL, Role.CRITICAL),
    (Role.ON_HIGH, Role.HIGH),
    (Role.ON_LOW, Role.LOW),
    (Role.ON_STOP, Role.STOP_FACE),
    (Role.ON_STOP, Role.STOP_LATCHED),
    (Role.ON_SELECTION, Role.SELECTION),
]
GRAPHIC_PAIRS = [
    (Role.BORDER, Role.PANEL),
    (Role.BORDER, Role.WINDOW),
    (Role.TREND, Role.FIELD),
    (Role.TREND, Role.NORMAL_BAND),
    (Role.SELECTION, Role.FIELD),
    (Role.CHIP_OUTLINE, Role.PANEL),
    (Role.STOP_OUTLINE, Role.STOP_RING),
]
STATE_ROLES = (Role.CRITICAL, Role.HIGH, Role.LOW, Role.SELECTION)
# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
DEFICIENCIES = {
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
Triple = tuple[float, float, float]


def linear(colour: str) -> Triple:
    def one(at: int) -> float:
        value = int(colour[at : at + 2], 16) / 255
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    return one(1), one(3), one(5)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        red, green, blue = linear(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen_by(colour: Triple, matrix: tuple[Triple, Triple, Triple]) -> Triple:
    rows = [sum(k * c for k, c in zip(row, colour, strict=True)) for row in matrix]
    return min(1.0, max(0.0, rows[0])), min(1.0, max(0.0, rows[1])), min(1.0, max(0.0, rows[2]))


def lab(colour: Triple) -> Triple:
    red, green, blue = colour
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883

    def bend(value: float) -> float:
        return float(value ** (1 / 3)) if value > 0.008856 else 7.787 * value + 16 / 116

    return 116 * bend(y) - 16, 500 * (bend(x) - bend(y)), 200 * (bend(y) - bend(z))


def test_the_contrast_measure_is_the_published_one() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
def test_text_can_be_read(theme: Theme, text: Role, ground: Role) -> None:
    assert contrast(theme[text], theme[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize(("mark", "ground"), GRAPHIC_PAIRS)
def test_graphics_can_be_seen(theme: Theme, mark: Role, ground: Role) -> None:
    assert contrast(theme[mark], theme[ground]) >= 3.0


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_state_colours_stay_apart_for_every_eye(theme: Theme, deficiency: str) -> None:
    """Distance in CIELAB after simulating the deficiency; shapes carry the rest."""
    matrix = DEFICIENCIES[deficiency]
    for one, other in itertools.combinations(STATE_ROLES, 2):
        seen = [lab(seen_by(linear(theme[role]), matrix)) for role in (one, other)]
        assert math.dist(seen[0], seen[1]) >= 9, (one, other)


def test_the_stop_is_the_same_in_both_and_nothing_else_has_its_colours() -> None:
    for theme in (DUSK, DAY):
        pair = {theme[Role.STOP_FACE], theme[Role.STOP_RING]}
        others = {theme[role] for role in Role if not role.value.startswith("stop_")}
        assert pair.isdisjoint(others)
    assert DUSK[Role.STOP_FACE] == DAY[Role.STOP_FACE]


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda theme: theme.name)
def test_the_style_template_is_filled_completely(theme: Theme) -> None:
    sheet = render_style_sheet(theme)
    assert "{{" not in sheet
    assert theme[Role.WINDOW] in sheet


def test_a_disabled_control_looks_disabled() -> None:
    palette = build_palette(DUSK)
    normal = palette.color(palette.ColorGroup.Active, palette.ColorRole.ButtonText)
    disabled = palette.color(palette.ColorGroup.Disabled, palette.ColorRole.ButtonText)
    assert normal != disabled


def test_a_theme_without_a_colour_is_refused() -> None:
    colours: dict[Role, str] = {role: DUSK[role] for role in Role}
    del colours[Role.HIGH]
    with pytest.raises(ValueError, match="high"):
        Theme(name="broken", title="Broken", is_dark=True, colours=colours)
