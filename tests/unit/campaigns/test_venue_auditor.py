"""The auditor of the venue campaigns finds what it is there to find.

One clean run of an engine on a simulated exchange, found clean; then each broken promise planted
once, in the exchange's books or in our database, and named.
"""

from __future__ import annotations

import copy
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.model.emergency import TripSource
from engine.model.values import Side
from engine.runtime import SimClock, run_simulated
from tests.campaigns._venue_rig import SYMBOLS, Rig, exchange_keys
from tests.simulators.core.model import Kind, OrderRequest
from tests.simulators.faults import Fault, FaultRule
from tests.venue_auditor import NS, Run, Window, judged, main, problems_of

BTC, ETH = SYMBOLS[:2]
_START_NS = 1_795_000_000_000_000_000
_ORDER = "POST /fapi/v1/order"


async def _trade(clock: SimClock, folder: Path) -> Run:
    """Two entries, one of them unknown for a while, a trade by hand, an exit, a stop."""
    rig = Rig(clock=clock, folder=folder, venue="binance", seed=1)
    rig.start()
    try:
        await rig.open()
        await clock.sleep(2.0)
        assert await rig.trade()
        rig.signal(BTC, Side.BUY, 0.9, is_exit=False)
        await clock.sleep(8.0)
        rule = FaultRule(kind=Fault.TIMEOUT_AFTER, on=_ORDER)
        silence = FaultRule(kind=Fault.GAP, on="ORDER_TRADE_UPDATE", times=5)
        rig.exchange.inject([rule, silence])
        rig.signal(ETH, Side.SELL, 0.9, is_exit=False)
        await clock.sleep(20.0)
        rig.exchange.faults.clear()
        by_hand = OrderRequest(
            symbol=SYMBOLS[2],
            side=Side.BUY,
            kind=Kind.MARKET,
            quantity=Decimal(10),
            client_id="web-1",
        )
        rig.exchange.venue.place(by_hand)
        await clock.sleep(8.0)
        rig.signal(BTC, Side.SELL, 0.9, is_exit=True)
        await clock.sleep(10.0)
        rig.kernel.client.trip(source=TripSource.BUTTON, reason="audit")
        await clock.sleep(70.0)
        await rig.stop()
        return Run(
            books=json.loads(json.dumps(rig.exchange.books())),
            state_db=rig.data_dir / "state.db",
            excused=tuple(rig.excused),
        )
    finally:
        await rig.abandon()


@dataclass
class Case:
    """A copy to plant in."""

    run: Run

    @property
    def books(self) -> dict[str, Any]:
        assert isinstance(self.run.books, dict)
        return self.run.books

    def sql(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.run.state_db)) as database:
            changed = database.execute(statement, values).rowcount
            database.commit()
        assert changed, f"nothing was planted by {statement}"

    def ours(self, purpose: str) -> str:
        """The first order of ours with this purpose."""
        with closing(sqlite3.connect(self.run.state_db)) as database:
            sql = "SELECT client_order_id FROM intents WHERE purpose = ? ORDER BY number"
            found = database.execute(sql, (purpose,)).fetchone()
        return str(found[0])

    def event_ns(self, kind: str) -> int:
        with closing(sqlite3.connect(self.run.state_db)) as database:
            sql = "SELECT ts_ns FROM outbox WHERE type = ? ORDER BY seq"
            return int(database.execute(sql, (kind,)).fetchone()[0])

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.books["audit"] if row["kind"] == kind]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("audit")
    with exchange_keys():
        return run_simulated(lambda clock: _trade(clock, folder), start_ns=_START_NS)


@pytest.fixture
def case(clean: Run, tmp_path: Path) -> Case:
    path = tmp_path / "state.db"
    shutil.copy(clean.state_db, path)
    return Case(run=replace(clean, books=copy.deepcopy(clean.books), state_db=path))


def test_a_clean_run_is_found_clean_and_there_was_something_to_judge(case: Case) -> None:
    assert problems_of(case.run) == []
    counted = judged(case.run)
    assert counted.entries == 2
    assert counted.unresolved >= 1
    assert counted.stops >= 3
    assert counted.foreign_fills == 1
    assert counted.fills >= 6
    assert counted.positions_opened == 3
    assert counted.faults["timeout_after"] == 1


def _same_id_twice(case: Case) -> None:
    order = next(row for row in case.books["orders"] if row["client_id"] == case.ours("entry"))
    case.books["orders"].append({**order, "order_id": order["order_id"] + 1_000, "filled": "0"})


def _two_orders_for_a_signal(case: Case) -> None:
    case.sql(
        "UPDATE intents SET record = json_set(record, '$.signal_id', 'campaign-1')"
        " WHERE purpose = 'entry'"
    )


def _order_without_intent(case: Case) -> None:
    identifier = case.ours("entry")
    case.sql("DELETE FROM intents WHERE client_order_id = ?", identifier)


def _fill_lost(case: Case) -> None:
    case.sql("DELETE FROM fills WHERE client_order_id = 'web-1'")


def _fill_invented(case: Case) -> None:
    fill = case.books["fills"].pop()
    assert fill


def _fee_differs(case: Case) -> None:
    case.sql(
        "UPDATE fills SET record = json_set(record, '$.fee', '0.00000001')"
        " WHERE client_order_id = 'web-1'"
    )


def _entry_while_unresolved(case: Case) -> None:
    _send_entry(case, case.event_ns("order.unresolved") + NS // 2, ETH)


def _resent_while_unresolved(case: Case) -> None:
    sent = next(
        row
        for row in case.rows("request")
        if "ETHUSDT" in row["parameters"] and row["request"] == _ORDER
    )
    at_ns = case.event_ns("order.unresolved") + NS // 2
    case.books["audit"].append({**sent, "at_ns": at_ns})


def _entry_while_latched(case: Case) -> None:
    _send_entry(case, case.event_ns("system.emergency.triggered") + NS, BTC)


def _send_entry(case: Case, at_ns: int, symbol: str) -> None:
    sent = next(row for row in case.rows("request") if row["request"] == _ORDER)
    parameters = f"symbol={symbol}&side=BUY&type=MARKET&newClientOrderId=desk-g1-99"
    case.books["audit"].append({**sent, "at_ns": at_ns, "parameters": parameters})


def _realised_differs(case: Case) -> None:
    for row in case.books["income"]:
        if row["kind"] == "REALIZED_PNL":
            row["amount"] = str(Decimal(row["amount"]) + Decimal("0.000000000001"))
            break


def _funding_not_booked(case: Case) -> None:
    paid = {"kind": "FUNDING_FEE", "amount": "-0.1", "symbol": BTC}
    case.books["income"].append(paid)
    case.books["balance"] = str(Decimal(case.books["balance"]) - Decimal("0.1"))


def _position_differs(case: Case) -> None:
    case.books["positions"].append({"symbol": BTC, "leg": "BOTH", "quantity": "0.001"})


def _still_unresolved(case: Case) -> None:
    case.sql(
        "UPDATE orders SET record = json_set(record, '$.state', 'unresolved')"
        " WHERE client_order_id = ?",
        case.ours("entry"),
    )


def _ended_but_open(case: Case) -> None:
    identifier = case.ours("protective_stop")
    for row in case.books["conditionals"]:
        if row["client_id"] == identifier:
            row["status"] = "NEW"


def _unknown_and_open(case: Case) -> None:
    order = {**case.books["orders"][0], "client_id": "web-2", "status": "NEW", "filled": "0"}
    case.books["orders"].append(order)


def _abandoned_and_filled(case: Case) -> None:
    case.sql(
        "UPDATE orders SET record = json_set(record, '$.state', 'abandoned')"
        " WHERE client_order_id = ?",
        case.ours("entry"),
    )


def _no_stop(case: Case) -> None:
    for row in case.rows("conditional"):
        if row["symbol"] == BTC:
            row["quantity"] = "0.001"


def _stop_on_the_wrong_side(case: Case) -> None:
    for row in case.rows("conditional"):
        if row["symbol"] == BTC:
            row["side"] = "BUY"


def _ban_earned(case: Case) -> None:
    case.books["bans_earned_s"].append(120)


def _broken(case: Case) -> None:
    case.sql("INSERT INTO alarms VALUES ('a1', 'INVARIANT_BROKEN', 1, NULL, '\"task died\"')")


_PLANTED: dict[str, tuple[Callable[[Case], None], str]] = {
    "an id that was executed twice": (_same_id_twice, "duplicate: desk-g"),
    "two orders for one signal": (_two_orders_for_a_signal, "duplicate: signal"),
    "an order without an intent": (_order_without_intent, "unrecorded: "),
    "a lost fill": (_fill_lost, "is lost: BUY 10 SOLUSDT"),
    "an invented fill": (_fill_invented, "never happened"),
    "another fee": (_fee_differs, "differs: "),
    "an entry while its symbol is unresolved": (_entry_while_unresolved, "unresolved: desk-g1-99"),
    "an entry resent while it is unknown": (_resent_while_unresolved, "unresolved: desk-g"),
    "an entry under a latch": (_entry_while_latched, "latched: entry desk-g1-99"),
    "realised profit off by the last decimal": (_realised_differs, "money: realised"),
    "funding that is not booked": (_funding_not_booked, "money: funding"),
    "another position": (_position_differs, "position: BTCUSDT"),
    "an order still unknown": (_still_unresolved, "is unresolved"),
    "an ended order that is open": (_ended_but_open, "and open at the venue"),
    "an open order that we do not know": (_unknown_and_open, "unknown to us"),
    "an abandoned order that filled": (_abandoned_and_filled, "is abandoned with us"),
    "a position without its whole stop": (_no_stop, "bare: BTCUSDT"),
    "a stop that would not close": (_stop_on_the_wrong_side, "bare: BTCUSDT"),
    "a ban of our own making": (_ban_earned, "ban: "),
    "something broken": (_broken, "broken: INVARIANT_BROKEN"),
}


@pytest.mark.parametrize("name", _PLANTED)
def test_each_broken_promise_is_found(case: Case, name: str) -> None:
    plant, words = _PLANTED[name]
    plant(case)
    found = problems_of(case.run)
    assert any(words in problem for problem in found), found


def test_a_position_may_be_bare_while_the_venue_could_not_be_reached_and_not_longer(
    case: Case,
) -> None:
    _no_stop(case)
    bare = next(each for each in problems_of(case.run) if each.startswith("bare: BTCUSDT"))
    opened_ns = next(row["at_ns"] for row in case.rows("order") if row["symbol"] == BTC)
    away = Window(from_ns=opened_ns, to_ns=opened_ns + 3600 * NS, why="no line")
    excused = replace(case.run, excused=(*case.run.excused, away))
    assert bare not in problems_of(excused)
    short = Window(from_ns=opened_ns, to_ns=opened_ns + NS, why="no line")
    excused = replace(case.run, excused=(*case.run.excused, short))
    assert any(each.startswith("bare: BTCUSDT") for each in problems_of(excused))


def test_from_a_shell_it_says_so_by_its_status(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    books = tmp_path / "books.json"
    books.write_text(json.dumps(case.books))
    assert main([str(books)]) == 2
    assert main([str(books), str(case.run.state_db)]) == 0
    _ban_earned(case)
    books.write_text(json.dumps(case.books))
    assert main([str(books), str(case.run.state_db)]) == 1
    assert "ban: " in capsys.readouterr().out
