"""Reads go to the end of their cursors or fail; what moved the wallet adds up to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from engine.model.errors import EngineError, NotExecuted, OutcomeUnknown
from engine.model.venue import MovementKind
from engine.venues.bybit import account as account_module
from engine.venues.bybit import requests
from tests.contract.bybit_in_memory import (
    Adapter,
    approved,
    exit_of,
    intent,
    limit,
    on_bybit_adapter,
)
from tests.contract.harness import BTC, ETH
from tests.simulators.exchange import Answer


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows on every page."""
    for name in ("_ORDERS", "_EXECUTIONS", "_POSITIONS", "_CONTRACTS", "_MOVEMENTS"):
        monkeypatch.setattr(requests, f"{name}_PER_PAGE", 2)


async def _filled_account(adapter: Adapter) -> None:
    """Five executions, three positions, five open orders."""
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")):
        await adapter.desk.order(symbol, "Buy", "0.1", orderLinkId=f"desk-g1-{number}")
    for number in (11, 12):
        await adapter.venue.place(approved(intent(number)))
    for number in range(1, 6):
        await adapter.venue.place(approved(limit(number)))


_READS: dict[str, tuple[str, int, Callable[[Adapter], Awaitable[tuple[object, ...]]]]] = {
    "positions": ("GET /v5/position/list", 3, lambda each: each.venue.positions()),
    "open_orders": ("GET /v5/order/realtime", 5, lambda each: each.venue.open_orders()),
    "orders_of_one": ("GET /v5/order/realtime", 5, lambda each: each.venue.open_orders(BTC)),
    "executions": (
        "GET /v5/execution/list",
        5,
        lambda each: each.venue.executions(since_ns=each.desk.clock.now_ns() - 10**12),
    ),
    "movements": (
        "GET /v5/account/transaction-log",
        5,
        lambda each: each.venue.movements(since_ns=each.desk.clock.now_ns() - 10**12),
    ),
}


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize("read", sorted(_READS))
def test_a_read_goes_to_the_last_page_and_a_failed_page_fails_it(read: str) -> None:
    subject, number, ask = _READS[read]

    async def story(adapter: Adapter) -> None:
        await _filled_account(adapter)
        assert len(set(await ask(adapter))) == number
        for fault, error in (("drop_after", OutcomeUnknown), ("malformed_answer", NotExecuted)):
            for skip in range((number + 1) // 2):
                adapter.inject(kind=fault, on=subject, skip=skip)
                with pytest.raises(error):
                    await ask(adapter)
                adapter.desk.exchange.faults.clear()

    on_bybit_adapter(story)


@pytest.mark.usefixtures("short_pages")
def test_contracts_are_read_to_the_last_page() -> None:
    async def story(adapter: Adapter) -> None:
        listed = adapter.desk.exchange.venue.contracts
        assert {adapter.venue.instrument(symbol).symbol for symbol in listed} == set(listed)

    on_bybit_adapter(story)


@pytest.mark.usefixtures("short_pages")
def test_a_cursor_that_does_not_move_fails_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(adapter: Adapter) -> None:
        await _filled_account(adapter)
        handle = adapter.desk.exchange.handle

        def stuck(request: object) -> Answer:
            answer = handle(request)  # type: ignore[arg-type]
            return Answer(
                status=answer.status,
                body=answer.body.replace(b'"page:4"', b'"page:2"'),
                headers=answer.headers,
            )

        monkeypatch.setattr(adapter.desk.exchange, "handle", stuck)
        with pytest.raises(NotExecuted, match="cursor"):
            await adapter.venue.open_orders()

    on_bybit_adapter(story)


def test_a_long_time_is_read_window_by_window_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A window of the venue's is a week; here it is a second."""
    monkeypatch.setattr(account_module, "WINDOW_MS", 1000)

    async def story(adapter: Adapter) -> None:
        began_ns = adapter.desk.clock.now_ns()
        for number in range(1, 7):
            await adapter.venue.place(approved(intent(number, quantity="0.01")))
            adapter.desk.exchange.venue.settle_funding(BTC, Decimal("0.0001"))
            await adapter.desk.clock.sleep(0.5)
        await adapter.venue.place(approved(intent(7, symbol=ETH, quantity="0.1")))
        fills = await adapter.venue.executions(since_ns=began_ns)
        assert [fill.client_order_id for fill in fills] == [f"node-g1-{n}" for n in range(1, 8)]
        later = await adapter.venue.executions(since_ns=fills[2].ts_ns)
        assert later == fills[2:]
        assert await adapter.venue.executions(since_ns=began_ns, symbol=ETH) == fills[6:]
        # Funding stands in the same list, and is no fill.
        movements = await adapter.venue.movements(since_ns=began_ns)
        assert sum(1 for each in movements if each.kind is MovementKind.FUNDING) == 6

    on_bybit_adapter(story)


def test_executions_of_a_venue_whose_clock_is_ahead_are_not_taken_for_none() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="clock_skew", seconds=0.9)  # Less than would be refused.
        await adapter.venue.place(approved(intent(1)))
        await adapter.desk.clock.sleep(0.1)
        (told,) = [each.fill for each in adapter.heard if each.fill]
        assert told.ts_ns > adapter.rest.venue_now_ms() * 10**6
        assert await adapter.venue.executions(since_ns=told.ts_ns) == (told,)

    on_bybit_adapter(story)


def test_movements_tell_the_wallet_to_the_last_decimal() -> None:
    async def story(adapter: Adapter) -> None:
        venue = adapter.desk.exchange.venue
        began = await adapter.venue.balance()
        began_ns = adapter.desk.clock.now_ns()
        for number in range(1, 4):
            await adapter.venue.place(approved(intent(2 * number, quantity="0.3")))
            await adapter.venue.reduce(exit_of(2 * number + 1, quantity="0.2"))
        venue.settle_funding(BTC, Decimal("0.0001"))
        venue.transfer(Decimal("-250"))
        movements = await adapter.venue.movements(since_ns=began_ns)
        assert {movement.kind for movement in movements} == {
            MovementKind.FUNDING,
            MovementKind.TRANSFER,
            MovementKind.FEE,
            MovementKind.REALISED,
        }
        assert len({movement.movement_id for movement in movements}) == len(movements)
        moved = sum((movement.amount for movement in movements), Decimal(0))
        balance = await adapter.venue.balance()
        assert began.balance + moved == balance.balance
        assert await adapter.venue.balances() == (balance,)
        (funding,) = [each for each in movements if each.kind is MovementKind.FUNDING]
        assert (funding.symbol, funding.currency, funding.amount) == (BTC, "USDT", Decimal("-1.8"))

    on_bybit_adapter(story)


def test_a_coin_of_which_there_is_nothing_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(adapter: Adapter) -> None:
        handle = adapter.desk.exchange.handle

        def without_usdt(request: object) -> Answer:
            answer = handle(request)  # type: ignore[arg-type]
            body = answer.body.replace(b'"coin":"USDT"', b'"coin":"BTC"')
            return Answer(status=answer.status, body=body, headers=answer.headers)

        monkeypatch.setattr(adapter.desk.exchange, "handle", without_usdt)
        assert (await adapter.venue.balance()).balance == 0
        assert [each.currency for each in await adapter.venue.balances()] == ["BTC"]

    on_bybit_adapter(story)


def test_a_mark_is_the_venues_and_one_that_it_has_not_is_no_price() -> None:
    async def story(adapter: Adapter) -> None:
        assert await adapter.venue.mark(BTC) == 60000
        adapter.inject(kind="drop_after", on="GET /v5/market/tickers")
        with pytest.raises(EngineError):
            await adapter.venue.mark(BTC)

    on_bybit_adapter(story)
