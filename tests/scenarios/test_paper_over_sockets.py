"""Paper trading at a simulated exchange's prices over real sockets: the feed, the contracts, an
entry with its stop, a lost stream, an exit. In real time.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from engine.kernel import build_kernel
from engine.model.config import VenueSection
from engine.model.events import MarketStreamChanged
from engine.runtime import SystemClock
from tests.public_desk import PublicDesk
from tests.simulators.faults import Fault
from tests.simulators.wire import SimulatorServer


class _SocketDesk(PublicDesk):
    """The same desk with the network's own transport."""

    def at(self, server: SimulatorServer, venue: str) -> None:
        addresses = server.addresses()
        section = VenueSection(
            name=venue, rest_url=addresses["rest_url"], stream_url=addresses["stream_url"]
        )
        configuration = msgspec.structs.replace(self.options.configuration, venue=section)
        self.options = dataclasses.replace(self.options, configuration=configuration)

    async def build(self) -> None:
        self.kernel = await build_kernel(self.options, clock=self.clock)
        self.quieten(self.kernel)
        self.kernel.parts.bus.subscribe(self.events.append, name="story")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_a_paper_session_trades_loses_its_streams_and_trades_on(
    venue: str, tmp_path: Path
) -> None:
    desk = _SocketDesk(clock=SystemClock(), folder=tmp_path, venue=venue)
    server = SimulatorServer(exchange=desk.exchange, tasks=desk.tasks)
    await server.start()
    desk.at(server, venue)
    desk.set_prices()
    try:
        await desk.open()
        await desk.until(lambda: desk.gate() == set(), timeout_s=20)
        await desk.enter()
        desk.inject(kind=Fault.CUT_STREAMS)
        await desk.until(
            lambda: any(each.gap_s for each in desk.heard(MarketStreamChanged)), timeout_s=20
        )
        await desk.until(lambda: desk.gate() == set(), timeout_s=20)
        desk.exit()
        await desk.until(lambda: not desk.quantity() and not desk.orders(), timeout_s=20)
        await desk.assert_sound()
    finally:
        await desk.close()
        await server.close()
        await desk.close_exchange()
