"""The simulated Bybit: routes requests to handlers, orders from sockets too, and events to topics.

Every answer is an envelope {retCode, retMsg, result, retExtInfo, time} and says what is left of the
endpoint's limit. When the last private connection that carries `dcp.future` is gone for the window,
and protection is enabled, all orders in the book are cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from engine.ports.clock import Clock
from engine.runtime import Tasks
from tests.simulators.bybit import account_routes, market_routes, order_routes
from tests.simulators.bybit.desk import Desk, Listed, Route
from tests.simulators.bybit.errors import ERROR_ANSWERS, ApiError, envelope, of_refusal
from tests.simulators.bybit.events import (
    book_message,
    book_snapshot,
    flat_keys,
    private_rows,
    ticker_message,
    trade_message,
)
from tests.simulators.bybit.parameters import Parameters, check_request, check_time
from tests.simulators.bybit.streams import BybitSession, Door, read_target
from tests.simulators.core.model import (
    BookChanged,
    Event,
    MarkChanged,
    MarketTraded,
    OrderChanged,
)
from tests.simulators.core.refusals import Refusal
from tests.simulators.core.timers import Timer
from tests.simulators.core.venue import Rules
from tests.simulators.exchange import Answer, Exchange, Request, Settings
from tests.simulators.sessions import Session

_RULES = Rules(
    client_ids_are_for_ever=True,
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.00055"),
    conditionals_max=500,
)
_ROUTES: Mapping[tuple[str, str], Route] = {
    (route.method, route.path): route
    for route in (*market_routes.ROUTES, *order_routes.ROUTES, *account_routes.ROUTES)
}
_OPERATIONS = {
    f"order.{name}": _ROUTES[("POST", f"/v5/order/{name}")]
    for name in ("create", "amend", "cancel", "create-batch", "amend-batch", "cancel-batch")
}
_JSON = {"Content-Type": "application/json"}


class BybitExchange(Exchange):
    """Bybit v5 linear, one unified account."""

    def __init__(self, *, clock: Clock, tasks: Tasks, settings: Settings) -> None:
        super().__init__(clock=clock, tasks=tasks, settings=settings, rules=_RULES)
        self.desk = Desk(
            venue=self.venue,
            faults=self.faults,
            seed=settings.seed,
            now_ns=self.clock.now_ns,
        )
        self.desk.key = settings.key
        self._connections_made = 0
        self._pushes = 0
        self._protecting: Timer | None = None
        self.venue.listeners.append(self._on_event)

    # --- requests --------------------------------------------------------------------------------

    def handle(self, request: Request) -> Answer:
        route = _ROUTES.get((request.method, request.path))
        now = self.clock.now_ns()
        headers = dict(_JSON)
        try:
            self.desk.limits.admit_address(now)
            if route is None:
                raise ApiError(10017, "Route not found.", status=404)
            if route.is_private:
                check_request(
                    request,
                    key=self.settings.key,
                    secret=self.settings.secret,
                    now_ms=now // 1_000_000,
                )
            result, extra = self._act(route, Parameters.of(request))
            status, body = 200, envelope(0, "OK", result, extra, self.now_ms())
        except ApiError as error:
            status = error.status
            body = envelope(error.code, error.message, {}, {}, self.now_ms())
        if route is not None and route.is_private:
            headers |= self.desk.limits.headers(route.path, route.per_second, now)
        return Answer(status=status, body=body, headers=headers)

    def _act(self, route: Route, parameters: Parameters) -> tuple[object, object]:
        """Do what a route does; a refusal comes out as its code."""
        if route.is_private and not route.counts_itself:
            self.desk.limits.admit(route.path, route.per_second, self.clock.now_ns())
        try:
            result = route.handler(self.desk, parameters)
        except Refusal as refusal:
            raise of_refusal(refusal) from refusal
        if isinstance(result, Listed):
            return result.result, result.extra
        return result, {}

    def error_answer(self, name: str) -> Answer:
        answer = ERROR_ANSWERS.get(name)
        if answer is None:
            raise ValueError(f"no answer {name!r}; there are {', '.join(sorted(ERROR_ANSWERS))}")
        return answer

    def bans_earned_s(self) -> list[float]:
        return list(self.desk.limits.earned_s)

    def limited(self, seconds: float, *, is_ban: bool) -> Answer:
        """A ban is the address's 403; a limit the endpoint's 10006, for this once."""
        if not is_ban:
            return ERROR_ANSWERS["rate_10006"]
        error = self.desk.limits.ban(seconds, self.clock.now_ns())
        body = envelope(error.code, error.message, {}, {}, self.now_ms())
        return Answer(status=error.status, body=body, headers=_JSON)

    def expire_credentials(self) -> None:
        """Bybit's private streams live by their connection alone: that is what ends."""
        for session in self._connections("private"):
            session.close(is_abrupt=True)

    # --- streams ---------------------------------------------------------------------------------

    def connect(self, target: str, headers: Mapping[str, str]) -> Session:
        kind, idle_s = read_target(target)
        self._connections_made += 1
        session = BybitSession(
            kind=kind,
            idle_s=idle_s,
            number=self._connections_made,
            door=Door(
                key=self.settings.key,
                secret=self.settings.secret,
                on_subscribed=self._greet,
                on_order=self._order_from_socket,
            ),
            clock=self.clock,
            timers=self.timers,
            faults=self.faults,
            on_closed=self._on_closed,
        )
        self.sessions.add(session)
        return session

    def _connections(self, kind: str) -> list[BybitSession]:
        return [each for each in self.sessions if isinstance(each, BybitSession)
                and each.kind == kind]  # fmt: skip

    def _on_closed(self, session: Session) -> None:
        self.sessions.discard(session)
        if isinstance(session, BybitSession) and "dcp.future" in session.topics:
            self._protect_if_alone()

    def _protect_if_alone(self) -> None:
        protection = self.desk.protection
        if not protection.is_enabled or self._is_watched():
            return
        self._protecting = self.timers.after(
            protection.window_s, "disconnect protection", self._cancel_unless_watched
        )

    def _is_watched(self) -> bool:
        return any("dcp.future" in each.topics for each in self._connections("private"))

    def _cancel_unless_watched(self) -> None:
        """It is "active" orders that end: so the documentation calls those in the book."""
        if not self._is_watched():
            for symbol in self.venue.contracts:
                self.venue.cancel_all(symbol)

    def _greet(self, session: BybitSession, topic: str) -> None:
        """What a new subscription gets at once; private topics have no snapshot."""
        kind, _, symbol = topic.rpartition(".")
        if topic == "dcp.future" and self._protecting is not None:
            self._protecting.cancel()
        if symbol not in self.venue.contracts:
            return
        if kind.startswith("orderbook."):
            depth = int(kind.partition(".")[2])
            session.push_document("orderbook", book_snapshot(topic, symbol, depth, self.desk))
        elif kind == "tickers":
            self._push_ticker(session, symbol)

    def _order_from_socket(self, session: BybitSession, message: dict[str, object]) -> None:
        """An order operation on the trade connection."""
        operation = str(message.get("op"))
        answer: dict[str, object] = {"reqId": message.get("reqId", ""), "op": operation}
        route = _OPERATIONS.get(operation)
        extra: object = {}
        data: object = {}
        code, words = 0, "OK"
        try:
            if not session.is_known:
                raise ApiError(10003, "request not authorized")
            if route is None:
                raise ApiError(10404, "op type is not found")
            self._check_socket_time(message.get("header"))
            arguments = message.get("args")
            if not isinstance(arguments, list) or not isinstance(arguments[0], dict):
                raise ApiError(10001, "params error: args invalid")
            data, extra = self._act(route, Parameters(arguments[0]))
        except ApiError as error:
            code, words = error.code, error.message
        if route is not None:
            now = self.clock.now_ns()
            answer["header"] = {
                **self.desk.limits.headers(route.path, route.per_second, now),
                "Traceid": "",
                "Timenow": str(self.now_ms()),
            }
        session.say(
            {
                **answer,
                "retCode": code,
                "retMsg": words,
                "data": data,
                "retExtInfo": extra,
                "connId": session.connection_id,
            }
        )

    def _check_socket_time(self, header: object) -> None:
        named = header if isinstance(header, dict) else {}
        stamp = str(named.get("X-BAPI-TIMESTAMP", ""))
        check_time(stamp, str(named.get("X-BAPI-RECV-WINDOW", "")), self.now_ms())

    # --- events ----------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        self._attach_stops(event)
        private = self._connections("private")
        if private:
            for topic, row in private_rows(event, self.desk):
                self._push_private(private, topic, row)
        for key in flat_keys(event, self.desk):
            self.desk.stops.end_with_position(key)
        public = self._connections("public")
        if public:
            self._push_public(public, event)

    def _attach_stops(self, event: Event) -> None:
        """An order's own stops come into force once the books have settled from its fill."""
        if not isinstance(event, OrderChanged) or event.execution is None:
            return
        wishes = self.desk.stops_to_attach.pop(event.order.client_id, None)
        if not wishes:
            return
        key = (event.order.symbol, event.order.leg)

        def attach() -> None:
            try:
                self.desk.stops.set(key, wishes)
            except (ApiError, Refusal):
                return  # The position or the price has gone on already.

        self.timers.after(0.0, "stops of an order", attach)

    def _push_private(
        self, sessions: list[BybitSession], topic: str, row: dict[str, object]
    ) -> None:
        self._pushes += 1
        for session in sessions:
            for name in (topic, f"{topic}.linear"):
                if name in session.topics:
                    session.push_document(
                        topic,
                        {
                            "id": f"{self.settings.seed}-{self._pushes}",
                            "topic": name,
                            "creationTime": self.now_ms(),
                            "data": [row],
                        },
                    )

    def _push_public(self, sessions: list[BybitSession], event: Event) -> None:
        if isinstance(event, MarketTraded):
            topic = f"publicTrade.{event.symbol}"
            for session in sessions:
                if topic in session.topics:
                    session.push_document("publicTrade", trade_message(event, self.desk))
        elif isinstance(event, BookChanged):
            for session in sessions:
                self._push_book(session, event)
        elif isinstance(event, MarkChanged):
            for session in sessions:
                if f"tickers.{event.symbol}" in session.topics:
                    self._push_ticker(session, event.symbol)

    def _push_book(self, session: BybitSession, event: BookChanged) -> None:
        for depth in (1, 50, 200, 1000):
            topic = f"orderbook.{depth}.{event.symbol}"
            if topic in session.topics:
                message = book_message(event, topic, depth, self.desk)
                session.push_document("orderbook", message)

    def _push_ticker(self, session: BybitSession, symbol: str) -> None:
        sent = session.tickers_sent.get(symbol, {})
        message, session.tickers_sent[symbol] = ticker_message(symbol, sent, self.desk)
        session.push_document("tickers", message)

    def books(self) -> dict[str, object]:
        """The auditor's view, with the wire's ids beside the core's."""
        view = super().books()
        orders, fills = view["orders"], view["fills"]
        assert isinstance(orders, list), "the core lists its orders"
        assert isinstance(fills, list), "the core lists its fills"
        for row in fills:
            row["wire_id"] = self.desk.wire_id(int(row["execution_id"]))
        for row in orders:
            number = row["conditional_id"] or row["order_id"]
            row["wire_id"] = self.desk.wire_id(int(number))
        return view


__all__ = ["BybitExchange"]
