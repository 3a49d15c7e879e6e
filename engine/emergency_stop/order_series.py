"""Client order ids of closing orders: `NODE-gG-sFENCE-N`, a series of their own.

Why not the engine's numbers: they come from the database, which may be locked or gone when the stop
runs. The fence is the latch file's, raised at every start before the stop may send anything, so an
id of an earlier process is never used again; within a process N only grows.
"""

from __future__ import annotations

import re

from engine.model.errors import require
from engine.model.ids import CLIENT_ORDER_ID_LENGTH_MAX, ClientOrderId

_CLOSING = re.compile(r"^[a-z0-9-]+-g\d+-s\d+-\d+$")
# 2020-01-01 in UTC seconds: counting from here keeps the number short.
_EPOCH_S = 1_577_836_800


class ClosingOrderIds:
    """Numbers the closing orders of one process."""

    def __init__(self, *, node: str, generation: int, fence: int) -> None:
        self._prefix = f"{node}-g{generation}-s{fence}-"
        self._number = 0

    def next(self) -> ClientOrderId:
        self._number += 1
        text = f"{self._prefix}{self._number}"
        require(len(text) <= CLIENT_ORDER_ID_LENGTH_MAX, f"closing order id {text!r} is too long")
        return ClientOrderId(text)

    def made(self, identifier: ClientOrderId) -> bool:
        """Whether an id is one of this process's closing orders."""
        return identifier.startswith(self._prefix)


def is_closing_order(identifier: ClientOrderId) -> bool:
    """Whether an id was made by an emergency stop, of whatever process."""
    return _CLOSING.match(identifier) is not None


def next_fence(*, last: int, is_certain: bool, now_ns: int) -> int:
    """The fence of a new process. When `last` is not certain (a damaged latch) the clock vouches:
    the seconds since 2020 are far above any count of starts."""
    return last + 1 if is_certain else max(last + 1, now_ns // 1_000_000_000 - _EPOCH_S)


__all__ = ["ClosingOrderIds", "is_closing_order", "next_fence"]
