"""Books what moved the wallet and was no trade: funding, deposits, withdrawals, the venue's own.

The venue's list is read every minute and before each reconciliation of a start, from a little
before the newest movement that was booked, for rows appear late; each is booked once, by its id,
in one transaction with the totals. Funding stays with its trade; a transfer moves the baselines in
proportion and is no profit; whatever else the venue put in or took (a rebate, a clearance) counts
like funding, for it is gain or loss. What moved the wallet of another asset is kept in that asset.
One that cannot be booked is left, and the comparison with the venue's balance shows it.
"""

from __future__ import annotations

import logging

import msgspec

from engine.kernel.parts import Parts
from engine.kernel.standing import WALLET_SEEN
from engine.model.errors import VenueError
from engine.model.events import WalletMoved
from engine.model.ids import Symbol
from engine.model.venue import MovementKind, WalletMovement
from engine.runtime import within

_log = logging.getLogger(__name__)
_EVERY_S = 60.0
_READ_S = 10.0
# The venue's list may lag behind what it tells.
_OVERLAP_NS = 600_000_000_000
_TOLD_BY_FILLS = frozenset({MovementKind.REALISED, MovementKind.FEE})


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How far the venue's list was booked: the newest time, and the ids of the overlap before."""

    newest_ns: int
    ids: dict[str, int] = {}


class WalletKeeper:
    """Keeps the ledger's funding and transfers equal to the venue's."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._seen: _Seen | None = None
        text = parts.storage.open_state.standing.get(WALLET_SEEN)
        if text is not None:
            self._seen = msgspec.json.decode(text, type=_Seen)

    async def watch(self) -> None:
        """Look for ever; a failed read is tried again at the next turn."""
        while True:
            await self._parts.clock.sleep(_EVERY_S)
            try:
                await self.run()
            except (VenueError, TimeoutError) as error:
                _log.warning("wallet movements: %s", error)

    async def run(self) -> None:
        """Book what is new; raises what the read raises. Nothing before the books are open."""
        parts = self._parts
        if not parts.ledger.is_open:
            return
        opened_ns = parts.venue.books_opened_ns
        seen = self._seen or _Seen(newest_ns=opened_ns)
        since_ns = max(opened_ns, seen.newest_ns - _OVERLAP_NS)
        read = parts.venue.movements(since_ns=since_ns)
        for movement in await within(parts.clock, _READ_S, read):
            if movement.movement_id not in seen.ids:
                seen = self._take(movement, seen)
        self._seen = seen

    def _take(self, movement: WalletMovement, seen: _Seen) -> _Seen:
        """Book one; returns what was seen with it."""
        newest_ns = max(seen.newest_ns, movement.ts_ns)
        after = _Seen(
            newest_ns=newest_ns,
            ids={
                identifier: ts_ns
                for identifier, ts_ns in {**seen.ids, movement.movement_id: movement.ts_ns}.items()
                if ts_ns >= newest_ns - _OVERLAP_NS
            },
        )
        if movement.kind not in _TOLD_BY_FILLS and self._book(movement):
            self._save(movement, after)
        return after

    def _book(self, movement: WalletMovement) -> bool:
        ledger = self._parts.ledger
        if movement.currency != ledger.currency:
            known = movement.currency in ledger.totals.wallets_elsewhere
            if known:
                ledger.move_wallet(movement.currency, movement.amount)
            return known
        if movement.kind is not MovementKind.TRANSFER:
            ledger.add_funding(movement.symbol or Symbol(""), movement.amount)
            return True
        if ledger.equity <= 0 or ledger.equity + movement.amount <= 0:
            _log.error("a transfer of %s leaves no equity and is not booked", movement.amount)
            return False
        ledger.add_transfer(movement.amount)
        return True

    def _save(self, movement: WalletMovement, seen: _Seen) -> None:
        parts = self._parts
        ledger = parts.ledger
        symbol = movement.symbol or Symbol("")
        position = ledger.position(symbol)
        trades = tuple(trade for trade in ledger.open_trades() if trade.symbol == symbol)
        totals = ledger.totals
        event = WalletMoved(
            **parts.stamper(),
            movement_id=movement.movement_id,
            kind=movement.kind.value,
            currency=movement.currency,
            amount=movement.amount,
            symbol=movement.symbol,
            detail=movement.detail,
        )
        parts.execution.recorder.save(
            lambda: parts.storage.store.record_totals(
                totals,
                (event,),
                positions=() if position is None else (position,),
                trades=trades,
                standing={WALLET_SEEN: msgspec.json.encode(seen).decode()},
            ),
            (event,),
        )
        parts.account.judge()


__all__ = ["WalletKeeper"]
