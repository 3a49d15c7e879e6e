"""The control address: the auditor's view, faults, and what moves the market.

`GET books` | `POST faults` (a rule, a list of rules, or {"clear": true}) | `POST price` {symbol,
price, quantity?, mark?} | `POST funding` {symbol, rate?} | `POST transfer` {amount}. What cannot be
used is refused with 400 and a sentence. Prices and amounts are texts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec
from aiohttp import web

from engine.model.ids import Symbol
from tests.simulators.core.refusals import Refusal
from tests.simulators.exchange import Exchange
from tests.simulators.faults import read_rules

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Price(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    symbol: Symbol
    price: Decimal
    quantity: Decimal | None = None
    mark: Decimal | None = None


class _Funding(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    symbol: Symbol
    rate: Decimal | None = None


class _Transfer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    amount: Decimal


class _Clear(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    clear: bool


class Control:
    """Handlers of the control address."""

    def __init__(self, *, exchange: Exchange) -> None:
        self._exchange = exchange

    def add_routes(self, application: web.Application) -> None:
        router = application.router
        router.add_get("/control/books", self._books)
        for name, act in (
            ("faults", self._inject),
            ("price", self._move_price),
            ("funding", self._pay_funding),
            ("transfer", self._transfer),
        ):
            router.add_post(f"/control/{name}", self._doing(act))

    async def _books(self, http: web.Request) -> web.StreamResponse:
        return _json(self._exchange.books())

    def _doing(self, act: Callable[[bytes], object]) -> _Handler:
        async def handler(http: web.Request) -> web.StreamResponse:
            try:
                result = act(await http.read())
            except (ValueError, Refusal, msgspec.MsgspecError) as error:
                return _json({"error": str(error)}, status=400)
            return _json({"ok": True, **(result if isinstance(result, dict) else {})})

        return handler

    def _inject(self, body: bytes) -> object:
        try:
            if msgspec.json.decode(body, type=_Clear).clear:
                self._exchange.faults.clear()
        except msgspec.MsgspecError:
            self._exchange.inject(read_rules(body))
        return {"pending": self._exchange.faults.pending}

    def _move_price(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=_Price, strict=False)
        if asked.price <= 0 or (asked.quantity is not None and asked.quantity <= 0):
            raise ValueError("price and quantity must be above zero")
        self._exchange.venue.set_price(
            asked.symbol, asked.price, quantity=asked.quantity, mark=asked.mark
        )
        return None

    def _pay_funding(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=_Funding, strict=False)
        self._exchange.venue.settle_funding(asked.symbol, asked.rate)
        return None

    def _transfer(self, body: bytes) -> object:
        self._exchange.venue.transfer(msgspec.json.decode(body, type=_Transfer).amount)
        return None


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document), content_type="application/json"
    )


__all__ = ["Control"]
