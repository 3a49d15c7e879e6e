"""How a thing may look, without Qt: tones, shapes and the small records widgets paint.

View-models decide in these words; the theme and the widgets turn them into colours and paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

__all__ = [
    "TONE_GLYPH",
    "ChipState",
    "Glyph",
    "IndicatorState",
    "StopFace",
    "StopLook",
    "Tone",
]


class Tone(StrEnum):
    """How urgent a thing is. Each tone has its own shape; colour never speaks alone (R27)."""

    NEUTRAL = "neutral"
    QUIET = "quiet"
    LOW = "low"
    HIGH = "high"
    CRITICAL = "critical"


class Glyph(StrEnum):
    """A painted shape; the value is its spoken name."""

    NONE = ""
    SQUARE = "square"
    TRIANGLE = "triangle"
    DISC = "disc"
    CHECK = "check"
    CROSS = "cross"
    DOTS = "in progress"
    QUESTION = "question"
    PAUSE = "paused"
    RING = "waiting"


TONE_GLYPH: Final[Mapping[Tone, Glyph]] = {
    Tone.NEUTRAL: Glyph.NONE,
    Tone.QUIET: Glyph.NONE,
    Tone.LOW: Glyph.DISC,
    Tone.HIGH: Glyph.TRIANGLE,
    Tone.CRITICAL: Glyph.SQUARE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipState:
    """Words, urgency and shape of a chip; no glyph given means the tone's own."""

    text: str
    tone: Tone = Tone.NEUTRAL
    glyph: Glyph | None = None


class StopLook(Enum):
    """What the stop's face looks like; only a connected stop looks live (R04)."""

    READY = "ready"
    LATCHED = "latched"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFace:
    """Words and look of the stop button: one headline, up to two lines of scope."""

    look: StopLook
    headline: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicatorState:
    """What one indicator shows. Positions on the bar are fractions of its full scale.

    ``at`` is None without data; ``note`` is small text after the name; ``description`` is for
    readers.
    """

    name: str
    value: str
    at: float | None
    normal_to: float
    ticks: tuple[float, ...] = ()
    tone: Tone = Tone.NEUTRAL
    is_stale: bool = False
    note: str = ""
    description: str = ""
