"""Orders of Bybit by the batch: placed, changed and cancelled, each judged on its own.

An answer to a batch says success even where every item failed, so each item has an outcome of its
own here: an acknowledgement, or the error of that item alone. An answer that is lost leaves every
item of it unknown. What does not fit into one request, or into an endpoint's second, goes in
several, one after another. The final check is asked for every entry in the step in which the bytes
leave; one that it denies is left out, and the others go without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from engine.model.errors import Denied, EngineError, Refused, VenueError, require
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent
from engine.model.venue import Approved, OrderAck
from engine.venues.bybit import requests
from engine.venues.bybit.account import PositionModes
from engine.venues.bybit.accounts import decode_batch
from engine.venues.bybit.endpoints import AMEND_BATCH, CANCEL_BATCH, PLACE_BATCH, Endpoint
from engine.venues.bybit.errors import is_duplicate
from engine.venues.bybit.orders import BybitOrders
from engine.venues.bybit.requests import BATCH_MAX, Request
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.rules import check_kind
from engine.venues.bybit.signing import ENTRY_RECEIVE_WINDOW_MS, RECEIVE_WINDOW_MS
from engine.venues.transport.rate_limits import Lane

Result = OrderAck | EngineError
Item = TypeVar("Item")


class _SomeDenied(Exception):
    """Not a byte has left: some of the batch were denied, by their number in it."""

    def __init__(self, denied: dict[int, Denied]) -> None:
        super().__init__()
        self.denied = denied


class BybitBatches:
    """Sends orders by the batch; results are in the order of what was asked for."""

    def __init__(self, *, rest: BybitRest, orders: BybitOrders, modes: PositionModes) -> None:
        self._rest = rest
        self._orders = orders
        self._modes = modes

    async def place(self, approved: Sequence[Approved]) -> tuple[Result, ...]:
        """Send entries."""
        results: dict[int, Result] = {}
        ready: list[tuple[int, Approved]] = []
        for number, each in enumerate(approved):
            try:
                await self._orders.prepare(each)
                ready.append((number, each))
            except VenueError as error:
                results[number] = error
        for part in self._parts(ready, PLACE_BATCH, Lane.ENTRY):
            results.update(await self._entries(part, self._placing))
        for number, each in ready:
            results[number] = await self._settled(results[number], each.intent)
        return _in_order(results)

    async def reduce(self, intents: Sequence[Intent]) -> tuple[Result, ...]:
        """Send reduce-only orders."""
        for intent in intents:
            require(intent.reduce_only, "an exit must be reduce-only")
            check_kind(intent)
        results = await self._exits(list(enumerate(intents)), PLACE_BATCH, self._placing)
        for number, intent in enumerate(intents):
            results[number] = await self._settled(results[number], intent)
        return _in_order(results)

    async def amend(self, approved: Sequence[Approved]) -> tuple[Result, ...]:
        """Make resting entries what was approved: quantity and price."""
        results: dict[int, Result] = {}
        ready: list[tuple[int, Approved]] = []
        for number, each in enumerate(approved):
            try:
                self._orders.check(each)
                ready.append((number, each))
            except VenueError as error:
                results[number] = error
        for part in self._parts(ready, AMEND_BATCH, Lane.ENTRY):
            results.update(await self._entries(part, requests.amend_batch))
        return _in_order(results)

    async def cancel(self, orders: Sequence[tuple[Symbol, ClientOrderId]]) -> tuple[Result, ...]:
        """Cancel orders of either kind."""
        numbered = list(enumerate(orders))
        return _in_order(await self._exits(numbered, CANCEL_BATCH, requests.cancel_batch))

    # --- sending ---------------------------------------------------------------------------------

    def _placing(self, intents: Sequence[Intent]) -> Request:
        hedged = self._modes.hedged_of(intent.symbol for intent in intents)
        return requests.place_batch(intents, hedged=hedged)

    def _parts(
        self, items: list[tuple[int, Item]], endpoint: Endpoint, lane: Lane
    ) -> list[list[tuple[int, Item]]]:
        """As many at a time as a request may hold and the endpoint's limit lets through at once."""
        most = min(BATCH_MAX, self._rest.limits.allowance(endpoint.path, lane))
        return [items[start : start + most] for start in range(0, len(items), most)]

    async def _entries(
        self, part: list[tuple[int, Approved]], request_of: Callable[[list[Intent]], Request]
    ) -> dict[int, Result]:
        """One request of entries, again without those that the final check denies."""
        results: dict[int, Result] = {}
        while part:
            try:
                answers = await self._send(
                    request_of([each.intent for _, each in part]),
                    Lane.ENTRY,
                    ENTRY_RECEIVE_WINDOW_MS,
                    partial(self._check_all, part),
                )
            except _SomeDenied as some:
                results.update(some.denied)
                part = [item for item in part if item[0] not in some.denied]
                continue
            results.update(zip((number for number, _ in part), answers, strict=True))
            break
        return results

    def _check_all(self, part: list[tuple[int, Approved]]) -> None:
        denials = ((number, self._orders.denial(each)) for number, each in part)
        denied = {number: denial for number, denial in denials if denial is not None}
        if denied:
            raise _SomeDenied(denied)

    async def _exits(
        self,
        items: list[tuple[int, Item]],
        endpoint: Endpoint,
        request_of: Callable[[list[Item]], Request],
    ) -> dict[int, Result]:
        results: dict[int, Result] = {}
        for part in self._parts(items, endpoint, Lane.EXIT):
            request = request_of([item for _, item in part])
            answers = await self._send(request, Lane.EXIT, RECEIVE_WINDOW_MS, None)
            results.update(zip((number for number, _ in part), answers, strict=True))
        return results

    async def _send(
        self, request: Request, lane: Lane, window_ms: int, before: Callable[[], None] | None
    ) -> tuple[Result, ...]:
        """What became of each order of one request; what is known of the request is known of
        each.
        """

        def read(body: bytes) -> tuple[OrderAck | VenueError, ...]:
            return decode_batch(body, request.kind, count=request.orders)

        try:
            return await self._rest.call(
                request, read, lane=lane, receive_window_ms=window_ms, before=before
            )
        except VenueError as error:
            return (error,) * request.orders

    async def _settled(self, result: Result, intent: Intent) -> Result:
        """A duplicate looked up; what a refusal tells of the position mode, learned."""
        if not isinstance(result, Refused):
            return result
        self._orders.learn_from(result, intent.symbol)
        if not is_duplicate(result):
            return result
        try:
            return await self._orders.standing(intent, result)
        except VenueError as error:
            return error


def _in_order(results: dict[int, Result]) -> tuple[Result, ...]:
    return tuple(results[number] for number in sorted(results))


__all__ = ["BybitBatches", "Result"]
