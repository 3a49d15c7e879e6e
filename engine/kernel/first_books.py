"""Opens the books at the first start on an exchange: what its wallet holds then is our capital.

Before that the ledger is shut and the drawdown unknown: nothing is guessed. The wallet is read
between two looks at the executions, so that none falls on both sides: executions of after the
opening are booked like any other, earlier ones are in the wallet already. Positions that stand at
the opening are adopted by the reconciliation that follows; then all measures begin with the equity
that they make (`settle`). The policy that a new data directory was seeded with gets its limits in
money. A crash in between leaves nothing booked, and the next start opens again.
"""

from __future__ import annotations

import logging

from engine.kernel.parts import Parts
from engine.kernel.standing import BOOKS_OPENED
from engine.model.errors import EngineError, NotExecuted
from engine.model.policy import PolicyDocument, diff, seeded
from engine.model.values import plain

_log = logging.getLogger(__name__)
_TRIES = 5
# Executions are stamped in milliseconds, and seen a moment after they happened.
_BEFORE_NS = 1_000_000_000
_SETTLED_S = 1.5
_MEASURES = ("peak", "day", "capital")


class FirstBooks:
    """Opens the ledger, once."""

    def __init__(self, *, parts: Parts) -> None:
        self._parts = parts
        self._has_to_settle = False

    async def open(self) -> None:
        """Open the books if they are not; raises what a read raises."""
        parts = self._parts
        if not parts.ledger.is_open:
            await self._open()
        await self._give_policy_its_limits()

    async def _open(self) -> None:
        parts = self._parts
        reads = parts.venue.reads
        for _ in range(_TRIES):
            opened_ns = parts.venue.now_ns()
            await parts.clock.sleep(_SETTLED_S)
            balance = (await reads.balance()).balance
            since_ns = opened_ns - _BEFORE_NS
            if await reads.executions(since_ns=since_ns):
                continue
            if not await parts.venue.movements(since_ns=since_ns):
                break
        else:
            raise NotExecuted("the account is traded elsewhere: its wallet does not stand still")
        if balance <= 0:
            raise NotExecuted(f"the wallet holds {plain(balance)}: there is no capital to trade")
        await parts.storage.store.record_standing(BOOKS_OPENED, str(opened_ns))
        parts.venue.open_books(opened_ns)
        parts.ledger.open_with(balance, parts.clock.now_ns())
        self._has_to_settle = True
        _log.info("books opened with %s", balance)

    async def settle(self) -> None:
        """After the reconciliation that adopted what stood at the opening: measure from here."""
        parts = self._parts
        if not self._has_to_settle:
            return
        for position in await parts.venue.reads.positions():
            if position.mark_price is not None:
                parts.ledger.mark(position.symbol, position.mark_price, parts.clock.now_ns())
        for measure in _MEASURES:
            parts.ledger.rebase(measure)
        await parts.storage.store.record_totals(parts.ledger.totals)
        await parts.storage.store.append_audit(
            who="seawall",
            what=f"books opened with {plain(parts.ledger.totals.initial)}",
            why=f"the wallet at {parts.venue.name} at the first start",
            where="engine",
            ts_ns=parts.clock.now_ns(),
        )
        self._has_to_settle = False

    async def _give_policy_its_limits(self) -> None:
        """The limits in money of a policy that was seeded before anybody knew the capital."""
        policy = self._parts.policy
        document = policy.get_policy()
        if not is_without_capital(document):
            return
        wanted = seeded(self._parts.ledger.totals.initial, live=True)
        changes = {name: after for name, (_, after) in diff(document, wanted).items()}
        try:
            await policy.update(
                changes,
                base_version=document.version,
                author="seawall",
                reason="limits for the capital that the venue's wallet holds",
            )
        except EngineError as error:
            # Latched, or another node decided meanwhile: limits of zero let nothing through.
            _log.warning("the seeded policy keeps limits of zero: %s", error)


def is_without_capital(document: PolicyDocument) -> bool:
    """Whether this is the policy that was seeded before the capital was known."""
    return document.version == 1 and all(
        profile.max_order_notional == 0 and profile.min_balance == 0
        for profile in document.profiles.values()
    )


__all__ = ["FirstBooks", "is_without_capital"]
