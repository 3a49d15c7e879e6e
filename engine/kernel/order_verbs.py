"""The verbs of the control socket about orders: JSON in, JSON out, the commands of the window.

Wrong fields are named in `problems`, reasons of the gate listed in `reasons`; neither is an error
of the call. Money and quantities are strings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from engine.api import CommandResult, EngineClient
from engine.kernel.order_view import order_json, plain_numbers
from engine.model.errors import OperatorMessage
from engine.model.ids import Symbol
from engine.model.reasons import Reason
from engine.model.ticket import Ticket, TicketPreview, parse_ticket
from engine.model.values import decimal

Verb = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
ResultJson = Callable[[CommandResult], dict[str, Any]]
_ABOUT = frozenset({"reason", "author"})
_PREVIEW_NUMBERS = (
    *("quantity", "price", "mark_price", "notional", "leverage", "margin", "stop_price"),
    *("take_profit_price", "position_after", "quantity_max", "liquidation_price"),
)


def _reasons_json(reasons: tuple[Reason, ...]) -> list[dict[str, str]]:
    return [{"code": str(one.code), "detail": one.detail} for one in reasons]


def preview_json(preview: TicketPreview) -> dict[str, Any]:
    """What a ticket comes to."""
    return {
        "ok": preview.passes,
        "problems": preview.problems,
        "reasons": _reasons_json(preview.reasons),
        **plain_numbers(preview, _PREVIEW_NUMBERS),
        "limits": [
            {"name": room.name, **plain_numbers(room, ("used", "after", "limit", "left"))}
            for room in preview.limits
        ],
    }


class OrderVerbs:
    """Maps the verbs about orders to the engine's client."""

    def __init__(self, *, client: EngineClient, result_json: ResultJson) -> None:
        self._client = client
        self._result_json = result_json

    def table(self) -> dict[str, Verb]:
        """Every verb about orders."""
        return {
            "order.preview": self._preview,
            "order.place": self._place,
            "order.cancel": self._cancel,
            "order.close": self._close,
            "order.list": self._list,
        }

    def _answer(self, result: CommandResult) -> dict[str, Any]:
        order = None if result.order is None else order_json(result.order)
        reasons = _reasons_json(result.reasons)
        return self._result_json(result) | {"reasons": reasons, "order": order}

    @staticmethod
    def _ticket(args: Mapping[str, Any]) -> tuple[Ticket | None, dict[str, str]]:
        return parse_ticket({name: value for name, value in args.items() if name not in _ABOUT})

    @staticmethod
    def _text(args: Mapping[str, Any], name: str, default: str = "") -> str:
        value = args.get(name, default)
        if not isinstance(value, str):
            raise OperatorMessage(f"{name} must be text")
        return value

    def _who(self, args: Mapping[str, Any]) -> dict[str, str]:
        author = self._text(args, "author", "operator")
        return {"author": author, "reason": self._text(args, "reason")}

    async def _preview(self, args: Mapping[str, Any]) -> dict[str, Any]:
        ticket, problems = self._ticket(args)
        if ticket is None or problems:
            return preview_json(TicketPreview(ts_ns=0, problems=problems))
        return preview_json(self._client.preview(ticket))

    async def _place(self, args: Mapping[str, Any]) -> dict[str, Any]:
        ticket, problems = self._ticket(args)
        if ticket is None or problems:
            return {"ok": False, "message": "the ticket cannot be read", "problems": problems}
        return self._answer(await self._client.submit(ticket, **self._who(args)))

    async def _cancel(self, args: Mapping[str, Any]) -> dict[str, Any]:
        identifier = self._text(args, "order")
        return self._answer(await self._client.cancel_order(identifier, **self._who(args)))

    async def _close(self, args: Mapping[str, Any]) -> dict[str, Any]:
        symbol, amount = Symbol(self._text(args, "symbol").upper()), args.get("quantity")
        quantity = None
        if amount is not None:
            try:
                quantity = decimal(self._text(args, "quantity"), field="quantity")
            except ValueError as error:
                return {"ok": False, "message": "", "problems": {"quantity": str(error)}}
            if quantity <= 0:
                return {"ok": False, "message": "", "problems": {"quantity": "must be above zero"}}
        result = await self._client.close_position(symbol, quantity=quantity, **self._who(args))
        return self._answer(result)

    async def _list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        snapshot = self._client.snapshot()
        return {
            "working": [order_json(order) for order in snapshot.orders],
            "recent": [order_json(order) for order in snapshot.recent_orders],
        }


__all__ = ["OrderVerbs", "preview_json"]
