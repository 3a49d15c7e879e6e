"""Campaign: the whole engine on a simulated Binance and on a simulated Bybit that do everything
wrong, judged by the venue's own books.

Each seed lives through 5 to 15 simulated minutes at each venue: prices wander and crash, signals
come both ways, an operator holds, resumes and stops, others trade on the account, positions are
liquidated, funding is paid; requests are lost before and after they took effect, answered with
every error, late, cut short or not at all, limits and bans are imposed, clocks go wrong, pushes
come twice, late, in another order, broken or not at all, streams are cut and go silent, the venue
is away; and the engine is stopped in order or killed: at a random moment, right before or after
the bytes of a request leave, or with its last commits lost. Then the faults end, and it must come
to rest.

Invariants: see `tests.venue_auditor`; beside those, nothing broke in any of the engine's lives and
a latched engine ends flat by the venue's truth.
"""

from __future__ import annotations

import random
from pathlib import Path

from engine.runtime import SimClock, run_simulated
from tests.campaigns._venue_rig import Rig, exchange_keys
from tests.campaigns._venue_schedule import BAN_S, Schedule
from tests.venue_auditor import Run, judged, problems_of

SEED_LIMIT_S = 60
VENUES = ("binance", "bybit")
_START_NS = 1_795_000_000_000_000_000
# Absence counts after 31 s, reconciliation looks every 60 s, a stop makes sure for a minute.
_REST_S = 150.0
_REST_STEP_S = 10.0


def run_seed(seed: int, workdir: Path) -> dict[str, object]:
    """Both venues; see the module."""
    return {venue: run_venue(venue, seed, workdir / venue) for venue in VENUES}


def run_venue(venue: str, seed: int, folder: Path) -> dict[str, object]:
    """One venue's schedule of this seed; AssertionError names what broke."""
    folder.mkdir()
    with exchange_keys():
        return run_simulated(
            lambda clock: _campaign(clock, venue, seed, folder), start_ns=_START_NS
        )


async def _campaign(clock: SimClock, venue: str, seed: int, folder: Path) -> dict[str, object]:
    chance = random.Random(f"{venue}-{seed}")
    schedule = Schedule(clock=clock, folder=folder, venue=venue, seed=seed, chance=chance)
    rig = schedule.rig
    try:
        await schedule.play()
        await schedule.end_faults()
        await _come_to_rest(rig, schedule.quiet_until_ns)
        latched = rig.is_latched()
        await rig.stop()
        run = Run(
            books=rig.exchange.books(),
            state_db=rig.data_dir / "state.db",
            excused=tuple(rig.excused),
            flight_s=rig.latency.slow_most_s or rig.latency.most_s,
            ban_s=BAN_S[venue],
        )
        problems = [*problems_of(run), *rig.faults]
        if latched and run.books["positions"]:
            problems.append(f"latched and not flat: {run.books['positions']}")
        assert not problems, f"{venue} seed {seed}: {len(problems)}: " + "; ".join(problems[:8])
        counted = judged(run)
        return {
            "simulated_s": round((clock.now_ns() - _START_NS) / 1e9),
            "done": schedule.done,
            "orders": counted.orders,
            "entries": counted.entries,
            "fills": counted.fills,
            "stops": counted.stops,
            "unresolved": counted.unresolved,
            "positions_opened": counted.positions_opened,
            "liquidation_fills": counted.liquidations,
            "foreign_fills": counted.foreign_fills,
            "faults": counted.faults,
            "latched": latched,
        }
    finally:
        await rig.abandon()


async def _come_to_rest(rig: Rig, quiet_until_ns: int) -> None:
    """Time for what was lost to be found; a little more where something is still on its way."""
    await rig.clock.sleep(max(0.0, (quiet_until_ns - rig.clock.now_ns()) / 1e9) + _REST_S)
    for _ in range(6):
        if not rig.unsettled():
            return
        await rig.clock.sleep(_REST_STEP_S)


__all__ = ["SEED_LIMIT_S", "VENUES", "run_seed", "run_venue"]
