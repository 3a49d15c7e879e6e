"""Batches: every item is judged by its own answer, and a lost answer leaves every item unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import InvariantBroken, OutcomeUnknown, Refused
from engine.model.ids import ClientOrderId
from engine.model.orders import Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.model.venue import Approved, OrderAck
from tests.contract.binance_in_memory import Adapter, on_binance_adapter
from tests.contract.harness import BTC

_BATCH = "POST /fapi/v1/batchOrders"


def _intent(number: int, *, reduce_only: bool, side: Side = Side.SELL, price: str = "") -> Intent:
    return Intent(
        client_order_id=ClientOrderId(f"node-g1-{number}"),
        symbol=BTC,
        side=side,
        kind=OrderKind.LIMIT if price else OrderKind.MARKET,
        purpose=OrderPurpose.EXIT if reduce_only else OrderPurpose.ENTRY,
        quantity=Decimal("0.1"),
        price=Decimal(price) if price else None,
        reduce_only=reduce_only,
        leverage=Decimal(5),
    )


async def _hold(adapter: Adapter, quantity: str) -> None:
    await adapter.desk.buy("BTCUSDT", quantity)


async def _held(adapter: Adapter) -> Decimal:
    return sum((each.quantity for each in await adapter.venue.positions()), Decimal(0))


def _closes(number: int) -> list[Intent]:
    return [_intent(each, reduce_only=True) for each in range(1, number + 1)]


@pytest.mark.parametrize("hedged", [False, True])
def test_closes_are_judged_one_by_one(hedged: bool) -> None:
    async def story(adapter: Adapter) -> None:
        leg = {"positionSide": "LONG"} if hedged else {}
        await adapter.desk.buy("BTCUSDT", "0.2", **leg)
        answers = await adapter.venue.batches.reduce(_closes(3))
        assert [type(answer) for answer in answers] == [OrderAck, OrderAck, Refused]
        assert answers[0] != answers[1]
        assert await _held(adapter) == 0

    on_binance_adapter(story, hedged=hedged)


def test_a_lost_answer_leaves_every_close_unknown_and_nothing_is_sent_twice() -> None:
    async def story(adapter: Adapter) -> None:
        await _hold(adapter, "0.3")
        adapter.desk.inject(on=_BATCH, kind="timeout_after", times=1)
        with pytest.raises(OutcomeUnknown):
            await adapter.venue.batches.reduce(_closes(2))
        assert await _held(adapter) == Decimal("0.1")
        sent = [each["request"] for each in adapter.desk.exchange.arrivals]
        assert sent.count(_BATCH) == 1

    on_binance_adapter(story)


def test_cancels_are_judged_one_by_one() -> None:
    async def story(adapter: Adapter) -> None:
        for number in (1, 2):
            intent = _intent(number, reduce_only=False, side=Side.BUY, price="59000")
            await adapter.venue.place(Approved(intent=intent, policy_version=1, approved_ns=0))
        names = [ClientOrderId(f"node-g1-{number}") for number in (1, 7, 2)]
        first, second, third = await adapter.venue.batches.cancel(BTC, names)
        assert (first, third) == (None, None)
        assert isinstance(second, Refused)
        assert second.code == "-2011"
        assert await adapter.venue.open_orders() == ()

    on_binance_adapter(story)


def test_a_batch_has_its_size_and_no_entries() -> None:
    async def story(adapter: Adapter) -> None:
        batches = adapter.venue.batches
        for wrong in ([], _closes(6), [_intent(1, reduce_only=False)]):
            with pytest.raises(InvariantBroken):
                await batches.reduce(wrong)
        with pytest.raises(InvariantBroken):
            await batches.cancel(BTC, [ClientOrderId(f"n-{number}") for number in range(11)])
        assert all("batch" not in each["request"] for each in adapter.desk.exchange.arrivals)

    on_binance_adapter(story)
