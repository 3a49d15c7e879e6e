"""What a venue says of its books."""

from __future__ import annotations

import pytest

from engine.model.values import Side
from engine.model.venue import Leg


@pytest.mark.parametrize(
    ("side", "reduce_only", "leg"),
    [
        (Side.BUY, False, Leg.LONG),
        (Side.SELL, False, Leg.SHORT),
        (Side.SELL, True, Leg.LONG),
        (Side.BUY, True, Leg.SHORT),
    ],
)
def test_an_order_says_by_itself_which_leg_it_works_on(
    side: Side, reduce_only: bool, leg: Leg
) -> None:
    assert Leg.of(side, reduce_only=reduce_only) is leg
