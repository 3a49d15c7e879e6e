"""The header: identity line A, alarm line B, the message line, and the stop at the top right.

Same place and size on every page, in every mode and state (R03), with 24 empty pixels around it
(R21).
"""

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from console.theme import LiveTheme, Role
from console.theme.fonts import TextStyle
from console.viewmodels.alarms import AlarmLineState
from console.viewmodels.appearance import TONE_GLYPH, ChipState, Tone
from console.viewmodels.identity import IdentityState
from console.widgets import Chip, StopButton, TextLabel
from console.widgets.glyph_mark import GlyphMark

__all__ = ["STOP_MARGIN_PX", "HeaderView"]

STOP_MARGIN_PX: Final = 24
_LEFT_PX: Final = 12


class HeaderView(QWidget):
    """Lines A and B and the stop."""

    def __init__(self, *, theme: LiveTheme, stop: StopButton) -> None:
        super().__init__()
        self.setObjectName("header")
        self.setAccessibleName("Identity, alarms and emergency stop")
        self._mode = Chip(theme=theme, widest="DRY RUN")
        self._engine = Chip(theme=theme, widest="RUNNING +")
        self._policy = TextLabel(
            theme=theme, role=Role.TEXT_MUTED, may_elide=True, widest="Policy v000 · 0000000"
        )
        self._clock = TextLabel(
            theme=theme,
            style=TextStyle.CLOCK,
            align=Qt.AlignmentFlag.AlignRight,
            widest="00:00:00 UTC",
        )
        self._age = TextLabel(
            theme=theme,
            role=Role.TEXT_MUTED,
            align=Qt.AlignmentFlag.AlignRight,
            widest="engine silent 00 min",
        )
        self._counters = [Chip(theme=theme, widest="P1  0", height_px=28) for _ in range(3)]
        self._mark = GlyphMark(theme=theme)
        self._headline = TextLabel(theme=theme, may_elide=True)
        self._message = TextLabel(theme=theme, role=Role.TEXT_MUTED, may_elide=True)
        self._desk = TextLabel(
            theme=theme,
            role=Role.TEXT_MUTED,
            style=TextStyle.SMALL,
            align=Qt.AlignmentFlag.AlignRight,
        )
        self._lay_out(stop)

    def _lay_out(self, stop: StopButton) -> None:
        line_a = QHBoxLayout()
        line_a.setSpacing(8)
        for widget in (self._mode, self._engine):
            line_a.addWidget(widget)
        line_a.addSpacing(6)
        line_a.addWidget(self._policy, 1)
        line_a.addWidget(self._age)
        line_a.addSpacing(6)
        line_a.addWidget(self._clock)
        line_b = QHBoxLayout()
        line_b.setSpacing(8)
        for chip in self._counters:
            line_b.addWidget(chip)
        line_b.addSpacing(6)
        line_b.addWidget(self._mark)
        line_b.addWidget(self._headline, 1)
        line_c = QHBoxLayout()
        line_c.setSpacing(12)
        line_c.addWidget(self._message, 1)
        line_c.addWidget(self._desk)
        lines = QVBoxLayout()
        lines.setSpacing(6)
        lines.addLayout(line_a)
        lines.addLayout(line_b)
        lines.addLayout(line_c)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(_LEFT_PX, STOP_MARGIN_PX, STOP_MARGIN_PX, STOP_MARGIN_PX)
        outer.setSpacing(STOP_MARGIN_PX)
        outer.addLayout(lines, 1)
        outer.addWidget(stop, 0, Qt.AlignmentFlag.AlignTop)

    def show_identity(self, state: IdentityState, desk: str) -> None:
        """Line A, and what the desk is connected to."""
        self._mode.show_state(state.mode)
        self._engine.show_state(state.engine)
        self._policy.set_text(f"{state.account}   ·   {state.policy}")
        self._clock.set_text(state.clock)
        self._age.set_text(state.data_age, Role.TEXT if state.is_data_old else Role.TEXT_MUTED)
        self._age.set_style(TextStyle.STRONG if state.is_data_old else TextStyle.BODY)
        self._desk.set_text(desk)

    def show_alarms(self, state: AlarmLineState) -> None:
        """Line B."""
        tones = (Tone.CRITICAL, Tone.HIGH, Tone.LOW)
        for chip, counter, tone in zip(self._counters, state.counters, tones, strict=True):
            glyph = TONE_GLYPH[tone]  # The shape stays when the colour goes.
            chip.show_state(ChipState(text=counter.text, tone=counter.tone, glyph=glyph))
        self._mark.show_tone(state.tone)
        is_quiet = state.tone is Tone.QUIET
        self._headline.set_text(state.headline, Role.TEXT_MUTED if is_quiet else Role.TEXT)

    def show_message(self, text: str, tone: Tone) -> None:
        """The message line."""
        self._message.set_text(text, Role.TEXT if tone is not Tone.QUIET else Role.TEXT_MUTED)
