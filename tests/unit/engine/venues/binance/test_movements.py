"""What moves the wallet beside our executions: funding and transfers, to the end of their pages."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import OutcomeUnknown
from engine.model.venue import MovementKind
from engine.venues.binance import account as account_module
from tests.contract.binance_in_memory import Adapter, on_binance_adapter
from tests.contract.harness import BTC

_INCOME = "GET /fapi/v1/income"


async def _deal(adapter: Adapter, times: int) -> None:
    for _ in range(times):
        await adapter.desk.buy("BTCUSDT", "0.1")
        await adapter.desk.sell("BTCUSDT", "0.1")


def test_movements_tell_the_wallet_to_the_last_decimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "PAGE", 3)

    async def story(adapter: Adapter) -> None:
        reads, venue = adapter.venue.emergency_reads, adapter.desk.exchange.venue
        began = await adapter.venue.balance()
        await _deal(adapter, 3)
        await adapter.desk.buy("BTCUSDT", "0.5")
        venue.settle_funding(BTC, Decimal("0.0001"))
        venue.transfer(Decimal("-250"))
        movements = await reads.movements(since_ns=0)
        kinds = {movement.kind for movement in movements}
        assert kinds == {
            MovementKind.FUNDING,
            MovementKind.TRANSFER,
            MovementKind.FEE,
            MovementKind.REALISED,
        }
        assert len({movement.movement_id for movement in movements}) == len(movements) > 3
        moved = sum((movement.amount for movement in movements), Decimal(0))
        assert began.balance + moved == (await adapter.venue.balance()).balance
        (funding,) = [each for each in movements if each.kind is MovementKind.FUNDING]
        assert (funding.symbol, funding.currency) == (BTC, "USDT")
        assert funding.amount == Decimal("-3")
        later = await reads.movements(since_ns=funding.ts_ns + 1)
        assert funding not in later

    on_binance_adapter(story)


def test_a_page_that_fails_fails_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "PAGE", 3)

    async def story(adapter: Adapter) -> None:
        await _deal(adapter, 3)
        adapter.desk.inject(on=_INCOME, kind="error", answer="unknown_500", skip=1, times=1)
        with pytest.raises(OutcomeUnknown):
            await adapter.venue.emergency_reads.movements(since_ns=0)

    on_binance_adapter(story)


def test_executions_of_a_venue_whose_clock_is_ahead_are_not_taken_for_none() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.desk.clock.sleep(1)
        adapter.desk.inject(kind="clock_skew", seconds=0.9)  # Less than would be refused.
        adapter.desk.ahead_ns = 900_000_000
        await adapter.desk.buy("BTCUSDT", "0.1")
        await adapter.desk.clock.sleep(0.1)
        (told,) = [each.fill for each in adapter.heard if each.fill]
        assert told.ts_ns > adapter.rest.venue_now_ms() * 10**6
        assert await adapter.venue.executions(since_ns=told.ts_ns) == (told,)
        assert await adapter.venue.emergency_reads.movements(since_ns=told.ts_ns)

    on_binance_adapter(story)
