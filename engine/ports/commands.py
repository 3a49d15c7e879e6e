"""Ports of the commands that come over the bus: who remembers them, and who carries them out.

Siblings: the Redis link reads and judges, the trade state remembers, the kernel acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.model.commands import BusCommand, CommandOutcome, CommandRecord


class CommandLedger(Protocol):
    """What was done already; each entry was written in the transaction of the effect itself."""

    async def known(self, commands: Sequence[BusCommand]) -> list[CommandRecord | None]:
        """For each command the record of its id, else the one that used its nonce, else None.

        Raises StoreError when the disk cannot say.
        """
        ...

    async def prune(self, *, now_ns: int) -> None:
        """Forget what can no longer come again."""
        ...


class CommandTarget(Protocol):
    """Carries out what was judged to be good."""

    def obey(self, command: BusCommand) -> bool:
        """A halt or a trip, in force when this returns; False, and nothing, for one that was."""
        ...

    async def carry_out(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        """In order; an outcome for each until the first that is postponed, which is the last."""
        ...


__all__ = ["CommandLedger", "CommandTarget"]
