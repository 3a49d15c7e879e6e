"""What happens in one seed of `venue_faults`: market, people, faults and deaths, drawn from chance.

Kinds are drawn by weight; `done` counts how often each was played. A death is planned for a moment
and then waits for its point: the clock, the bytes of the next request, or the writer's next jobs.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from engine.model.emergency import ResetRequest, TripSource
from engine.model.errors import EngineError
from engine.model.ids import Symbol
from engine.model.values import Side, round_down_to_step, round_to_tick
from engine.runtime import SimClock
from engine.venues.transport.http import Outgoing
from tests.campaigns._venue_rig import SYMBOLS, Rig
from tests.simulators.core.model import Kind, OrderRequest
from tests.simulators.core.refusals import Refusal
from tests.simulators.faults import Fault, FaultRule
from tests.simulators.in_memory_transport import Latency

__all__ = ["BAN_S", "Schedule"]

_POLICY = {
    "profile": "aggressive",
    "aggressive.max_orders_per_minute": "600",
    "aggressive.max_consecutive_losses": "100",
    "aggressive.min_balance": "0",
}
_LATENCIES = (
    Latency(),
    Latency(least_s=0.005, most_s=0.05),
    Latency(least_s=0.01, most_s=0.1, slow_share=0.02, slow_most_s=1.5),
)

# Where requests and pushes can be hit, and the errors that a venue answers: those that prove
# nothing, and those that prove that nothing happened.
_REQUESTS: Mapping[str, tuple[str, ...]] = {
    "binance": (
        "POST /fapi/v1/order",
        "POST /fapi/v1/order",
        "POST /fapi/v1/algoOrder",
        "DELETE *",
        "GET *",
        "GET /fapi/v1/userTrades",
        "GET /fapi/v3/positionRisk",
        "POST /fapi/v1/listenKey",
        "*",
    ),
    "bybit": (
        "POST /v5/order/create",
        "POST /v5/order/create",
        "POST /v5/order/cancel*",
        "POST *",
        "GET *",
        "GET /v5/execution/list",
        "GET /v5/position/list",
        "*",
    ),
}
_ORDER_REQUEST = {"binance": "POST /fapi/v1/order", "bybit": "POST /v5/order/create"}
_PUSHES: Mapping[str, tuple[str, ...]] = {
    "binance": ("ORDER_TRADE_UPDATE", "ORDER_TRADE_UPDATE", "ALGO_UPDATE", "*"),
    "bybit": ("order", "execution", "position", "*"),
}
_PROVE_NOTHING: Mapping[str, tuple[str, ...]] = {
    "binance": (
        "unknown_503",
        "timeout_408",
        "timeout_503",
        "unexpected_503",
        "unknown_500",
        "gateway_502",
        "gateway_504",
    ),
    "bybit": (
        "timeout_10000",
        "server_10016",
        "restarting_10019",
        "overloaded_429",
        "processing_110079",
        "unknown_500000",
        "gateway_502",
        "gateway_504",
        "unavailable_503",
    ),
}
_PROVE_ABSENCE: Mapping[str, tuple[str, ...]] = {
    "binance": (
        "unavailable_503",
        "internal_503",
        "throttled_503",
        "matching_window_400",
        "rejected_400",
    ),
    "bybit": ("rate_10006",),
}
# For how long a venue is to hear nothing after a ban, however long that was: Bybit asks for ten
# minutes, so there a ban is rare, or there would be nothing else to see.
BAN_S = {"binance": 0.0, "bybit": 600.0}
_BAN_SHARE = {"binance": 0.5, "bybit": 0.05}
_Act = Callable[[], Awaitable[None]]


class Schedule:
    """Plays one seed on one rig."""

    def __init__(
        self, *, clock: SimClock, folder: Path, venue: str, seed: int, chance: random.Random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._venue = venue
        self.done: dict[str, int] = {}
        self.rig = Rig(
            clock=clock,
            folder=folder,
            venue=venue,
            seed=seed,
            latency=chance.choice(_LATENCIES),
            policy=_POLICY,
        )
        self._minutes = chance.triangular(5, 15, 5)
        # Some seeds are about faults, some about deaths, some quiet for comparison.
        self._severity = chance.choice((0.3, 1.0, 1.0, 2.0))
        self._deaths_left = chance.choice((0, 1, 2, 3, 4))
        self._stops_left = chance.choice((0, 0, 1))
        self._kill: Callable[[Outgoing | None], None] | None = None
        self.rig.on_bytes = self._bytes_leave

    # --- the play -------------------------------------------------------------------------------

    async def play(self) -> None:
        """From the first start to the last action."""
        rig, clock = self.rig, self._clock
        rig.start()
        await self._open()
        until_ns = clock.now_ns() + round(self._minutes * 60e9)
        while clock.now_ns() < until_ns:
            await clock.sleep(self._chance.expovariate(1 / 1.2))
            if rig.engine is None:
                await self._reopen()
            await self._unless_killed(self._go_on)
            await self._unless_killed(self._act)

    async def _unless_killed(self, act: Callable[[], Awaitable[None]]) -> None:
        """What an engine says that dies meanwhile does not matter."""
        engine = self.rig.engine
        try:
            await act()
        except EngineError:
            if self.rig.engine is engine:
                raise

    @property
    def quiet_until_ns(self) -> int:
        """Until when the venue is to hear nothing after the bans that there were."""
        bans = [
            row["at_ns"]
            for row in self.rig.exchange.audit.rows
            if row["kind"] == "fault" and row["fault"] == Fault.BANNED.value
        ]
        at_ns = max((at_ns for at_ns in bans if isinstance(at_ns, int)), default=0)
        return at_ns + round(BAN_S[self._venue] * 1e9)

    async def end_faults(self) -> None:
        """Everything works again from here on, and an engine runs."""
        rig = self.rig
        self._kill = None
        rig.keep_commits()
        rig.exchange.faults.clear()
        rig.exchange.inject([FaultRule(kind=Fault.CLOCK_SKEW, seconds=0.0)])
        rig.come_back()
        while rig.engine is None:
            await self._reopen()

    async def _open(self) -> None:
        await self.rig.open()
        await self._clock.sleep(1.5)
        await self._unless_killed(self._go_on)

    async def _reopen(self) -> None:
        """The next engine, some time after the last one ended."""
        await self._clock.sleep(self._chance.choice((0.1, 1.0, 5.0, 20.0)))
        self._note("start")
        await self._open()

    async def _go_on(self) -> None:
        """An operator who wants it to trade: reset what may be reset, START LIVE."""
        rig = self.rig
        if rig.engine is None or rig.is_latched():
            return
        if rig.kernel.parts.mode.base.value == "ready":
            await rig.trade()

    def _note(self, name: str) -> None:
        self.done[name] = self.done.get(name, 0) + 1

    async def _act(self) -> None:
        weights: dict[str, tuple[float, _Act]] = {
            "wander": (30, self._wander),
            "crash": (0.6, self._crash),
            "signal": (25, self._signal),
            "exit": (8, self._exit),
            "manual_trade": (2, self._manual_trade),
            "manual_order": (1, self._manual_order),
            "liquidation": (0.5, self._liquidation),
            "funding": (1, self._funding),
            "transfer": (0.3, self._transfer),
            "halt": (1, self._halt),
            "emergency": (0.15, self._emergency),
            "reset": (1, self._reset),
            "request_fault": (9 * self._severity, self._request_fault),
            "push_fault": (5 * self._severity, self._push_fault),
            "order_fault": (2 * self._severity, self._order_fault),
            "moment_fault": (2 * self._severity, self._moment_fault),
            "limit_fault": (0.6 * self._severity, self._limit_fault),
            "away": (0.8 * self._severity, self._away),
            "stop": (0.5, self._stop),
            "kill": (1.5, self._plan_death),
        }
        names = list(weights)
        (name,) = self._chance.choices(names, [weights[each][0] for each in names])
        await weights[name][1]()

    # --- the market -----------------------------------------------------------------------------

    async def _wander(self) -> None:
        for symbol in SYMBOLS:
            if self._chance.random() < 0.5:
                self._move(symbol, self._chance.gauss(0, 0.0015))

    async def _crash(self) -> None:
        self._note("crash")
        depth = self._chance.uniform(-0.06, 0.06)
        steps = self._chance.randint(1, 8)
        for _ in range(steps):
            for symbol in SYMBOLS:
                self._move(symbol, depth / steps + self._chance.gauss(0, 0.001))
            await self._clock.sleep(0.3)

    def _move(self, symbol: Symbol, by: float) -> None:
        contract = self.rig.exchange.venue.contracts[symbol]
        price = self.rig.price(symbol) * Decimal(str(round(1 + by, 6)))
        self.rig.move(symbol, round_to_tick(price, contract.tick_size))

    def _symbol(self) -> Symbol:
        return self._chance.choice(SYMBOLS)

    # --- people ---------------------------------------------------------------------------------

    async def _signal(self) -> None:
        if self.rig.engine is None:
            return
        for _ in range(self._chance.choice((1, 1, 1, 2, 6))):
            self._note("signal")
            side = self._chance.choice((Side.BUY, Side.SELL))
            self.rig.signal(self._symbol(), side, self._chance.random(), is_exit=False)

    async def _exit(self) -> None:
        if self.rig.engine is not None:
            self._note("exit")
            self.rig.signal(self._symbol(), Side.SELL, 1.0, is_exit=True)

    async def _manual_trade(self) -> None:
        """Somebody else on the account, at market."""
        self._place_by_hand(Kind.MARKET, None)

    async def _manual_order(self) -> None:
        """Somebody else's resting order."""
        self._place_by_hand(Kind.LIMIT, Decimal(str(round(self._chance.uniform(0.97, 1.03), 4))))

    def _place_by_hand(self, kind: Kind, factor: Decimal | None) -> None:
        venue, symbol = self.rig.exchange.venue, self._symbol()
        contract, price = venue.contracts[symbol], self.rig.price(symbol)
        notional = Decimal(self._chance.randrange(200, 8000))
        limit = None if factor is None else round_to_tick(price * factor, contract.tick_size)
        request = OrderRequest(
            symbol=symbol,
            side=self._chance.choice((Side.BUY, Side.SELL)),
            kind=kind,
            quantity=round_down_to_step(notional / price, contract.quantity_step),
            price=limit,
            client_id=f"web-{self._clock.now_ns()}",
            reduce_only=self._chance.random() < 0.3,
        )
        with suppress(Refusal):
            venue.place(request)
            self._note("manual_order" if limit else "manual_trade")

    async def _liquidation(self) -> None:
        """The venue closes a position by itself."""
        venue = self.rig.exchange.venue
        keys = sorted(venue.account.positions)
        if keys:
            self._note("liquidation")
            venue.matching.liquidate((self._chance.choice(keys),), venue.place)

    async def _funding(self) -> None:
        self._note("funding")
        rate = Decimal(self._chance.randrange(-30, 31)) / 100_000
        self.rig.exchange.venue.settle_funding(self._symbol(), rate)

    async def _transfer(self) -> None:
        self._note("transfer")
        self.rig.exchange.venue.transfer(Decimal(self._chance.randrange(-3000, 3001)) or Decimal(1))

    async def _halt(self) -> None:
        rig = self.rig
        if rig.engine is None or not rig.is_trading():
            return
        self._note("halt")
        client = rig.kernel.client
        await client.halt(reason="campaign")
        await self._clock.sleep(self._chance.uniform(0.5, 6))
        if rig.engine is not None and rig.kernel.client is client:
            await client.resume(reason="campaign")

    async def _emergency(self) -> None:
        if self.rig.engine is None or self.rig.is_latched() or not self._stops_left:
            return
        self._stops_left -= 1
        self._note("emergency")
        self.rig.kernel.client.trip(source=TripSource.BUTTON, reason="campaign")

    async def _reset(self) -> None:
        """An operator who has looked at it: refused unless everything is flat."""
        rig = self.rig
        if not rig.is_latched():
            return
        client = rig.kernel.client
        trips = tuple(trip.id for trip in client.snapshot().emergency.trips)
        request = ResetRequest(
            cause="campaign",
            reason="campaign",
            clear=trips,
            rebase=("peak", "day", "streak", "capital"),
        )
        result = await client.reset(request)
        self._note("reset" if result.ok else "reset_refused")

    # --- faults ---------------------------------------------------------------------------------

    def _inject(self, rule: FaultRule) -> None:
        self.rig.exchange.inject([rule])

    async def _request_fault(self) -> None:
        chance, venue = self._chance, self._venue
        on = chance.choice(_REQUESTS[venue])
        times = chance.choice((1, 1, 1, 2, 3))
        kind = chance.choice(
            (
                Fault.TIMEOUT_BEFORE,
                Fault.TIMEOUT_AFTER,
                Fault.DROP_BEFORE,
                Fault.DROP_AFTER,
                Fault.ERROR,
                Fault.ERROR,
                Fault.ERROR,
                Fault.SLOW,
                Fault.MALFORMED_ANSWER,
            )
        )
        seconds = chance.uniform(0.2, 8) if kind is Fault.SLOW else 0.0
        answer, took_effect = "", False
        if kind is Fault.ERROR:
            answer, took_effect = self._error()
        self._inject(
            FaultRule(
                kind=kind,
                on=on,
                times=times,
                seconds=seconds,
                answer=answer,
                took_effect=took_effect,
            )
        )

    def _error(self) -> tuple[str, bool]:
        if self._chance.random() < 0.6:
            return self._chance.choice(_PROVE_NOTHING[self._venue]), self._chance.random() < 0.5
        return self._chance.choice(_PROVE_ABSENCE[self._venue]), False

    async def _push_fault(self) -> None:
        chance = self._chance
        kind = chance.choice(
            (
                Fault.DUPLICATE,
                Fault.DUPLICATE,
                Fault.GAP,
                Fault.REORDER,
                Fault.DELAY,
                Fault.MALFORMED_FRAME,
                Fault.CUT_ON_PUSH,
            )
        )
        seconds = chance.uniform(0.1, 10) if kind is Fault.DELAY else 0.0
        on = chance.choice(_PUSHES[self._venue])
        self._inject(FaultRule(kind=kind, on=on, times=chance.choice((1, 2, 3)), seconds=seconds))

    async def _order_fault(self) -> None:
        kind = self._chance.choice((Fault.LATE_FILL, Fault.HIDDEN))
        seconds = self._chance.uniform(0.5, 12)
        self._inject(FaultRule(kind=kind, on=_ORDER_REQUEST[self._venue], seconds=seconds))

    async def _moment_fault(self) -> None:
        kind = self._chance.choice(
            (Fault.CLOCK_SKEW, Fault.EXPIRE_LISTEN_KEY, Fault.CUT_STREAMS, Fault.SILENCE)
        )
        seconds = 0.0
        if kind is Fault.CLOCK_SKEW:
            seconds = self._chance.uniform(-3, 3)
        elif kind is Fault.SILENCE:
            seconds = self._chance.uniform(1, 15)
        self._inject(FaultRule(kind=kind, seconds=seconds))

    async def _limit_fault(self) -> None:
        is_ban = self._chance.random() < _BAN_SHARE[self._venue]
        kind = Fault.BANNED if is_ban else Fault.RATE_LIMITED
        seconds = self._chance.uniform(1, 40 if is_ban else 5)
        self._inject(FaultRule(kind=kind, seconds=seconds))

    async def _away(self) -> None:
        """The whole venue, for everybody."""
        if self.rig.is_away:
            return
        self._note("away")
        self.rig.go_away(refuses=self._chance.random() < 0.5)
        for _ in range(self._chance.randint(1, 6)):
            await self._clock.sleep(self._chance.uniform(0.5, 6))
            await self._wander()
        self.rig.come_back()

    # --- deaths ---------------------------------------------------------------------------------

    async def _stop(self) -> None:
        if self.rig.engine is not None:
            self._note("stop")
            await self.rig.stop()

    async def _plan_death(self) -> None:
        if self.rig.engine is None or not self._deaths_left:
            return
        self._deaths_left -= 1
        kind = self._chance.randrange(4)
        if kind == 0:
            self._note("kill_at_a_moment")
            self.rig.kill()
        elif kind == 3:
            self._note("kill_with_commits_lost")
            self.rig.lose_commits(after=self._chance.randrange(8))
        else:
            self._kill = self._killer(left=self._chance.randrange(6), after_bytes=kind == 2)

    def _killer(self, *, left: int, after_bytes: bool) -> Callable[[Outgoing | None], None]:
        def look(outgoing: Outgoing | None) -> None:
            nonlocal left
            if (outgoing is not None) is not after_bytes:
                return
            if outgoing is not None and outgoing.method == "GET" and left:
                return  # What changes something is the more interesting.
            left -= 1
            if left < 0 and self.rig.engine is not None:
                self._kill = None
                self._note("kill_after_bytes" if after_bytes else "kill_before_bytes")
                self.rig.kill()

        return look

    def _bytes_leave(self, outgoing: Outgoing | None) -> None:
        if self._kill is not None:
            self._kill(outgoing)
