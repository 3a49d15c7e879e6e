"""Batches: every item is judged by its own answer, and a lost answer leaves every item unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.model.errors import (
    Denied,
    InvariantBroken,
    NotExecuted,
    OutcomeUnknown,
    Refused,
)
from engine.model.ids import ClientOrderId
from engine.model.reasons import Reason, ReasonCode
from engine.model.venue import Approved, OrderAck
from tests.contract.bybit_in_memory import (
    Adapter,
    approved,
    exit_of,
    intent,
    limit,
    on_bybit_adapter,
    stop,
)
from tests.contract.harness import BTC

_BATCH = "POST /v5/order/create-batch"
_CANCELS = "POST /v5/order/cancel-batch"


def _entries(*numbers: int) -> list[Approved]:
    return [approved(limit(number)) for number in numbers]


async def _open(adapter: Adapter) -> set[str]:
    return {order.client_order_id for order in await adapter.venue.open_orders()}


def test_entries_are_judged_one_by_one_in_the_order_asked_for() -> None:
    async def story(adapter: Adapter) -> None:
        wanted = [
            approved(limit(1)),
            approved(limit(2, price="10")),  # Ours refuses it, and nothing else of the batch.
            approved(limit(3, quantity=Decimal(100))),  # The venue does: there is no margin.
            approved(limit(4)),
        ]
        results = await adapter.venue.batches.place(wanted)
        assert [type(each) for each in results] == [OrderAck, Refused, Refused, OrderAck]
        assert [each.code for each in results if isinstance(each, Refused)] == ["110094", "110007"]
        assert await _open(adapter) == {"node-g1-1", "node-g1-4"}
        adapter.inject(kind="batch_item", on=_BATCH, skip=1)
        results = await adapter.venue.batches.place(_entries(5, 6, 7))
        assert [type(each) for each in results] == [OrderAck, OutcomeUnknown, OrderAck]

    on_bybit_adapter(story)


def test_a_lost_answer_leaves_every_item_unknown_and_nothing_is_sent_twice() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="timeout_after", on=_BATCH)
        results = await adapter.venue.batches.place(_entries(1, 2))
        assert [type(each) for each in results] == [OutcomeUnknown] * 2
        assert adapter.requests().count(_BATCH) == 1
        assert await _open(adapter) == {"node-g1-1", "node-g1-2"}
        adapter.inject(kind="malformed_answer", on=_CANCELS)
        names = [(BTC, ClientOrderId("node-g1-1")), (BTC, ClientOrderId("node-g1-2"))]
        results = await adapter.venue.batches.cancel(names)
        assert [type(each) for each in results] == [OutcomeUnknown] * 2
        adapter.inject(kind="error", on=_BATCH, answer="rate_10006")
        results = await adapter.venue.batches.place(_entries(3))
        assert [type(each) for each in results] == [NotExecuted]

    on_bybit_adapter(story)


def test_one_that_the_final_check_denies_is_left_out_and_the_others_go() -> None:
    asked: list[str] = []

    def check(entry: Approved) -> tuple[Reason, ...]:
        asked.append(entry.intent.client_order_id)
        is_second = entry.intent.client_order_id == "node-g1-2"
        return (Reason(code=ReasonCode.HALTED),) if is_second else ()

    async def story(adapter: Adapter) -> None:
        results = await adapter.venue.batches.place(_entries(1, 2, 3))
        assert [type(each) for each in results] == [OrderAck, Denied, OrderAck]
        assert await _open(adapter) == {"node-g1-1", "node-g1-3"}
        # Those that went were asked again in the step in which they did.
        assert asked[-2:] == ["node-g1-1", "node-g1-3"]
        assert adapter.requests().count(_BATCH) == 1
        (denied,) = await adapter.venue.batches.amend([approved(limit(2))])
        assert isinstance(denied, Denied)

    on_bybit_adapter(story, final_check=check)


def test_more_than_a_request_holds_goes_in_several_within_the_limit() -> None:
    async def story(adapter: Adapter) -> None:
        results = await adapter.venue.batches.place(_entries(*range(1, 21)))
        assert [each.client_order_id for each in results if isinstance(each, OrderAck)] == [
            f"node-g1-{number}" for number in range(1, 21)
        ]
        # Entries plan with eight of the ten orders that the venue takes in a second.
        assert adapter.requests().count(_BATCH) == 3
        names = [(BTC, ClientOrderId(f"node-g1-{number}")) for number in range(1, 21)]
        results = await adapter.venue.batches.cancel(names)
        assert {type(each) for each in results} == {OrderAck}
        assert adapter.requests().count(_CANCELS) == 2
        assert await _open(adapter) == set()

    on_bybit_adapter(story)


def test_an_id_that_stands_is_looked_up_in_a_batch_too() -> None:
    async def story(adapter: Adapter) -> None:
        (first,) = await adapter.venue.batches.place(_entries(1))
        again, other = await adapter.venue.batches.place([*_entries(1), *_entries(2)])
        assert again == first
        assert isinstance(other, OrderAck)
        (refused,) = await adapter.venue.batches.place([approved(limit(1, price="58000"))])
        assert isinstance(refused, Refused)
        adapter.inject(kind="error", on="GET /v5/order/realtime", answer="server_10016")
        (unknown,) = await adapter.venue.batches.place(_entries(1))
        assert isinstance(unknown, OutcomeUnknown)

    on_bybit_adapter(story)


@pytest.mark.parametrize("hedged", [False, True])
def test_closes_and_stops_go_together(hedged: bool) -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1, quantity="0.2")))
        results = await adapter.venue.batches.reduce([exit_of(2), stop(3), exit_of(4), exit_of(5)])
        assert [type(each) for each in results] == [OrderAck, OrderAck, OrderAck, Refused]
        assert await adapter.legs() == {}
        for wrong in ([intent(6)], [exit_of(7), intent(8)]):
            with pytest.raises(InvariantBroken):
                await adapter.venue.batches.reduce(wrong)

    on_bybit_adapter(story, hedged=hedged)


def test_amendments_are_judged_one_by_one() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.batches.place(_entries(1, 2))
        wanted = [limit(1, price="58000"), limit(9, price="58000"), limit(2, price="10")]
        results = await adapter.venue.batches.amend([approved(each) for each in wanted])
        assert [type(each) for each in results] == [OrderAck, Refused, Refused]
        prices = {order.price for order in await adapter.venue.open_orders()}
        assert prices == {Decimal(58000), Decimal(59000)}
        assert await adapter.venue.batches.amend([]) == ()

    on_bybit_adapter(story)
