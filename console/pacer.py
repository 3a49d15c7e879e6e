"""The one pace of the window: 20 frames a second, each channel no faster than it can be read.

Why: a repaint per tick starves the loop and nobody can read it (R34). The pacer pulls one
snapshot a frame at most, and hands the newest to the channels that are due: text 4 Hz, tables 4
Hz, charts 5 Hz, in turn. Safety events bypass it through ``refresh_soon``.
Units: milliseconds, hertz. Thread: GUI. Fails: when no snapshot can be had, the channels are
handed None and must say so; the fault is logged once until it ends.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QObject

from console.qt.timers import named_timer
from engine.model.snapshots import EngineSnapshot

__all__ = ["CHART_HZ", "FRAME_HZ", "TABLE_HZ", "TEXT_HZ", "FramePacer"]

FRAME_HZ: Final = 20
TEXT_HZ: Final = 4
TABLE_HZ: Final = 4
CHART_HZ: Final = 5

_log = logging.getLogger(__name__)

Paint = Callable[[EngineSnapshot | None], None]


@dataclass(slots=True, kw_only=True)
class _Channel:
    name: str
    every_frames: int
    phase: int
    paint: Paint
    is_asked_for: bool = False
    painted: int = 0


class FramePacer(QObject):
    """Pulls snapshots and paints channels at their own rates, last value wins."""

    def __init__(self, *, owner: QObject, take: Callable[[], EngineSnapshot]) -> None:
        super().__init__(owner)
        self._take = take
        self._channels: list[_Channel] = []
        self._is_failing = False
        self._frames = 0
        self._is_soon = False
        # Since the last frame; the next one paints what was asked for meanwhile.
        self._was_soon = False
        self._soon_timer = named_timer(
            self,
            "picture of a safety event",
            interval_ms=0,
            callback=self._refresh_as_asked,
            is_single_shot=True,
        )
        self._timer = named_timer(
            self,
            "frame pacer",
            interval_ms=1_000 // FRAME_HZ,
            callback=self._frame,
            is_precise=True,
        )

    def add(self, name: str, *, rate_hz: int, phase: int, paint: Paint) -> None:
        """Paint ``name`` at most ``rate_hz`` times a second, ``phase`` frames after the others.

        The interval is rounded up to an even number of frames, so that channels of odd and even
        phase never meet in one frame: small stalls of the loop in turn instead of one large one.
        """
        frames = math.ceil(FRAME_HZ / rate_hz)
        every = frames + frames % 2
        self._channels.append(_Channel(name=name, every_frames=every, phase=phase, paint=paint))

    def start(self) -> None:
        """Paint everything once and then keep the pace."""
        self.refresh_now()
        self._timer.start()

    def stop(self) -> None:
        """No more frames."""
        self._timer.stop()
        self._soon_timer.stop()
        self._is_soon = False

    def refresh_now(self) -> None:
        """Paint every channel from a fresh snapshot at once: start, safety events, answers to
        commands.
        """
        snapshot = self._snapshot()
        for channel in self._channels:
            self._paint(channel, snapshot)

    def refresh_soon(self) -> None:
        """Paint every channel in the loop's next turn, at most once a frame: for safety events.

        Not within the call: what emits such an event (a stop, a fill) goes first, then the picture.
        A burst of them paints once now and once with the next frame, never once each.
        """
        for channel in self._channels:
            channel.is_asked_for = True
        if not self._is_soon and not self._was_soon:
            self._is_soon = True
            self._soon_timer.start()

    def _refresh_as_asked(self) -> None:
        self._is_soon, self._was_soon = False, True
        self.refresh_now()

    def painted(self) -> dict[str, int]:
        """How often each channel was painted so far."""
        return {channel.name: channel.painted for channel in self._channels}

    def _frame(self) -> None:
        self._was_soon = False
        self._frames += 1
        due = [
            channel
            for channel in self._channels
            if channel.is_asked_for or (self._frames - channel.phase) % channel.every_frames == 0
        ]
        if not due:
            return
        snapshot = self._snapshot()
        for channel in due:
            self._paint(channel, snapshot)

    def _paint(self, channel: _Channel, snapshot: EngineSnapshot | None) -> None:
        channel.is_asked_for = False
        channel.painted += 1
        channel.paint(snapshot)

    def _snapshot(self) -> EngineSnapshot | None:
        try:
            snapshot = self._take()
        except Exception:
            # A slot is one of the supervised places; a silent engine must be shown, not raised.
            if not self._is_failing:
                _log.exception("the engine gives no snapshot")
            self._is_failing = True
            return None
        self._is_failing = False
        return snapshot
