"""Single orders of Bybit: entries, exits, their changes and their ends.

An entry is judged by our filters, leaves with a receive window of one second, and its final check
is asked in the step in which its bytes leave. No filter and no check stands before an exit, and
nothing of it is rounded. Exits and cancels go by the emergency lane. Traps: an acknowledgement says
only that the request was taken, so an order may be rejected afterwards, on the stream; an id is
never taken a second time, so one that stands is looked up and, if it is this very order, is what an
earlier attempt of ours became; a reduction larger than its position is cut by the venue; who names
a leg that the account's mode does not have is refused, which tells the mode. Fails as the ports
say.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.model.errors import Denied, NotExecuted, OutcomeUnknown, Refused, require
from engine.model.ids import ClientOrderId, Symbol
from engine.model.orders import Intent
from engine.model.venue import Approved, OrderAck, VenueOrder
from engine.ports import FinalCheck
from engine.venues.bybit import requests
from engine.venues.bybit.account import BybitAccount, PositionModes
from engine.venues.bybit.accounts import decode_ack, decode_cancel_all
from engine.venues.bybit.errors import is_duplicate, is_wrong_leg
from engine.venues.bybit.instruments import Contract
from engine.venues.bybit.rest import BybitRest
from engine.venues.bybit.rules import check_entry, check_kind, check_leverage
from engine.venues.bybit.settings import BybitSettings
from engine.venues.bybit.signing import ENTRY_RECEIVE_WINDOW_MS, RECEIVE_WINDOW_MS
from engine.venues.transport.rate_limits import Lane


class BybitOrders:
    """Sends orders one by one."""

    def __init__(
        self,
        *,
        rest: BybitRest,
        account: BybitAccount,
        modes: PositionModes,
        settings: BybitSettings,
        contract: Callable[[Symbol], Contract],
        final_check: FinalCheck,
    ) -> None:
        """`account` reads by the emergency lane; `contract` raises Refused for what is not
        traded.
        """
        self._rest = rest
        self._account = account
        self._modes = modes
        self._settings = settings
        self._contract = contract
        self._final_check = final_check

    # --- entries ---------------------------------------------------------------------------------

    async def prepare(self, approved: Approved) -> None:
        """Everything that can be refused or has to be set before an entry leaves."""
        contract = self.check(approved)
        leverage = check_leverage(approved.intent, contract)
        await self._settings.use_leverage(approved.intent.symbol, leverage)

    def check(self, approved: Approved) -> Contract:
        """Refuse what does not fit the contract."""
        require(not approved.intent.reduce_only, "an entry cannot be reduce-only")
        contract = self._contract(approved.intent.symbol)
        check_entry(approved.intent, contract)
        return contract

    def denial(self, approved: Approved) -> Denied | None:
        """What the final check has against it now."""
        reasons = self._final_check(approved)
        if not reasons:
            return None
        codes = tuple(reason.code.value for reason in reasons)
        detail = "; ".join(f"{each.code.value} {each.detail}".strip() for each in reasons)
        return Denied(codes, detail)

    async def place(self, approved: Approved) -> OrderAck:
        """Send an entry; see `engine.ports.OrderEntry`."""
        await self.prepare(approved)
        intent = approved.intent
        try:
            return await self._rest.call(
                requests.place(intent, is_hedged=self._modes.is_hedged(intent.symbol)),
                decode_ack,
                lane=Lane.ENTRY,
                receive_window_ms=ENTRY_RECEIVE_WINDOW_MS,
                before=self._checked(approved),
            )
        except Refused as refused:
            if is_duplicate(refused):
                return await self.standing(intent, refused)
            self.learn_from(refused, intent.symbol)
            raise

    async def amend(self, approved: Approved) -> OrderAck:
        """Make the resting entry of this id what was approved: quantity and price."""
        self.check(approved)
        return await self._rest.call(
            requests.amend(approved.intent),
            decode_ack,
            lane=Lane.ENTRY,
            receive_window_ms=ENTRY_RECEIVE_WINDOW_MS,
            before=self._checked(approved),
        )

    def _checked(self, approved: Approved) -> Callable[[], None]:
        def before() -> None:
            denial = self.denial(approved)
            if denial is not None:
                raise denial

        return before

    # --- exits -----------------------------------------------------------------------------------

    async def reduce(self, intent: Intent) -> OrderAck:
        """Send a reduce-only order; see `engine.ports.Exits`."""
        require(intent.reduce_only, "an exit must be reduce-only")
        check_kind(intent)
        try:
            return await self._reduce(intent)
        except Refused as refused:
            if not self.learn_from(refused, intent.symbol):
                raise
        # It was refused for its leg alone, so nothing was done: once more, with the right one.
        return await self._reduce(intent)

    async def _reduce(self, intent: Intent) -> OrderAck:
        request = requests.place(intent, is_hedged=self._modes.is_hedged(intent.symbol))
        try:
            return await self._rest.call(
                request, decode_ack, lane=Lane.EXIT, receive_window_ms=RECEIVE_WINDOW_MS
            )
        except Refused as refused:
            if not is_duplicate(refused):
                raise
            return await self.standing(intent, refused)

    async def amend_exit(self, intent: Intent) -> OrderAck:
        """Make the resting reduce-only order of this id what the intent says."""
        require(intent.reduce_only, "an exit must be reduce-only")
        check_kind(intent)
        return await self._rest.call(requests.amend(intent), decode_ack, lane=Lane.EXIT)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> None:
        """Cancel one order, conditional or not, ours or only named by the venue."""
        await self._rest.call(requests.cancel(symbol, client_order_id), decode_ack, lane=Lane.EXIT)

    async def cancel_all(self, symbol: Symbol, *, conditional: bool) -> int:
        """Cancel every open order of a symbol, of the one kind or the other; how many the venue
        set out to cancel. A position's own stops are conditional orders.
        """
        return await self._rest.call(
            requests.cancel_all(symbol, conditional=conditional),
            decode_cancel_all,
            lane=Lane.EXIT,
        )

    # --- what refusals tell ----------------------------------------------------------------------

    def learn_from(self, refused: Refused, symbol: Symbol) -> bool:
        """Take the other position mode for a symbol whose order was refused for its leg; whether it
        was.
        """
        if not is_wrong_leg(refused):
            return False
        self._modes.set(symbol, is_hedged=not self._modes.is_hedged(symbol))
        return True

    async def standing(self, intent: Intent, refused: Refused) -> OrderAck:
        """The id stands at the venue: if it is this very order, an earlier attempt got through."""
        identifier = intent.client_order_id
        try:
            order = await self._account.order(intent.symbol, identifier)
        except (Refused, NotExecuted) as error:
            raise OutcomeUnknown(
                f"{identifier} is known to the venue and cannot be looked up"
            ) from error
        if order is None:
            raise OutcomeUnknown(f"{identifier} is known to the venue and not found")
        if not _is_same(order, intent):
            raise refused
        return OrderAck(client_order_id=order.client_order_id, venue_order_id=order.venue_order_id)


def _is_same(order: VenueOrder, intent: Intent) -> bool:
    """Whether this is what became of the intent."""
    # The venue cuts a reduction to its position, and no longer names the trigger of one that was
    # triggered.
    is_cut = intent.reduce_only and order.quantity < intent.quantity
    return (
        (order.side, order.price, order.reduce_only)
        == (intent.side, intent.price, intent.reduce_only)
        and (order.quantity == intent.quantity or is_cut)
        and order.trigger_price in (intent.trigger_price, None)
    )


__all__ = ["BybitOrders"]
