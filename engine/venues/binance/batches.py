"""Several exits in one request: closes by five, cancels by ten, each judged by its own answer.

A batch saves requests, not limits: Binance advises single orders when it is busy, so the stop does
not use it. The venue runs the items side by side, in no order that could be relied on. When the
answer is lost the outcome of every item is unknown; nothing is sent twice. Entries never go by
batch: each has a final check of its own. On the loop only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from engine.model.errors import OutcomeUnknown, VenueError, require
from engine.model.ids import ClientOrderId, Symbol, VenueOrderId
from engine.model.orders import Intent
from engine.model.venue import OrderAck
from engine.venues.binance import endpoints
from engine.venues.binance.decoding import OrderAnswer, Undecodable, decode
from engine.venues.binance.errors import read_error, refusal
from engine.venues.binance.rest import BinanceRest
from engine.venues.transport.rate_limits import Lane

CLOSES_MAX = 5
CANCELS_MAX = 10
_BAD_REQUEST = 400


class BinanceBatches:
    """Sends batches. `order` gives the parameters of one ordinary order."""

    def __init__(self, *, rest: BinanceRest, order: Callable[[Intent], Mapping[str, str]]) -> None:
        self._rest = rest
        self._order = order

    async def reduce(self, intents: Sequence[Intent]) -> tuple[OrderAck | VenueError, ...]:
        """Send at most five reduce-only orders; for each, in their order, what became of it.

        Raises what a request raises when none of them was judged.
        """
        require(0 < len(intents) <= CLOSES_MAX, f"a batch has 1 to {CLOSES_MAX} orders")
        require(all(intent.reduce_only for intent in intents), "an exit must be reduce-only")
        orders = [dict(self._order(intent)) for intent in intents]
        items = await self._rest.call(
            endpoints.PLACE_BATCH,
            {"batchOrders": msgspec.json.encode(orders).decode()},
            tuple[msgspec.Raw, ...],
            lane=Lane.EXIT,
        )
        return tuple(
            _acknowledged(intent, item)
            for intent, item in zip(intents, _as_many(items, len(intents)), strict=True)
        )

    async def cancel(
        self, symbol: Symbol, identifiers: Sequence[ClientOrderId]
    ) -> tuple[VenueError | None, ...]:
        """Cancel at most ten ordinary orders of a symbol; for each its error, or None."""
        require(0 < len(identifiers) <= CANCELS_MAX, f"a batch has 1 to {CANCELS_MAX} cancels")
        items = await self._rest.call(
            endpoints.CANCEL_BATCH,
            {
                "symbol": symbol,
                "origClientOrderIdList": msgspec.json.encode(list(identifiers)).decode(),
            },
            tuple[msgspec.Raw, ...],
            lane=Lane.EXIT,
        )
        answers = (_judged(item) for item in _as_many(items, len(identifiers)))
        return tuple(answer if isinstance(answer, VenueError) else None for answer in answers)


def _as_many(items: tuple[msgspec.Raw, ...], number: int) -> tuple[msgspec.Raw, ...]:
    if len(items) != number:
        raise OutcomeUnknown(f"a batch of {number} has {len(items)} answers")
    return items


def _judged(item: msgspec.Raw) -> OrderAnswer | VenueError:
    body = bytes(item)
    if read_error(body) is not None:
        return refusal(_BAD_REQUEST, body)
    try:
        return decode(body, OrderAnswer)
    except Undecodable as error:
        return OutcomeUnknown(str(error))


def _acknowledged(intent: Intent, item: msgspec.Raw) -> OrderAck | VenueError:
    answer = _judged(item)
    if isinstance(answer, VenueError):
        return answer
    if answer.client_order_id != intent.client_order_id:
        return OutcomeUnknown(f"{intent.client_order_id} has the answer of another order")
    return OrderAck(
        client_order_id=intent.client_order_id, venue_order_id=VenueOrderId(str(answer.order_id))
    )


__all__ = ["CANCELS_MAX", "CLOSES_MAX", "BinanceBatches"]
