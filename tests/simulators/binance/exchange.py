"""The simulated Binance: routes requests to handlers, and the core's events to streams.

A request passes what it passes at the venue: limits by address, API key, signature, time, order
limits, parameters. Every answer says what the counters are.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.ports.clock import Clock
from engine.runtime import Tasks
from tests.simulators.binance import (
    account_routes,
    algo_routes,
    market_routes,
    order_routes,
)
from tests.simulators.binance.desk import Desk, Route, Security
from tests.simulators.binance.errors import ERROR_ANSWERS, ApiError, of_refusal
from tests.simulators.binance.events import market_events, user_events
from tests.simulators.binance.listen_keys import ListenKeys
from tests.simulators.binance.parameters import Parameters, check_signature, check_time
from tests.simulators.binance.streams import TIMES, BinanceSession, read_target
from tests.simulators.core.model import Event, OrderChanged
from tests.simulators.core.refusals import Refusal
from tests.simulators.core.venue import Rules
from tests.simulators.exchange import Answer, Exchange, Request, Settings
from tests.simulators.sessions import Session

_ROUTES: Mapping[tuple[str, str], Route] = {
    (route.method, route.path): route
    for route in (
        *market_routes.ROUTES,
        *order_routes.ROUTES,
        *algo_routes.ROUTES,
        *account_routes.ROUTES,
    )
}
_PATHS = frozenset(path for _, path in _ROUTES)
_JSON = {"Content-Type": "application/json"}


class BinanceExchange(Exchange):
    """Binance USDT-M futures, one account."""

    def __init__(self, *, clock: Clock, tasks: Tasks, settings: Settings) -> None:
        super().__init__(clock=clock, tasks=tasks, settings=settings, rules=Rules())
        self.desk = Desk(
            venue=self.venue,
            faults=self.faults,
            listen_keys=ListenKeys(
                timers=self.timers, seed=settings.seed, on_expired=self._tell_expired
            ),
            now_ns=self.clock.now_ns,
        )
        self.venue.listeners.append(self._on_event)

    # --- requests --------------------------------------------------------------------------------

    def handle(self, request: Request) -> Answer:
        route = _ROUTES.get((request.method, request.path))
        try:
            if route is None:
                raise _no_route(request)
            document = self._pass(route, request)
            status, headers = 200, dict(_JSON)
            body = msgspec.json.encode(document)
        except ApiError as error:
            status, headers = error.status, {**_JSON, **error.headers}
            body = msgspec.json.encode(error.document())
        except Refusal as refusal:
            status, headers = 400, dict(_JSON)
            body = msgspec.json.encode(of_refusal(refusal).document())
        counts_orders = route is not None and route.orders != (0, 0)
        headers.update(self.desk.limits.headers(self.clock.now_ns(), with_orders=counts_orders))
        return Answer(status=status, body=body, headers=headers)

    def _pass(self, route: Route, request: Request) -> object:
        parameters = Parameters.of(request)
        now = self.clock.now_ns()
        self.desk.limits.admit(route.weight_of(parameters), now)
        if route.security is not Security.NONE:
            self._check_key(request)
        if route.security is Security.SIGNED:
            check_signature(request, self.settings.secret)
            check_time(parameters, now // 1_000_000)
        if route.orders != (0, 0):
            self.desk.limits.admit_orders(*route.orders, now)
        return route.handler(self.desk, parameters)

    def _check_key(self, request: Request) -> None:
        key = request.headers.get("x-mbx-apikey", "")
        if not key:
            raise ApiError(-2014, "API-key format invalid.", status=401)
        if key != self.settings.key:
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", status=401)

    def error_answer(self, name: str) -> Answer:
        answer = ERROR_ANSWERS.get(name)
        if answer is None:
            raise ValueError(f"no answer {name!r}; there are {', '.join(sorted(ERROR_ANSWERS))}")
        return answer

    def bans_earned_s(self) -> list[float]:
        return list(self.desk.limits.earned_s)

    def limited(self, seconds: float, *, is_ban: bool) -> Answer:
        limits, now = self.desk.limits, self.clock.now_ns()
        error = limits.ban(seconds, now) if is_ban else limits.limit(seconds, now)
        headers = {**_JSON, **error.headers, **limits.headers(now, with_orders=False)}
        return Answer(
            status=error.status, body=msgspec.json.encode(error.document()), headers=headers
        )

    # --- streams ---------------------------------------------------------------------------------

    def connect(self, target: str, headers: Mapping[str, str]) -> Session:
        session = BinanceSession(
            asked=read_target(target),
            clock=self.clock,
            timers=self.timers,
            faults=self.faults,
            times=TIMES,
            on_closed=self.sessions.discard,
        )
        self.sessions.add(session)
        return session

    def expire_credentials(self) -> None:
        self.desk.listen_keys.expire()

    def _on_event(self, event: Event) -> None:
        now_ms = self.now_ms()
        key = self.desk.listen_keys.current
        if key is not None:
            for name, document in user_events(event, self.venue, now_ms):
                self._push_user(key, name, document)
        # An order's change is public only when it is a liquidation.
        if isinstance(event, OrderChanged) and not event.order.is_liquidation:
            return
        listening = [each for each in self._connections() if each.hears_market]
        if not listening:
            return
        for stream, document in market_events(event, self.venue, now_ms):
            self._push_market(listening, stream, document)

    def _push_market(
        self, listening: list[BinanceSession], stream: str, document: dict[str, object]
    ) -> None:
        name = str(document["e"])
        encoded = b""
        for session in listening:
            if session.wants(stream):
                encoded = encoded or msgspec.json.encode(document)
                session.push_market(stream, name, encoded)
            for every in (f"!{stream.partition('@')[2]}@arr",):
                everything = every.replace("markPrice@1s@arr", "markPrice@arr@1s")
                if session.wants(everything):
                    session.push_market(everything, name, msgspec.json.encode([document]))

    def _push_user(self, key: str, name: str, document: dict[str, object]) -> None:
        encoded = msgspec.json.encode(document)
        for session in self._connections():
            session.push_user(key, name, encoded)

    def _tell_expired(self, key: str) -> None:
        document = {"e": "listenKeyExpired", "E": self.now_ms(), "listenKey": key}
        self._push_user(key, "listenKeyExpired", document)

    def _connections(self) -> list[BinanceSession]:
        return [each for each in self.sessions if isinstance(each, BinanceSession)]


def _no_route(request: Request) -> ApiError:
    if request.path in _PATHS:
        return ApiError(-1000, f"Method {request.method} is not supported here.", status=405)
    return ApiError(-5000, f"Path {request.path}, Method {request.method} is invalid", status=404)


__all__ = ["BinanceExchange"]
