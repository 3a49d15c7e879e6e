"""Bybit's adapter on connections that only read: whatever it is asked, nothing is changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
import pytest

from engine.model.api_key import ApiKey
from engine.model.errors import InvariantBroken
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved
from engine.runtime import Chance, Tasks
from engine.venues.bybit import endpoints, reads
from engine.venues.bybit.endpoints import Endpoint
from engine.venues.bybit.key_rights import read_key_rights
from engine.venues.bybit.requests import Request
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.user_stream import BybitUserStream
from engine.venues.bybit.venue import BybitVenue
from engine.venues.transport.rate_limits import RateLimits
from engine.venues.transport.read_only import ReadOnlyConnections, public_sockets
from tests.simulators.in_memory import BybitDesk, on_bybit
from tests.simulators.in_memory_transport import InMemoryConnections, Line, in_memory_sockets

BTC = Symbol("BTCUSDT")
_KNOWN = [each for each in vars(endpoints).values() if isinstance(each, Endpoint)]


class _Adapter:
    """The whole adapter with its private stream, on a simulated exchange that it can only read."""

    def __init__(self, desk: BybitDesk) -> None:
        self.desk, clock = desk, desk.clock
        self.tasks = Tasks(on_fault=lambda name, error: None)
        line = Line(clock=clock, tasks=self.tasks)
        self.rest = BybitRest(
            clock=clock,
            key=ApiKey(key="test-key", secret="test-secret"),
            connections=ReadOnlyConnections(
                InMemoryConnections(desk.exchange, clock, line=line, tasks=self.tasks),
                paths=reads.READ_PATHS,
            ),
            limits=RateLimits(clock=clock, pools=endpoints.POOLS),
        )
        self.stream = BybitUserStream(
            clock=clock,
            chance=Chance(seed=1, name="delays"),
            tasks=self.tasks,
            rest=self.rest,
            stream_url="wss://anywhere",
            open_socket=public_sockets(
                in_memory_sockets(desk.exchange, clock, line=line, tasks=self.tasks),
                paths=reads.PUBLIC_STREAM_PATHS,
            ),
        )
        self.venue = BybitVenue(
            clock=clock,
            rest=self.rest,
            symbols=(BTC,),
            final_check=lambda approved: (),
            stream=self.stream,
        )


def _on_reads(story: Callable[[_Adapter], Awaitable[None]]) -> None:
    async def run(desk: BybitDesk) -> None:
        desk.exchange.venue.set_price(BTC, Decimal(60000))
        adapter = _Adapter(desk)
        try:
            await adapter.venue.start()
            await story(adapter)
        finally:
            await adapter.tasks.cancel_all()
        assert list(desk.exchange.arrivals) == [], "a request to change something came in"
        assert not desk.exchange.sessions

    on_bybit(run)


def _intent(**fields: object) -> Intent:
    return msgspec.convert(
        {
            "client_order_id": "node-g1-1",
            "symbol": BTC,
            "side": Side.BUY,
            "kind": OrderKind.MARKET,
            "purpose": OrderPurpose.ENTRY,
            "quantity": Decimal("0.1"),
            "leverage": Decimal(5),
            **fields,
        },
        Intent,
    )


def _approved() -> Approved:
    return Approved(intent=_intent(), policy_version=1, approved_ns=0)


_EXIT = _intent(side=Side.SELL, reduce_only=True, purpose=OrderPurpose.EXIT)
_STOP = _intent(
    side=Side.SELL,
    reduce_only=True,
    kind=OrderKind.STOP_MARKET,
    trigger_price=Decimal(50000),
    purpose=OrderPurpose.PROTECTIVE_STOP,
)


def test_every_read_answers() -> None:
    async def story(adapter: _Adapter) -> None:
        venue = adapter.venue
        assert venue.instrument(BTC).tick_size > 0
        assert (await venue.balance()).balance == Decimal(100_000)
        assert await venue.positions() == ()
        assert await venue.open_orders() == ()
        assert await venue.order(BTC, ClientOrderId("node-g1-1")) is None
        assert await venue.executions(since_ns=0) == ()
        assert await venue.emergency_reads.positions() == ()
        assert await venue.settings.protection_s() is None
        rights = await read_key_rights(adapter.rest)
        assert (rights.can_trade, rights.can_withdraw) == (True, False)
        adapter.desk.exchange.desk.key_may_withdraw = True
        assert (await read_key_rights(adapter.rest)).can_withdraw

    _on_reads(story)


@pytest.mark.parametrize(
    "act",
    [
        lambda venue: venue.place(_approved()),
        lambda venue: venue.amend(_approved()),
        lambda venue: venue.reduce(_EXIT),
        lambda venue: venue.reduce(_STOP),
        lambda venue: venue.amend_exit(_EXIT),
        lambda venue: venue.cancel(BTC, ClientOrderId("node-g1-1")),
        lambda venue: venue.cancel_all(BTC, conditional=False),
        lambda venue: venue.cancel_all(BTC, conditional=True),
        lambda venue: venue.batches.place([_approved()]),
        lambda venue: venue.batches.reduce([_EXIT]),
        lambda venue: venue.batches.amend([_approved()]),
        lambda venue: venue.batches.cancel([(BTC, ClientOrderId("node-g1-1"))]),
        lambda venue: venue.settings.use_leverage(BTC, Decimal(7)),
        lambda venue: venue.settings.use_mode(hedged=True),
        lambda venue: venue.settings.set_stops(BTC, position_side=Side.BUY, stop_loss=Decimal(1)),
        lambda venue: venue.settings.set_protection(30),
    ],
)
def test_whatever_changes_something_is_a_fault_before_it_leaves(
    act: Callable[[BybitVenue], Awaitable[object]],
) -> None:
    async def story(adapter: _Adapter) -> None:
        with pytest.raises(InvariantBroken, match="only reads"):
            await act(adapter.venue)

    _on_reads(story)


def test_no_endpoint_that_the_adapter_knows_gets_through_unless_it_is_listed_as_a_read() -> None:
    async def story(adapter: _Adapter) -> None:
        for endpoint in _KNOWN:
            if endpoint.method == "GET":
                assert endpoint.path in reads.READ_PATHS, f"{endpoint.path} is not listed"
                continue
            request = Request(endpoint=endpoint, payload=b"{}")
            with pytest.raises(InvariantBroken, match=f"{endpoint.method} {endpoint.path}"):
                await adapter.rest.call(request, bytes)

    assert len(_KNOWN) > 15
    _on_reads(story)


@pytest.mark.allow_log("task Bybit user stream failed")
def test_the_private_stream_is_out_of_reach_too() -> None:
    async def story(adapter: _Adapter) -> None:
        adapter.stream.start()
        await adapter.desk.clock.sleep(5)
        assert not adapter.venue.is_connected()

    _on_reads(story)


def test_the_public_reads_need_no_key() -> None:
    public = {each.path for each in _KNOWN if not each.is_signed}
    assert public == reads.PUBLIC_PATHS
    assert not reads.PUBLIC_PATHS & reads.ACCOUNT_PATHS
