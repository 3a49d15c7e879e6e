"""An independent audit of an engine against a simulated venue, by the venue's own books.

Imports nothing of the engine and shares no arithmetic with it. One side is what the simulator says
of itself (`GET control_url/books`: orders, fills, income, positions, and the audit list of what
happened when); the other is our `state.db`, read by SQL. `problems_of` names whatever breaks a
promise: an order that was executed twice, a fill lost or invented, an entry sent while the outcome
of another in its symbol was unknown or while the stop was latched, books that differ in the last
decimal, an order without a state the venue would agree with, a position without its stop, a ban
that we brought on ourselves.

    python tests/venue_auditor.py books.json state.db

Times are UTC nanoseconds of the true clock. Exit 0 clean, 1 not, 2 bad usage.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

__all__ = ["Judged", "OurBooks", "Run", "Window", "judged", "main", "problems_of", "read_ours"]

NS = 1_000_000_000
_FOR_EVER_NS = 2**62
# A position may be without its stop for so long after it was opened or grew (R-EXE-12).
BARE_MAX_S = 5.0
_ENTRY_REQUESTS = ("POST /fapi/v1/order", "POST /v5/order/create")
_OUR_ID = re.compile(r"-g\d+-(s\d+-)?\d+$")
_FINAL = frozenset({"filled", "cancelled", "rejected", "denied", "abandoned"})
_OPEN_AT_VENUE = frozenset({"NEW", "PARTIALLY_FILLED"})
_NEVER_THERE = frozenset({"rejected", "denied", "abandoned"})
_BROKEN = ("ILLEGAL_TRANSITION", "INVARIANT_BROKEN")

# After a venue or an engine is back: the stream returns (it is tried at growing distances), what
# happened is read, and only then is it known what needs a stop.
_BACK_S = 15.0
# What others do to the account is told by the stream alone: where a fault made it say nothing, not
# even that it is gone, the comparison of every minute finds it.
_TOLD_BY_NOBODY_S = 75.0
_LOSES_PUSHES = frozenset(
    {"gap", "silence", "expire_listen_key", "malformed_frame", "cut_on_push", "delay", "reorder"}
)
# For how long a fault of the venue may keep a position without its stop, counted from the moment
# when the fault is over (its own seconds added). What is told late, wrong or not at all on the
# stream is found by the next look at the venue; an answer that fails or is lost costs the time to
# wait for it and another try; a limit or a ban costs its own length and, to whoever still had a
# request on the way, the rest of the venue's minute.
_EXCUSED_AFTER_S: Mapping[str, float] = {
    "timeout_before": 25.0,
    "timeout_after": 25.0,
    "drop_before": 15.0,
    "drop_after": 15.0,
    "error": 15.0,
    "slow": 10.0,
    "malformed_answer": 15.0,
    "rate_limited": 75.0,
    "banned": 75.0,
    "batch_item": 10.0,
    "late_fill": 10.0,
    "hidden": 10.0,
    "duplicate": 0.0,
    "gap": 15.0,
    "reorder": 10.0,
    "delay": 10.0,
    "malformed_frame": 15.0,
    "cut_on_push": 15.0,
    "clock_skew": 15.0,
    "expire_listen_key": 15.0,
    "cut_streams": 15.0,
    "silence": 15.0,
}


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time in which the venue could not be reached, or no engine ran, with its reason."""

    from_ns: int
    to_ns: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an audit is of. `excused` are times without a line or without an engine; `flight_s` is
    how long bytes may take: what was sent before a moment may arrive so much after it.
    `ban_s` is how long this venue wants to hear nothing after a ban, however long that was.
    """

    books: Mapping[str, Any]
    state_db: Path
    excused: tuple[Window, ...] = ()
    flight_s: float = 0.0
    ban_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OurBooks:
    """What our database says, by our ids."""

    intents: Mapping[str, Mapping[str, Any]]
    orders: Mapping[str, Mapping[str, Any]]
    fills: tuple[Mapping[str, Any], ...]
    positions: Mapping[str, Decimal]
    totals: Mapping[str, Any]
    events: tuple[tuple[str, int, Mapping[str, Any]], ...]
    alarms: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How much there was to judge, so that an audit of nothing is seen to be one."""

    orders: int
    entries: int
    fills: int
    stops: int
    unresolved: int
    positions_opened: int
    liquidations: int
    foreign_fills: int
    faults: Mapping[str, int]


def read_ours(state_db: Path) -> OurBooks:
    """Read everything once, by SQL."""
    with closing(sqlite3.connect(f"{state_db.absolute().as_uri()}?mode=ro", uri=True)) as database:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return database.execute(sql).fetchall()

        intents = [json.loads(row[0]) for row in rows("SELECT record FROM intents")]
        orders = [json.loads(row[0]) for row in rows("SELECT record FROM orders")]
        totals = rows("SELECT record FROM account_totals")
        return OurBooks(
            intents={each["client_order_id"]: each for each in intents},
            orders={each["intent"]["client_order_id"]: each for each in orders},
            fills=tuple(json.loads(row[0]) for row in rows("SELECT record FROM fills")),
            positions={
                symbol: Decimal(quantity)
                for symbol, quantity in rows("SELECT symbol, quantity FROM positions")
                if Decimal(quantity)
            },
            totals=json.loads(totals[0][0]) if totals else {},
            events=tuple(
                (kind, ts_ns, json.loads(payload))
                for kind, ts_ns, payload in rows(
                    "SELECT type, ts_ns, payload FROM outbox ORDER BY seq"
                )
            ),
            alarms=tuple(
                (code, str(json.loads(record)))
                for code, record in rows("SELECT code, record FROM alarms")
            ),
        )


def problems_of(run: Run) -> list[str]:
    """Every broken promise, in words; empty when there is none."""
    ours = read_ours(run.state_db)
    checks: tuple[Callable[[Run, OurBooks], Iterable[str]], ...] = (
        _orders_came_once,
        _fills_are_the_same,
        _entries_waited,
        _books_are_equal,
        _orders_are_settled,
        _positions_had_stops,
        _no_ban_was_earned,
        _nothing_was_broken,
    )
    return [problem for check in checks for problem in check(run, ours)]


def judged(run: Run) -> Judged:
    """How much was judged."""
    ours = read_ours(run.state_db)
    audit = run.books["audit"]
    faults: dict[str, int] = defaultdict(int)
    for row in audit:
        if row["kind"] == "fault":
            faults[row["fault"]] += 1
    entries = [one for one in ours.intents.values() if one["purpose"] == "entry"]
    fills = run.books["fills"]
    return Judged(
        orders=len(ours.intents),
        entries=len(entries),
        fills=len(fills),
        stops=sum(1 for each in ours.intents.values() if each["purpose"] == "protective_stop"),
        unresolved=sum(1 for kind, _, _ in ours.events if kind == "order.unresolved"),
        positions_opened=sum(1 for _ in _openings(audit)),
        liquidations=sum(1 for each in fills if each["is_liquidation"]),
        foreign_fills=sum(1 for each in fills if each["client_id"] not in ours.intents),
        faults=dict(faults),
    )


# --- orders ---------------------------------------------------------------------------------------


def _orders_came_once(run: Run, ours: OurBooks) -> Iterator[str]:
    """No id twice at the venue, no two orders for one signal, none that we have no record of."""
    came: dict[str, set[str]] = defaultdict(set)
    for order in run.books["orders"]:
        # What a conditional order became has that one's id.
        number = order["conditional_id"] or order["order_id"]
        came[order["client_id"]].add(str(number))
    for conditional in run.books["conditionals"]:
        came[conditional["client_id"]].add(str(conditional["conditional_id"]))
    by_signal: dict[str, list[str]] = defaultdict(list)
    for identifier, numbers in sorted(came.items()):
        if not _OUR_ID.search(identifier):
            continue
        if len(numbers) > 1:
            yield f"duplicate: {identifier} is {len(numbers)} orders at the venue"
        intent = ours.intents.get(identifier)
        if intent is None:
            yield f"unrecorded: {identifier} is at the venue and in none of our records"
        elif intent["signal_id"] and intent["purpose"] == "entry":
            by_signal[intent["signal_id"]].append(identifier)
    for signal, identifiers in sorted(by_signal.items()):
        if len(identifiers) > 1:
            yield f"duplicate: signal {signal} became {', '.join(identifiers)}"


def _orders_are_settled(run: Run, ours: OurBooks) -> Iterator[str]:
    """At rest: what we call open is open there, and the other way round, and fills agree."""
    theirs = _by_client_id(run.books["orders"])
    waiting = {each["client_id"] for each in run.books["conditionals"] if each["status"] == "NEW"}
    open_there = waiting | {
        identifier for identifier, each in theirs.items() if each["status"] in _OPEN_AT_VENUE
    }
    states = {identifier: order["state"] for identifier, order in ours.orders.items()}
    for identifier in ours.intents:
        states.setdefault(identifier, "intended")
    for identifier, state in sorted(states.items()):
        is_ours_open = state in {"accepted", "partially_filled"}
        if state not in _FINAL and not is_ours_open:
            yield f"unsettled: {identifier} is {state}"
        if is_ours_open and identifier not in open_there:
            yield f"unsettled: {identifier} is {state} with us and not open at the venue"
        if state in _FINAL and identifier in open_there:
            yield f"unsettled: {identifier} is {state} with us and open at the venue"
        filled = theirs[identifier]["filled"] if identifier in theirs else Decimal(0)
        if state in _NEVER_THERE and filled:
            yield f"unsettled: {identifier} is {state} with us and has filled {filled}"
        known = Decimal(ours.orders[identifier]["filled"]) if identifier in ours.orders else 0
        if known != filled:
            yield f"unsettled: {identifier} has filled {filled}, with us {known}"
    for identifier in sorted(open_there - set(states)):
        yield f"unsettled: {identifier} is open at the venue and unknown to us"


def _by_client_id(orders: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fills of one id added up: what the venue closes by itself comes in several orders of one."""
    found: dict[str, dict[str, Any]] = {}
    for order in orders:
        known = found.setdefault(
            order["client_id"], {"filled": Decimal(0), "status": order["status"]}
        )
        known["filled"] += Decimal(order["filled"])
        if order["status"] in _OPEN_AT_VENUE:
            known["status"] = order["status"]
    return found


# --- money ----------------------------------------------------------------------------------------

_Fill = tuple[str, str, Decimal, Decimal, Decimal]


def _fills_are_the_same(run: Run, ours: OurBooks) -> Iterator[str]:
    """Every execution of the venue is booked once, with its figures, and nothing else is."""
    theirs: dict[str, _Fill] = {
        str(each.get("wire_id", each["execution_id"])): _fill(each) for each in run.books["fills"]
    }
    booked: dict[str, _Fill] = {}
    for each in ours.fills:
        if not Decimal(each["quantity"]) and not Decimal(each["fee"]):
            continue  # What we had concluded, and took back when the true one was told.
        identifier = each["execution_id"].removeprefix(f"{each['symbol']}-")
        if identifier in booked:
            yield f"fill: {identifier} is booked twice"
        booked[identifier] = _fill(each)
    for identifier in sorted(theirs.keys() - booked.keys()):
        yield f"fill: {identifier} is lost: {_words(theirs[identifier])}"
    for identifier in sorted(booked.keys() - theirs.keys()):
        yield f"fill: {identifier} never happened: {_words(booked[identifier])}"
    for identifier in sorted(booked.keys() & theirs.keys()):
        if booked[identifier] != theirs[identifier]:
            words = f"{_words(booked[identifier])}, the venue {_words(theirs[identifier])}"
            yield f"fill: {identifier} differs: {words}"


def _fill(row: Mapping[str, Any]) -> _Fill:
    figures = (Decimal(row[name]) for name in ("quantity", "price", "fee"))
    quantity, price, fee = figures
    return row["symbol"], row["side"], quantity, price, fee


def _words(fill: _Fill) -> str:
    return f"{fill[1]} {fill[2]} {fill[0]} @ {fill[3]}, fee {fill[4]}"


def _books_are_equal(run: Run, ours: OurBooks) -> Iterator[str]:
    """Positions, and every kind of money, to the last decimal."""
    positions = {
        row["symbol"] + ("" if row["leg"] == "BOTH" else f" {row['leg']}"): Decimal(row["quantity"])
        for row in run.books["positions"]
    }
    for symbol in sorted(positions.keys() | ours.positions.keys()):
        there, here = positions.get(symbol, Decimal(0)), ours.positions.get(symbol, Decimal(0))
        if there != here:
            yield f"position: {symbol} is {there}, with us {here}"
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for row in run.books["income"]:
        paid[row["kind"]] += Decimal(row["amount"])
    figures = {
        "realised": paid["REALIZED_PNL"],
        "fees": -paid["COMMISSION"],
        "funding": paid["FUNDING_FEE"],
        "transfers": paid["TRANSFER"],
    }
    for name, there in figures.items():
        here = Decimal(ours.totals.get(name, "0"))
        if there != here:
            yield f"money: {name} are {there}, with us {here}"
    balance = Decimal(run.books["initial"]) + sum(paid.values())
    if balance != Decimal(run.books["balance"]):
        yield f"money: the venue's own balance {run.books['balance']} is not {balance}"


# --- entries that should have waited --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """One order request that reached the venue's door."""

    at_ns: int
    client_id: str
    symbol: str
    reduces: bool


def _sent(run: Run) -> list[_Sent]:
    found = []
    for row in run.books["audit"]:
        if row["kind"] != "request" or row["request"] not in _ENTRY_REQUESTS:
            continue
        values = _parameters(row["parameters"])
        found.append(
            _Sent(
                at_ns=row["at_ns"],
                client_id=values.get("newClientOrderId") or values.get("orderLinkId") or "",
                symbol=values.get("symbol", ""),
                reduces=values.get("reduceOnly", "").lower() == "true",
            )
        )
    return found


def _parameters(text: str) -> dict[str, str]:
    if text.startswith("{"):
        return {name: _text(value) for name, value in json.loads(text).items()}
    return {name: values[0] for name, values in parse_qs(text).items()}


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _entries_waited(run: Run, ours: OurBooks) -> Iterator[str]:
    """No entry left while another's outcome in its symbol was unknown, nor under a latch."""
    flight_ns = round(run.flight_s * NS)
    unknown = list(_unknown_times(ours))
    latched = list(_latched_times(ours))
    for sent in _sent(run):
        if sent.reduces or not _OUR_ID.search(sent.client_id):
            continue
        for identifier, symbol, from_ns, to_ns in unknown:
            if symbol == sent.symbol and from_ns + flight_ns < sent.at_ns < to_ns:
                late_s = (sent.at_ns - from_ns) / NS
                yield (
                    f"unresolved: {sent.client_id} was sent {late_s:.3f} s after {identifier}"
                    f" became unresolved in {symbol}"
                )
        for from_ns, to_ns in latched:
            if from_ns + flight_ns < sent.at_ns < to_ns:
                late_s = (sent.at_ns - from_ns) / NS
                yield f"latched: entry {sent.client_id} came {late_s:.3f} s after the stop"


def _unknown_times(ours: OurBooks) -> Iterator[tuple[str, str, int, int]]:
    """(client id, symbol, from, to) of each entry whose outcome was not known."""
    since: dict[str, tuple[str, int]] = {}
    for kind, ts_ns, payload in ours.events:
        if not kind.startswith("order."):
            continue
        identifier = payload["client_order_id"]
        if kind in {"order.unresolved", "order.lost"}:
            purpose = ours.intents.get(identifier, {}).get("purpose")
            if purpose == "entry":
                since.setdefault(identifier, (payload["symbol"], ts_ns))
        elif identifier in since:
            symbol, from_ns = since.pop(identifier)
            yield identifier, symbol, from_ns, ts_ns
    for identifier, (symbol, from_ns) in since.items():
        yield identifier, symbol, from_ns, 2**63


def _latched_times(ours: OurBooks) -> Iterator[tuple[int, int]]:
    since: int | None = None
    for kind, ts_ns, payload in ours.events:
        if kind == "system.emergency.triggered" and payload["phase"] == "tripped":
            since = ts_ns if since is None else since
        elif kind == "system.emergency.reset" and since is not None:
            yield since, ts_ns
            since = None
    if since is not None:
        yield since, 2**63


# --- protection -----------------------------------------------------------------------------------

_Key = tuple[str, str]


@dataclass(kw_only=True)
class _Guarded:
    """One position through time, and the stops that wait under it."""

    quantity: Decimal = Decimal(0)
    stops: dict[int, tuple[str, Decimal]] = field(default_factory=dict)
    bare_since_ns: int | None = None
    # When somebody else last traded here: until that is known, our stop is of another size.
    others_ns: int = -_FOR_EVER_NS

    @property
    def is_bare(self) -> bool:
        if not self.quantity:
            return False
        closing_side = "SELL" if self.quantity > 0 else "BUY"
        covered = sum(size for side, size in self.stops.values() if side == closing_side)
        return covered < abs(self.quantity)


def _openings(audit: Iterable[Mapping[str, Any]]) -> Iterator[tuple[_Key, int]]:
    """Each time a position was opened from flat."""
    held: dict[_Key, Decimal] = defaultdict(Decimal)
    for row in audit:
        if row["kind"] == "order" and "execution_id" in row:
            key = (row["symbol"], row["leg"])
            before, held[key] = held[key], held[key] + _signed(row)
            if not before and held[key]:
                yield key, row["at_ns"]


def _signed(row: Mapping[str, Any]) -> Decimal:
    quantity = Decimal(row["last_quantity"])
    return quantity if row["side"] == "BUY" else -quantity


@dataclass(frozen=True, kw_only=True)
class _Bare:
    """A time in which stops covered less than was held."""

    key: _Key
    from_ns: int
    to_ns: int
    by_others: bool


def _bare_times(audit: Iterable[Mapping[str, Any]], end_ns: int) -> Iterator[_Bare]:
    guarded: dict[_Key, _Guarded] = defaultdict(lambda: _Guarded())
    for row in audit:
        if row["kind"] not in {"order", "conditional"}:
            continue
        key = (row["symbol"], row["leg"])
        one = guarded[key]
        if row["kind"] == "order" and "execution_id" in row:
            one.quantity += _signed(row)
            if not _OUR_ID.search(row["client_id"]):
                one.others_ns = row["at_ns"]
        elif row["kind"] == "conditional":
            _note_stop(one, row)
        if one.is_bare and one.bare_since_ns is None:
            one.bare_since_ns = row["at_ns"]
        elif not one.is_bare and one.bare_since_ns is not None:
            yield _bare(key, one, row["at_ns"])
            one.bare_since_ns = None
    for key, one in guarded.items():
        if one.bare_since_ns is not None:
            yield _bare(key, one, end_ns)


def _bare(key: _Key, one: _Guarded, to_ns: int) -> _Bare:
    assert one.bare_since_ns is not None
    by_others = one.bare_since_ns - one.others_ns < _TOLD_BY_NOBODY_S * NS
    return _Bare(key=key, from_ns=one.bare_since_ns, to_ns=to_ns, by_others=by_others)


def _note_stop(one: _Guarded, row: Mapping[str, Any]) -> None:
    if row["status"] == "NEW" and (row["reduce_only"] or row["close_position"]):
        size = Decimal("Infinity") if row["close_position"] else Decimal(row["quantity"])
        one.stops[row["conditional_id"]] = (row["side"], size)
    else:
        one.stops.pop(row["conditional_id"], None)


def _positions_had_stops(run: Run, ours: OurBooks) -> Iterator[str]:
    """Every position older than five seconds had its stop, unless the venue kept us from it."""
    audit = run.books["audit"]
    end_ns = max((row["at_ns"] for row in audit), default=0)
    standing = [
        *((each.from_ns, each.to_ns + round(_BACK_S * NS)) for each in run.excused),
        *_latched_times(ours),
    ]
    excused = {
        by_others: _merged([*standing, *_fault_times(run, by_others=by_others)])
        for by_others in (False, True)
    }
    # The news of a fill and the stop that follows are on their way for as long as bytes take.
    grace_ns = round((BARE_MAX_S + 2 * run.flight_s) * NS)
    for bare in _bare_times(audit, end_ns):
        symbol, leg = bare.key
        late_ns = bare.from_ns + grace_ns
        for begin_ns, until_ns in _outside(late_ns, bare.to_ns, excused[bare.by_others]):
            yield (
                f"bare: {symbol} {leg} had no stop from {begin_ns} for"
                f" {(until_ns - begin_ns) / NS:.3f} s, {(begin_ns - bare.from_ns) / NS:.1f} s after"
                f" {'others' if bare.by_others else 'we'} opened or enlarged it"
            )


def _fault_times(run: Run, *, by_others: bool) -> Iterator[tuple[int, int]]:
    for row in run.books["audit"]:
        if row["kind"] == "fault":
            after_s = _EXCUSED_AFTER_S[row["fault"]]
            if by_others and row["fault"] in _LOSES_PUSHES:
                after_s = _TOLD_BY_NOBODY_S
            lasts_s = max(0.0, row["seconds"]) if row["fault"] != "clock_skew" else 0.0
            if row["fault"] == "banned":
                lasts_s = max(lasts_s, run.ban_s)
            yield row["at_ns"], row["at_ns"] + round((lasts_s + after_s) * NS)


def _merged(times: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for from_ns, to_ns in sorted(times):
        if merged and from_ns <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], to_ns))
        else:
            merged.append((from_ns, to_ns))
    return merged


def _outside(from_ns: int, to_ns: int, excused: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of a time that no excuse covers."""
    at_ns = from_ns
    for begin_ns, end_ns in excused:
        if end_ns <= at_ns:
            continue
        if begin_ns >= to_ns:
            break
        if begin_ns > at_ns:
            yield at_ns, begin_ns
        at_ns = end_ns
    if at_ns < to_ns:
        yield at_ns, to_ns


# --- the rest -------------------------------------------------------------------------------------


def _no_ban_was_earned(run: Run, ours: OurBooks) -> Iterator[str]:
    for seconds in run.books["bans_earned_s"]:
        yield f"ban: we were banned for {seconds:.0f} s, and no fault was injected for it"


def _nothing_was_broken(run: Run, ours: OurBooks) -> Iterator[str]:
    for code, text in ours.alarms:
        if code in _BROKEN:
            yield f"broken: {code}: {text}"


def main(arguments: list[str]) -> int:
    """Audit from a shell."""
    if len(arguments) != 2:
        sys.stderr.write("usage: venue_auditor.py books.json state.db\n")
        return 2
    run = Run(books=json.loads(Path(arguments[0]).read_text()), state_db=Path(arguments[1]))
    found = problems_of(run)
    for line in found:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{'NOT CLEAN' if found else 'clean'}: {judged(run)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
