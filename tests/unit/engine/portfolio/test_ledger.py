"""The ledger: identities to the last decimal, trades from flat to flat, baselines, restore."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.errors import InvariantBroken
from engine.model.ids import ClientOrderId, ExecutionId, Symbol, TraceId
from engine.model.orders import Fill, Intent, OrderKind, OrderPurpose
from engine.model.values import Side
from engine.portfolio import FillPlan, Ledger, LedgerTotals
from engine.runtime import IdSource

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
INITIAL = Decimal(100_000)
DAY_NS = 86_400_000_000_000
_numbers = count(1)


def make_fill(
    side: Side,
    quantity: str,
    price: str,
    *,
    symbol: Symbol = BTC,
    fee: str = "0",
    fee_currency: str = "USDT",
    ts_ns: int = 1,
) -> Fill:
    number = next(_numbers)
    return Fill(
        execution_id=ExecutionId(f"x{number}"),
        client_order_id=ClientOrderId(f"desk-g1-{number}"),
        venue_order_id=None,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        fee_currency=fee_currency,
        ts_ns=ts_ns,
    )


def make_ledger(*, now_ns: int = 0) -> Ledger:
    return Ledger(initial=INITIAL, ids=IdSource(seed=1), now_ns=now_ns, currency="USDT")


def book(ledger: Ledger, fill: Fill) -> FillPlan:
    plan = ledger.plan_fill(fill)
    ledger.apply(plan)
    return plan


class TestOneTrade:
    def test_a_round_trip_realises_the_cash_that_came_in_less_what_went_out(self) -> None:
        ledger = make_ledger()
        opened = book(ledger, make_fill(Side.BUY, "0.5", "60000", fee="15"))
        assert opened.opened
        assert opened.trade is not None
        assert opened.trade.entry_price == 60000
        closed = book(ledger, make_fill(Side.SELL, "0.5", "61000", fee="15.25", ts_ns=9))
        assert closed.realised == 500
        assert closed.trade is None
        assert closed.closed is not None
        assert closed.closed.trade_id == opened.trade.trade_id
        assert closed.closed.realised == 500
        assert closed.closed.fees == Decimal("30.25")
        assert closed.closed.exit_price == 61000
        assert closed.closed.closed_ns == 9
        assert ledger.account().balance == INITIAL + 500 - Decimal("30.25")
        assert ledger.positions() == ()
        assert ledger.position(BTC) is None

    def test_entry_price_is_weighted_by_volume(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.SELL, "1", "100"))
        plan = book(ledger, make_fill(Side.SELL, "3", "104"))
        assert plan.position.quantity == -4
        assert ledger.position(BTC) == plan.position
        assert plan.position.entry_price == 103
        assert not plan.opened

    def test_a_partial_close_keeps_the_trade_open_and_the_exit_price_weighted(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "3", "100"))
        first = book(ledger, make_fill(Side.SELL, "1", "110"))
        assert first.closed is None
        assert first.trade is not None
        assert first.trade.exit_price == 110
        last = book(ledger, make_fill(Side.SELL, "2", "113"))
        assert last.closed is not None
        assert last.closed.exit_price == 112
        assert last.closed.quantity == 3
        assert last.closed.realised == 36

    def test_a_fill_that_flips_closes_one_trade_and_opens_the_next(self) -> None:
        ledger = make_ledger()
        first = book(ledger, make_fill(Side.BUY, "1", "100"))
        plan = book(ledger, make_fill(Side.SELL, "4", "110", fee="4"))
        assert first.trade is not None
        assert plan.closed is not None
        assert plan.trade is not None
        assert plan.closed.trade_id == first.trade.trade_id != plan.trade.trade_id
        assert plan.closed.realised == 10
        assert plan.closed.fees == 1
        assert plan.trade.quantity == 3
        assert plan.trade.side == Side.SELL
        assert plan.trade.fees == 3
        assert ledger.quantity(BTC) == -3
        assert plan.opened

    def test_the_trade_remembers_the_strategy_and_trace_of_its_intent(self) -> None:
        fill = make_fill(Side.BUY, "1", "100")
        intent = Intent(
            client_order_id=fill.client_order_id,
            symbol=BTC,
            side=Side.BUY,
            kind=OrderKind.MARKET,
            purpose=OrderPurpose.ENTRY,
            quantity=fill.quantity,
            strategy="breakout",
            trace=TraceId("s1"),
        )
        plan = make_ledger().plan_fill(fill, intent=intent)
        assert plan.trade is not None
        assert (plan.trade.strategy, plan.trade.trace) == ("breakout", "s1")


class TestPlanning:
    def test_planning_changes_nothing(self) -> None:
        ledger = make_ledger()
        before = ledger.account()
        ledger.plan_fill(make_fill(Side.BUY, "1", "100", fee="1"))
        assert ledger.account() == before
        assert ledger.positions() == ()

    def test_a_plan_that_was_overtaken_is_refused(self) -> None:
        ledger = make_ledger()
        late = ledger.plan_fill(make_fill(Side.BUY, "1", "100"))
        book(ledger, make_fill(Side.BUY, "1", "100"))
        with pytest.raises(InvariantBroken, match="changed since"):
            ledger.apply(late)

    def test_totals_that_are_not_the_committed_ones_are_noticed(self) -> None:
        ledger = make_ledger()
        plan = ledger.plan_fill(make_fill(Side.BUY, "1", "100", fee="1"))
        ledger.add_funding(BTC, Decimal(3))
        with pytest.raises(InvariantBroken):
            ledger.apply(plan)


class TestValuing:
    def test_marks_move_equity_peak_and_drawdown(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "1", "10000"))
        assert ledger.mark(BTC, Decimal(20_000), 5)
        assert ledger.equity == 110_000
        assert ledger.peak == 110_000
        assert ledger.drawdown == 0
        ledger.mark(BTC, Decimal(9_000), 6)
        account = ledger.account()
        assert account.equity == 99_000
        assert account.drawdown == Decimal("0.1")
        assert account.gross_exposure == 9_000
        mark = ledger.mark_of(BTC)
        assert mark is not None
        assert mark.price == 9_000
        assert mark.ts_ns == 6

    def test_a_mark_of_a_symbol_without_a_position_changes_nothing(self) -> None:
        ledger = make_ledger()
        assert not ledger.mark(BTC, Decimal(1), 1)
        assert ledger.equity == INITIAL

    def test_the_same_price_again_is_no_change_but_is_newer(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "1", "100"))
        assert not ledger.mark(BTC, Decimal(100), 77)
        mark = ledger.mark_of(BTC)
        assert mark is not None
        assert mark.ts_ns == 77

    def test_a_new_utc_day_starts_at_the_equity_before_its_first_mark(self) -> None:
        ledger = make_ledger(now_ns=DAY_NS)
        book(ledger, make_fill(Side.BUY, "1", "1000", ts_ns=DAY_NS))
        ledger.mark(BTC, Decimal(2000), DAY_NS + 1)
        ledger.mark(BTC, Decimal(1000), 2 * DAY_NS)
        account = ledger.account()
        assert account.day_start_equity == INITIAL + 1000
        assert account.daily_loss == Decimal(1000) / Decimal(101_000)
        assert ledger.totals.day == 2
        assert ledger.roll_day(3 * DAY_NS)
        assert ledger.account().daily_loss == 0

    def test_funding_goes_to_balance_and_to_the_open_trade(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "1", "1000"))
        ledger.add_funding(BTC, Decimal("-1.5"))
        plan = book(ledger, make_fill(Side.SELL, "1", "1000"))
        assert plan.closed is not None
        assert plan.closed.funding == Decimal("-1.5")
        assert ledger.account().balance == INITIAL - Decimal("1.5")

    def test_a_deposit_moves_the_baselines_and_not_the_drawdown(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "1", "20000"))
        ledger.mark(BTC, Decimal(10_000), 1)
        assert ledger.drawdown == Decimal("0.1")
        ledger.add_transfer(Decimal(90_000))
        account = ledger.account()
        assert account.equity == 180_000
        assert account.peak == 200_000
        assert account.drawdown == Decimal("0.1")
        assert account.capital == 200_000
        assert account.balance == 190_000


class TestStreakAndRebase:
    def lose(self, ledger: Ledger) -> None:
        book(ledger, make_fill(Side.BUY, "1", "1000"))
        book(ledger, make_fill(Side.SELL, "1", "990"))

    def test_the_streak_counts_closed_trades_net_of_fees(self) -> None:
        ledger = make_ledger()
        self.lose(ledger)
        book(ledger, make_fill(Side.BUY, "1", "1000", fee="1"))
        book(ledger, make_fill(Side.SELL, "1", "1001", fee="1"))
        assert ledger.account().loss_streak == 2
        book(ledger, make_fill(Side.BUY, "1", "1000"))
        book(ledger, make_fill(Side.SELL, "1", "1001"))
        assert ledger.account().loss_streak == 0

    def test_each_measure_is_rebased_by_its_name(self) -> None:
        ledger = make_ledger()
        self.lose(ledger)
        assert ledger.rebase("streak") == ("1", "0")
        assert ledger.rebase("peak") == ("100000", "99990")
        assert ledger.rebase("day") == ("100000", "99990")
        assert ledger.rebase("capital") == ("100000", "99990")
        account = ledger.account()
        assert account.drawdown == 0
        assert account.daily_loss == 0
        assert account.loss_streak == 0
        assert account.capital == 99_990
        assert account.initial == INITIAL
        with pytest.raises(InvariantBroken):
            ledger.rebase("luck")


class TestRestore:
    def test_a_restart_forgets_neither_books_nor_peak(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "3", "1000.1", fee="0.7"))
        book(ledger, make_fill(Side.BUY, "4", "1000.2", fee="0.7"))
        book(ledger, make_fill(Side.SELL, "2", "1010"))
        ledger.mark(BTC, Decimal(2000), 5)
        ledger.mark(BTC, Decimal(900), 6)
        again = make_ledger()
        again.restore(
            totals=ledger.totals,
            positions=ledger.positions(),
            open_trades=ledger.open_trades(),
            marks={BTC: Decimal(900)},
            now_ns=7,
        )
        assert again.account() == ledger.account()
        assert again.books() == ledger.books()
        closing = make_fill(Side.SELL, "5", "950")
        assert book(again, closing).realised == book(ledger, closing).realised

    def test_what_is_booked_last_counts_as_the_newest_whenever_it_happened(self) -> None:
        """The disk keeps the newest row: an execution may be booked after a later one."""
        ledger = make_ledger()
        newest = book(ledger, make_fill(Side.BUY, "3", "1000", ts_ns=2_000))
        assert newest.position.updated_ns == 2_000
        older = book(ledger, make_fill(Side.SELL, "3", "1000", ts_ns=1_000))
        assert older.position.quantity == 0
        assert older.position.updated_ns == 2_000
        again = make_ledger()
        again.restore(
            totals=ledger.totals,
            positions=(),
            open_trades=(),
            marks={},
            now_ns=0,
            stamp_ns=older.position.updated_ns,
        )
        opened = book(again, make_fill(Side.BUY, "1", "1000", ts_ns=1_500))
        assert opened.position.updated_ns == 2_000

    def test_a_position_without_its_trade_is_refused(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "3", "1000"))
        with pytest.raises(InvariantBroken, match="no open trade"):
            make_ledger().restore(
                totals=ledger.totals,
                positions=ledger.positions(),
                open_trades=(),
                marks={},
                now_ns=0,
            )

    def test_a_trade_without_its_position_is_refused(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "3", "1000"))
        with pytest.raises(InvariantBroken, match="without a position"):
            make_ledger().restore(
                totals=ledger.totals,
                positions=(),
                open_trades=ledger.open_trades(),
                marks={},
                now_ns=0,
            )


def test_books_are_the_contracts_keys_and_plain_text() -> None:
    ledger = make_ledger()
    book(ledger, make_fill(Side.SELL, "0.50", "60000.0", fee="15.00"))
    ledger.mark(BTC, Decimal("59000.00"), 2)
    assert ledger.books() == {
        "initial": "100000",
        "balance": "99985",
        "realised": "0",
        "fees": "15",
        "funding": "0",
        "unrealised": "500",
        "equity": "100485",
        "positions": [
            {
                "symbol": "BTCUSDT",
                "side": "SHORT",
                "quantity": "0.5",
                "entry_price": "60000",
                "mark_price": "59000",
                "unrealised": "500",
            }
        ],
    }


_fills = st.lists(
    st.tuples(
        st.sampled_from([BTC, ETH]),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 5000),
        st.integers(1, 10_000_000),
        st.integers(-1_000, 1_000_000),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(entries=_fills, restart_at=st.integers(0, 40))
def test_books_equal_the_cash_flows_to_the_last_decimal(
    entries: list[tuple[Symbol, Side, int, int, int]], restart_at: int
) -> None:
    """An independent recomputation: equity is initial + cash flows + what is held at its mark.

    Cash flows need no average, so nothing is shared with what is tested. A restart in the middle
    must not lose a digit either.
    """
    ledger = make_ledger()
    cash, held, marks, fees = INITIAL, dict.fromkeys((BTC, ETH), Decimal(0)), {}, Decimal(0)
    with localcontext() as context:
        context.prec = 60
        for number, (symbol, side, thousandths, cents, fee) in enumerate(entries):
            fill = make_fill(
                side,
                str(Decimal(thousandths) / 1000),
                str(Decimal(cents) / 100),
                symbol=symbol,
                fee=str(Decimal(fee).scaleb(-8)),
                ts_ns=number,
            )
            signed = fill.side.sign * fill.quantity
            cash -= signed * fill.price + fill.fee
            fees += fill.fee
            held[symbol] += signed
            marks[symbol] = fill.price
            with localcontext() as ours:
                ours.prec = 28
                book(ledger, fill)
                ledger.mark(symbol, fill.price, number)
                if number == restart_at:
                    positions, trades, totals = (
                        ledger.positions(),
                        ledger.open_trades(),
                        ledger.totals,
                    )
                    ledger = make_ledger()
                    ledger.restore(
                        totals=totals,
                        positions=positions,
                        open_trades=trades,
                        marks=marks,
                        now_ns=0,
                    )
                account = ledger.account()
            worth = sum((held[s] * marks[s] for s in marks), Decimal(0))
            assert account.equity == cash + worth
            assert account.fees == fees
            assert {s: q for s, q in held.items() if q} == {
                p.symbol: p.quantity for p in ledger.positions()
            }
            if not any(held.values()):
                assert account.balance == cash


class TestFeesOfAnotherAsset:
    def test_they_leave_its_wallet_and_not_ours_and_are_counted_apart(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "0.5", "60000", fee="0.025", fee_currency="BNB"))
        book(ledger, make_fill(Side.BUY, "0.1", "60000", fee="3"))
        closed = book(
            ledger, make_fill(Side.SELL, "0.6", "61000", fee="0.03", fee_currency="BNB", ts_ns=9)
        )
        assert closed.closed is not None
        assert closed.closed.fees == 3
        assert ledger.account().fees == 3
        assert ledger.account().balance == INITIAL + 600 - 3
        assert ledger.totals.fees_elsewhere == {"BNB": Decimal("0.055")}

    def test_they_survive_a_restart(self) -> None:
        ledger = make_ledger()
        book(ledger, make_fill(Side.BUY, "0.5", "60000", fee="0.025", fee_currency="BNB"))
        again = make_ledger()
        again.restore(
            totals=msgspec.json.decode(msgspec.json.encode(ledger.totals), type=LedgerTotals),
            positions=ledger.positions(),
            open_trades=ledger.open_trades(),
            marks={},
            now_ns=2,
        )
        book(again, make_fill(Side.SELL, "0.5", "60000", fee="1", fee_currency="BNB"))
        assert again.totals.fees_elsewhere == {"BNB": Decimal("1.025")}

    def test_a_wallet_that_was_seen_is_kept_by_fees_and_by_what_moves_it(self) -> None:
        ledger = make_ledger()
        ledger.move_wallet("BNB", Decimal(7))
        assert ledger.totals.wallets_elsewhere == {}, "nothing of it was known"
        ledger.know_wallet("BNB", Decimal(2))
        book(ledger, make_fill(Side.BUY, "0.5", "60000", fee="0.5", fee_currency="BNB"))
        ledger.move_wallet("BNB", Decimal("-0.25"))
        assert ledger.totals.wallets_elsewhere == {"BNB": Decimal("1.25")}
        with pytest.raises(InvariantBroken, match="own currency"):
            ledger.know_wallet("USDT", Decimal(1))
