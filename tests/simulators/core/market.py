"""One symbol's public market: last, mark and index price, funding, and a book of seeded depth.

The book stands around a centre, one tick each side, with levels that widen. A taker eats it level
by level; the next price, or the next heartbeat, fills it again around the same centre, which only
`set_price` moves. Update ids count up by more than one, as the venues' do.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from engine.model.values import ZERO, Side, round_down_to_step, round_to_tick
from engine.runtime import Chance
from tests.simulators.core.contracts import Contract
from tests.simulators.core.model import BookChanged, MarketTraded

Level = tuple[Decimal, Decimal]
_LEVELS = 20
_LEVEL_NOTIONAL = (50_000, 150_000)
_WIDENING = Decimal("0.00005")
_RECENT_TRADES = 1000
_FIRST_UPDATE_ID = 7_000_000_000_000
_FIRST_TRADE_ID = 2_100_000_000


class Market:
    """Prices and depth of one contract."""

    def __init__(self, *, contract: Contract, seed: int) -> None:
        self.contract = contract
        self.last = self.centre = contract.first_price
        self.mark = contract.first_price
        self.index = contract.first_price
        self.funding_rate = Decimal("0.0001")
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.update_id = _FIRST_UPDATE_ID
        self.is_eaten = False
        self._chance = Chance(seed=seed, name=f"{contract.symbol}.book")
        self._trade_id = _FIRST_TRADE_ID
        # What the last published book held, so that a change can be told as a difference.
        self.recent: deque[MarketTraded] = deque(maxlen=_RECENT_TRADES)
        self._published: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        self._rebuild()
        self.book_change(0)

    def best(self, side: Side) -> Level | None:
        """The best level that an order of this side would meet."""
        levels = self.depth(side)
        return levels[0] if levels else None

    def depth(self, side: Side) -> list[Level]:
        """The levels that an order of this side would meet, best first."""
        if side is Side.BUY:
            return sorted(self.asks.items())
        return sorted(self.bids.items(), reverse=True)

    def published(self, side: Side) -> list[Level]:
        """The levels as the last published change left them, best first."""
        bids, asks = self._published
        if side is Side.BUY:
            return sorted(asks.items())
        return sorted(bids.items(), reverse=True)

    def set_price(self, price: Decimal, *, mark: Decimal | None = None) -> None:
        """Move the market; mark and index follow unless a mark is given."""
        self.last = self.centre = round_to_tick(price, self.contract.tick_size)
        self.mark = self.index = mark if mark is not None else self.last
        self._rebuild()

    def refill(self) -> None:
        """Put back what takers have eaten, if they have."""
        if self.is_eaten:
            self._rebuild()

    def breathe(self) -> None:
        """Change the size of one level, so that a quiet book is still seen to live."""
        price = self.centre + self.contract.tick_size
        self.asks[price] = self._level_quantity()

    def take(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        """Eat from one level."""
        self.is_eaten = True
        levels = self.asks if side is Side.BUY else self.bids
        left = levels[price] - quantity
        if left > ZERO:
            levels[price] = left
        else:
            del levels[price]

    def trade(
        self, price: Decimal, quantity: Decimal, *, is_buyer_maker: bool, ts_ns: int
    ) -> MarketTraded:
        """A public trade at this price, with the next id."""
        self._trade_id += 1
        self.last = price
        traded = MarketTraded(
            symbol=self.contract.symbol,
            trade_id=self._trade_id,
            price=price,
            quantity=quantity,
            is_buyer_maker=is_buyer_maker,
            ts_ns=ts_ns,
        )
        self.recent.append(traded)
        return traded

    def book_change(self, ts_ns: int) -> BookChanged:
        """What has changed since this was last asked; the ids go on without a gap."""
        first = self.update_id + 1
        self.update_id += 1 + self._chance.randrange(5)
        bids_before, asks_before = self._published
        change = BookChanged(
            symbol=self.contract.symbol,
            first_id=first,
            last_id=self.update_id,
            bids=_difference(bids_before, self.bids),
            asks=_difference(asks_before, self.asks),
            ts_ns=ts_ns,
        )
        self._published = (dict(self.bids), dict(self.asks))
        return change

    def _rebuild(self) -> None:
        tick = self.contract.tick_size
        gap = max(tick, round_to_tick(self.centre * _WIDENING, tick))
        self.bids, self.asks = {}, {}
        self.is_eaten = False
        for number in range(_LEVELS):
            distance = tick + gap * number
            if self.centre > distance:
                self.bids[self.centre - distance] = self._level_quantity()
            self.asks[self.centre + distance] = self._level_quantity()

    def _level_quantity(self) -> Decimal:
        notional = Decimal(self._chance.randrange(*_LEVEL_NOTIONAL))
        step = self.contract.quantity_step
        return max(round_down_to_step(notional / self.centre, step), self.contract.quantity_min)


def _difference(before: dict[Decimal, Decimal], now: dict[Decimal, Decimal]) -> tuple[Level, ...]:
    gone = [(price, ZERO) for price in before if price not in now]
    changed = [(price, size) for price, size in now.items() if before.get(price) != size]
    return tuple(sorted([*gone, *changed]))


__all__ = ["Level", "Market"]
