"""Stories of entries: from a signal to a protected position, and everything that can go wrong."""

from __future__ import annotations

from engine.model.values import Side
from tests.desk import BTC, Desk, story


@story()
async def test_a_signal_becomes_a_protected_position(desk: Desk) -> None:
    """Goal: one signal, one entry at the venue, one position, one stop of its size."""
    signal = desk.signal(Side.BUY)
    took_s = await desk.until(desk.protected)
    assert took_s < 5.0
    assert desk.entries_at_venue() == 1
    assert desk.quantity() == desk.venue_positions()[BTC] > 0
    record = desk.order_of(signal)
    assert record is not None
    assert record.intent.policy_version == 1
