"""Limits by endpoint as the venue counts them, bans, and what rests after a refusal."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from engine.model.errors import NotExecuted
from engine.venues.bybit.endpoints import ADDRESS, EXECUTIONS, ORDERS, PLACE, WALLET
from engine.venues.transport.rate_limits import Lane
from tests.contract.bybit_in_memory import (
    Adapter,
    approved,
    exit_of,
    intent,
    limit,
    on_bybit_adapter,
)
from tests.contract.harness import BTC
from tests.simulators.bybit.limits import Limits


def test_a_full_second_is_waited_for_and_never_refused_by_the_venue() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(100, quantity="0.3")))
        began_ns = adapter.desk.clock.now_ns()
        await asyncio.gather(*(adapter.venue.place(approved(limit(n))) for n in range(1, 25)))
        took_s = (adapter.desk.clock.now_ns() - began_ns) / 1e9
        # Eight of the ten orders of a second are for entries.
        assert 2.0 <= took_s <= 4.5
        assert len(await adapter.venue.open_orders()) == 24

    on_bybit_adapter(story)


def test_exits_have_the_rest_of_the_limit() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(100, quantity="0.3")))
        await adapter.desk.clock.sleep(2)
        await asyncio.gather(*(adapter.venue.place(approved(limit(n))) for n in range(1, 9)))
        began_ns = adapter.desk.clock.now_ns()
        await adapter.venue.reduce(exit_of(101))
        await adapter.venue.reduce(exit_of(102))
        assert adapter.desk.clock.now_ns() == began_ns

    on_bybit_adapter(story)


def test_what_others_use_of_an_endpoint_is_counted() -> None:
    """Another program with the same key; its orders are in the venue's headers."""

    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(limit(1)))
        await adapter.desk.clock.sleep(2)
        limits = adapter.desk.exchange.desk.limits
        for _ in range(6):
            limits.admit(PLACE.path, 10, adapter.desk.exchange.clock.now_ns())
        await adapter.venue.place(approved(limit(2)))
        assert adapter.rest.limits.used(PLACE.path) == 7
        await asyncio.gather(*(adapter.venue.place(approved(limit(n))) for n in range(3, 8)))
        assert len(await adapter.venue.open_orders()) == 7

    on_bybit_adapter(story)


def test_a_limit_that_the_venue_states_is_gone_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(adapter: Adapter) -> None:
        headers = Limits.headers

        def raised(limits: Limits, pool: str, limit: int, now_ns: int) -> dict[str, str]:
            return dict(headers(limits, pool, 20 if pool == PLACE.path else limit, now_ns))

        monkeypatch.setattr(Limits, "headers", raised)
        assert adapter.rest.limits.allowance(PLACE.path, Lane.EXIT) == 10
        await adapter.venue.place(approved(limit(1)))
        assert adapter.rest.limits.allowance(PLACE.path, Lane.EXIT) == 20
        assert adapter.rest.limits.allowance(PLACE.path, Lane.ENTRY) == 16

    on_bybit_adapter(story)


def test_a_refusal_for_its_rate_rests_the_endpoint_and_no_other() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="rate_limited", on="GET /v5/account/wallet-balance", times=3)
        rests: list[float] = []
        for _ in range(3):
            with pytest.raises(NotExecuted) as told:
                await adapter.venue.balance()
            rests.append(told.value.retry_after_s)
            await adapter.venue.positions()
        assert rests == pytest.approx([1.0, 2.0, 4.0], abs=0.1)
        assert (await adapter.venue.balance()).balance == 100_000
        assert adapter.rest.limits.used(ORDERS.path) == 0
        assert adapter.rest.limits.used(WALLET.path) == 1

    on_bybit_adapter(story)


def test_a_ban_of_the_address_stops_everything_until_it_is_over() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="banned", on="GET /v5/account/wallet-balance", seconds=600)
        with pytest.raises(NotExecuted) as told:
            await adapter.venue.balance()
        assert told.value.retry_after_s == 600
        sent = adapter.rest._connections.sent  # type: ignore[attr-defined]
        for refused in (adapter.venue.positions(), adapter.venue.reduce(exit_of(1))):
            with pytest.raises(NotExecuted, match="no room"):
                await refused
        assert adapter.rest._connections.sent == sent  # type: ignore[attr-defined]
        await adapter.desk.clock.sleep(601)
        assert (await adapter.venue.balance()).balance == 100_000

    on_bybit_adapter(story)


def test_a_burst_of_600_reads_is_never_too_much_and_an_exit_passes_in_the_middle() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        asking = [
            asyncio.ensure_future(adapter.venue.order(BTC, intent(1).client_order_id))
            for _ in range(600)
        ]
        await asyncio.sleep(0)
        began_ns = adapter.desk.clock.now_ns()
        await adapter.venue.reduce(exit_of(2))
        assert adapter.desk.clock.now_ns() == began_ns
        results = await asyncio.gather(*asking, return_exceptions=True)
        failed = [each for each in results if isinstance(each, BaseException)]
        # Who would wait for too long is told so at once; the venue refuses nothing.
        assert {type(each) for each in failed} == {NotExecuted}
        assert not any("HTTP" in str(each) for each in failed)
        assert len(results) - len(failed) >= 40 * 5
        assert adapter.rest.limits.used(ADDRESS) <= 600
        assert await adapter.venue.emergency_reads.positions() == ()

    on_bybit_adapter(story)


def test_a_public_request_is_not_signed_and_counts_for_the_address_alone() -> None:
    async def story(adapter: Adapter) -> None:
        used = adapter.rest.limits.used(ADDRESS)
        assert await adapter.venue.mark(BTC) == Decimal(60000)
        assert adapter.rest.limits.used(ADDRESS) == used + 1
        assert adapter.rest.limits.used(EXECUTIONS.path) == 0

    on_bybit_adapter(story, secret="a-wrong-secret", is_started=False)
