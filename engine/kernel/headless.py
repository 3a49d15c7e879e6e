"""Runs an engine without a window: on real time, or on simulated time for a replay at full speed.

Ends when the recording ends, after `--for`, or at a signal; always by the staged stop. No Qt
anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.kernel.build import build_kernel
from engine.kernel.control import serve_control
from engine.kernel.kernel import Kernel
from engine.kernel.options import KernelOptions
from engine.kernel.standing import NEEDS_START
from engine.market import first_ts_ns
from engine.ports import Clock
from engine.runtime import SimClock, SystemClock, Tasks, run_simulated

_log = logging.getLogger(__name__)
_START_AGAIN_S = 0.5
# A simulated market on simulated time begins here: 2026-01-01 00:00:00 UTC.
SIMULATION_START_NS = 1_767_225_600_000_000_000


def run_headless(options: KernelOptions, *, duration_s: float | None) -> dict[str, Any]:
    """Run to the end and return the run summary."""
    if options.runs_on_simulated_time:
        return run_simulated(
            lambda clock: _run_simulated(options, clock, duration_s),
            start_ns=_start_ns(options),
        )
    return asyncio.run(_run_real(options, duration_s))


def _start_ns(options: KernelOptions) -> int:
    market = options.effective.market
    if market.feed == "replay":
        return first_ts_ns(Path(market.source))
    return SIMULATION_START_NS


def real_clock(options: KernelOptions) -> SystemClock:
    """The system's time; a replay at its own pace lives in the recording's time."""
    if options.effective.market.feed != "replay":
        return SystemClock()
    plain = SystemClock()
    return SystemClock(offset_ns=_start_ns(options) - plain.now_ns())


def hold_time_for(kernel: Kernel, clock: SimClock) -> None:
    """Simulated time stands still while a thread has work of this kernel."""
    parts = kernel.parts
    clock.add_busy_probe(lambda: parts.storage.writer.pending)
    clock.add_busy_probe(lambda: parts.storage.reader.pending)
    clock.add_busy_probe(lambda: parts.venue.pending)
    clock.add_busy_probe(parts.stop.pending_writes)
    clock.add_busy_probe(lambda: parts.backups.pending)


async def _run_simulated(
    options: KernelOptions, clock: SimClock, duration_s: float | None
) -> dict[str, Any]:
    kernel = await build_kernel(options, clock=clock)
    hold_time_for(kernel, clock)
    return await _live(kernel, clock, duration_s)


async def _run_real(options: KernelOptions, duration_s: float | None) -> dict[str, Any]:
    clock = real_clock(options)
    kernel = await build_kernel(options, clock=clock)
    async with serve_control(kernel, options.data_dir):
        return await _live(kernel, clock, duration_s)


async def _live(kernel: Kernel, clock: Clock, duration_s: float | None) -> dict[str, Any]:
    """Start, run, summarise, stop. A signal ends the run like the end of its time."""
    ended = asyncio.Event()
    tasks = Tasks(on_fault=lambda name, error: kernel.faults.append(f"{name}: {error!r}"))

    async def then_end(wait: Callable[[], Awaitable[None]]) -> None:
        await wait()
        ended.set()

    loop = asyncio.get_running_loop()
    signals = _watch_signals(loop, ended.set)
    try:
        await kernel.start()
        if kernel.parts.options.confirm_live:
            tasks.spawn("START LIVE", start_live(kernel, clock))
        if kernel.parts.options.effective.market.feed == "replay":
            tasks.spawn("end of the recording", then_end(kernel.run_until_feed_ends))
        if duration_s is not None:
            seconds = duration_s
            tasks.spawn("end of the run", then_end(lambda: clock.sleep(seconds)))
        await ended.wait()
        await kernel.end_trading()
        summary = await kernel.summary()
    finally:
        await tasks.cancel_all()
        for number in signals:
            loop.remove_signal_handler(number)
        await kernel.stop()
    # The link had until the end of the stop to catch up.
    summary["journal"] |= kernel.journal_figures()
    summary["redis"]["replayed"] = kernel.parts.redis.snapshot().replayed
    summary["ok"] = summary["ok"] and not kernel.faults
    return summary


async def start_live(kernel: Kernel, clock: Clock) -> None:
    """The confirmation of the command line, given as soon as every condition of a start is met:
    once, and not where a reset has left the engine waiting for a START of its own.
    """
    parts = kernel.parts
    if NEEDS_START in parts.storage.open_state.standing:
        _log.warning("not started: a reset before this run asks for `seawall start`")
        return
    told: tuple[str, ...] = ()
    while True:
        result = await kernel.client.start(
            reason="confirmed on the command line",
            author="command line",
            confirm_live=parts.options.confirm_live,
        )
        if result.ok:
            return
        unmet = tuple(entry.condition for entry in result.unmet)
        if unmet != told:
            told = unmet
            _log.info("START LIVE waits for %s", ", ".join(unmet))
        if "not_latched" in unmet:
            return  # Whoever presses the stop has withdrawn the confirmation.
        await clock.sleep(_START_AGAIN_S)


def _watch_signals(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> list[int]:
    watched: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, end)
        except (NotImplementedError, ValueError, RuntimeError):
            continue  # Not the main thread, or a platform without: the run ends by its time.
        watched.append(number)
    return watched


__all__ = ["SIMULATION_START_NS", "hold_time_for", "real_clock", "run_headless", "start_live"]
