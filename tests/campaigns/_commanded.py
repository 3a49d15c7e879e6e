"""The program of the command campaign: an engine that is killed while the bus tells it what to do.

    python -m tests.campaigns._commanded engine DIR URL POINT COUNT

runs an engine until it dies by SIGKILL: at the COUNT-th visit of POINT (by its own hand), or from
outside. Points: `read` (a batch was read, nothing done), `effect` (the effects are committed and
nothing is acknowledged), `obeyed` (a stop is in force and not on the disk yet), `acknowledged`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.model.commands import BusCommand, CommandOutcome
from engine.runtime import SystemClock
from tests.desk import Desk

POINTS = ("read", "effect", "obeyed", "acknowledged")
POLICY = {"signal_rate": "50", "max_orders_per_minute": "1000", "signal_ttl_s": "30"}


class _Reaper:
    """Counts the visits to one point and dies at the last."""

    def __init__(self, point: str, count: int) -> None:
        self._point, self._left = point, count

    def visit(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """The kernel's own target, with a reaper beside it."""

    def __init__(self, target: Any, reaper: _Reaper) -> None:
        self._target, self._reaper = target, reaper

    def obey(self, command: BusCommand) -> bool:
        news: bool = self._target.obey(command)
        if news:
            self._reaper.visit("obeyed")
        return news

    async def carry_out(self, commands: Sequence[BusCommand]) -> list[CommandOutcome]:
        self._reaper.visit("read")
        found: list[CommandOutcome] = await self._target.carry_out(commands)
        self._reaper.visit("effect")
        return found


async def _engine(folder: Path, url: str, reaper: _Reaper) -> None:
    desk = Desk(clock=SystemClock(), folder=folder, redis_url=url, policy=POLICY)
    await desk.build()
    ingress = desk.kernel.parts.redis._ingress
    assert ingress is not None
    ingress._target = _Watched(ingress._target, reaper)
    consume = ingress._work_off

    async def worked_off(*arguments: Any) -> None:
        await consume(*arguments)
        reaper.visit("acknowledged")

    ingress._work_off = worked_off  # type: ignore[method-assign]  # A kill point, not a double.
    await desk.kernel.start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    _, _, folder, url, point, count = sys.argv
    asyncio.run(_engine(Path(folder), url, _Reaper(point, int(count))))
