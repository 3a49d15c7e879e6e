"""The private stream on a simulated Bybit in memory: what it tells, and how it comes back."""

from __future__ import annotations

import pytest

from engine.model.orders import OrderState
from engine.model.venue import StreamUpdate
from tests.contract.bybit_in_memory import Adapter, approved, intent, limit, on_bybit_adapter, stop
from tests.contract.harness import BTC
from tests.simulators.bybit.streams import BybitSession


def _states(heard: list[StreamUpdate]) -> list[tuple[bool, str]]:
    return [(each.connected, each.cause) for each in heard if each.connected is not None]


def _session(adapter: Adapter) -> BybitSession:
    (session,) = adapter.desk.exchange.sessions
    assert isinstance(session, BybitSession)
    return session


def test_it_counts_as_connected_once_the_venue_has_agreed() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.start()
        adapter.stream.start()
        await adapter.desk.clock.sleep(0.01)
        # The subscription is answered a moment later; until then nothing is told of.
        assert _session(adapter).is_known
        assert not adapter.venue.is_connected()
        await adapter.desk.clock.sleep(0.05)
        assert adapter.venue.is_connected()
        assert _states(adapter.heard) == [(True, "")]
        assert list(_session(adapter).topics) == ["order", "execution", "position", "wallet"]

    on_bybit_adapter(story, is_started=False)


def test_a_fill_is_the_same_from_stream_and_from_the_list() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(limit(1)))
        adapter.desk.price(BTC, "59000")
        await adapter.desk.clock.sleep(0.1)
        told = [each.fill for each in adapter.heard if each.fill]
        assert tuple(told) == await adapter.venue.executions(since_ns=told[0].ts_ns)
        assert told[0].is_maker
        assert told[0].client_order_id == "node-g1-1"

    on_bybit_adapter(story)


def test_a_conditional_order_goes_on_under_its_id_when_it_is_triggered() -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.place(approved(intent(1)))
        await adapter.venue.reduce(stop(2))
        adapter.desk.price(BTC, "57000")
        await adapter.desk.clock.sleep(0.1)
        told = [each.order for each in adapter.heard if each.order is not None]
        ours = [order for order in told if order.client_order_id == "node-g1-2"]
        assert (ours[0].state, ours[0].trigger_price) == (OrderState.ACCEPTED, 58000)
        assert ours[-1].state is OrderState.FILLED
        assert OrderState.CANCELLED not in {order.state for order in ours}
        assert len({order.venue_order_id for order in ours}) == 1

    on_bybit_adapter(story)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"kind": "cut_streams"}, "ended"),
        ({"kind": "expire_listen_key"}, "ended"),
        ({"kind": "malformed_frame"}, "cannot be read"),
        ({"kind": "cut_on_push"}, "ended"),
    ],
    ids=lambda value: str(value["kind"]) if isinstance(value, dict) else "",
)
def test_whatever_ends_the_stream_is_said_and_it_comes_back_with_the_gap(
    fault: dict[str, object], cause: str
) -> None:
    async def story(adapter: Adapter) -> None:
        adapter.heard.clear()
        adapter.inject(**fault)
        await adapter.venue.place(approved(intent(1)))
        await adapter.desk.clock.sleep(60)
        (lost, why), (back, gap) = _states(adapter.heard)
        assert (lost, back) == (False, True)
        assert cause in why
        assert gap.startswith("back after ")
        assert float(gap.split()[2]) >= 1.0
        # What it missed is in the list, and it tells again.
        began_ns = adapter.desk.clock.now_ns() - 120 * 10**9
        assert len(await adapter.venue.executions(since_ns=began_ns)) == 1
        adapter.heard.clear()
        await adapter.venue.place(approved(intent(2)))
        await adapter.desk.clock.sleep(0.1)
        assert [each.fill.client_order_id for each in adapter.heard if each.fill] == ["node-g1-2"]

    on_bybit_adapter(story)


def test_a_quiet_account_keeps_its_stream_by_a_ping_every_20_s() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.heard.clear()
        pings: list[str] = []
        session = _session(adapter)
        receive = session.receive
        session.receive = lambda text: (pings.append(text), receive(text))[1]  # type: ignore[method-assign]
        await adapter.desk.clock.sleep(125)
        assert pings == ['{"op":"ping"}'] * 6
        assert adapter.venue.is_connected()
        assert adapter.heard == []

    on_bybit_adapter(story)


@pytest.mark.parametrize(("secret", "why"), [("a-wrong-secret", "auth was refused: Invalid sign")])
def test_who_is_not_let_in_says_so_and_keeps_trying(secret: str, why: str) -> None:
    async def story(adapter: Adapter) -> None:
        adapter.stream.start()
        await adapter.desk.clock.sleep(10)
        assert not adapter.venue.is_connected()
        assert why in adapter.stream.why_not
        assert secret not in adapter.stream.why_not
        assert adapter.heard == []
        assert not adapter.desk.exchange.sessions or len(adapter.desk.exchange.sessions) == 1

    on_bybit_adapter(story, is_started=False, secret=secret)


def test_a_subscription_that_is_refused_or_never_answered_is_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(adapter: Adapter) -> None:
        await adapter.venue.start()
        with monkeypatch.context() as patch:
            patch.setattr(BybitSession, "_wrong", lambda *_: "error:handler not found")
            adapter.stream.start()
            await adapter.desk.clock.sleep(5)
            assert not adapter.venue.is_connected()
            assert "subscribe was refused: error:handler" in adapter.stream.why_not
            patch.setattr(BybitSession, "_subscribe", lambda *_: None)
            await adapter.desk.clock.sleep(30)
            assert not adapter.venue.is_connected()
        await adapter.desk.clock.sleep(60)
        assert adapter.venue.is_connected()

    on_bybit_adapter(story, is_started=False)


def test_what_comes_before_the_agreement_is_told_after_it() -> None:
    """A topic is heard as soon as the venue has taken it; its word on that may come later."""

    async def story(adapter: Adapter) -> None:
        await adapter.venue.start()
        adapter.stream.start()
        await adapter.desk.clock.sleep(0.01)
        _session(adapter).topics.update({"order": None, "execution": None})
        await adapter.desk.order(BTC, "Buy", "0.1", orderLinkId="early")
        await adapter.desk.clock.sleep(0.005)
        assert adapter.heard == []
        await adapter.desk.clock.sleep(0.1)
        assert adapter.heard[0].connected
        assert [each.fill.client_order_id for each in adapter.heard if each.fill] == ["early"]

    on_bybit_adapter(story, is_started=False)


def test_an_account_without_protection_still_hears_its_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agreed = BybitSession._wrong

    def without(session: BybitSession, topics: list[str]) -> str:
        return "error:not enabled" if "dcp.future" in topics else agreed(session, topics)

    monkeypatch.setattr(BybitSession, "_wrong", without)

    async def story(adapter: Adapter) -> None:
        assert adapter.venue.is_connected()
        assert not adapter.stream.is_watched
        await adapter.venue.place(approved(intent(1)))
        await adapter.desk.clock.sleep(0.1)
        assert any(each.fill for each in adapter.heard)

    on_bybit_adapter(story, is_dead_mans_switch=True)


def test_a_push_that_comes_twice_has_one_execution_id() -> None:
    async def story(adapter: Adapter) -> None:
        adapter.inject(kind="duplicate", on="execution", times=None)
        await adapter.venue.place(approved(intent(1)))
        await adapter.desk.clock.sleep(0.1)
        fills = [each.fill for each in adapter.heard if each.fill]
        assert len(fills) == 2
        assert len({fill.execution_id for fill in fills}) == 1

    on_bybit_adapter(story)


def test_who_unsubscribes_hears_no_more() -> None:
    async def story(adapter: Adapter) -> None:
        heard: list[StreamUpdate] = []
        adapter.venue.subscribe(heard.append)()
        await adapter.venue.place(approved(intent(1)))
        await adapter.desk.clock.sleep(0.1)
        assert any(each.fill for each in adapter.heard)
        assert heard == []

    on_bybit_adapter(story)
