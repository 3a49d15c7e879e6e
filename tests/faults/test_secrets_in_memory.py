"""No object of ours shows a secret, and no log record does, at its most talkative.

The whole kernel on a simulated exchange in memory trades, is refused, times out, loses its stream,
is stopped and fails; then every object that the process holds and that is ours is asked for its
`repr`, and every record that was logged, with its traceback, is searched.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from engine.model.emergency import EmergencyState, Scope, TripSource
from engine.runtime import SimClock, run_simulated
from tests.desk import ETH, START_NS
from tests.secret_search import SecretSearch
from tests.simulators.exchange import Answer, Request, Settings
from tests.venue_desk import ExchangeDesk

KEY = "K3yOfTheRealAccount0123456789abcdefXYZ"
SECRET = "S3cretOfTheRealAccount9876543210fedcbaQ"
_HEADERS = ("x-bapi-sign",)
_LISTEN_KEY = re.compile(r'"listenKey":\s*"(\w+)"')


@dataclass(frozen=True, kw_only=True)
class _At:
    """What a venue calls what goes wrong there."""

    place: str
    positions: str
    refusal: str
    code: str


_VENUES = {
    "binance": _At(
        place="POST /fapi/v1/order",
        positions="GET /fapi/v3/positionRisk",
        refusal="key_401",
        code="-2015",
    ),
    "bybit": _At(
        place="POST /v5/order/create",
        positions="GET /v5/position/list",
        refusal="key_10003",
        code="10003",
    ),
}


class _SecretDesk(ExchangeDesk):
    """An engine whose key can be told from everything else; notes what went over the wire."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._settings = Settings(balance=self._settings.balance, key=KEY, secret=SECRET)
        self.exchange = type(self.exchange)(
            clock=self.clock, tasks=self._exchange_tasks, settings=self._settings
        )
        self.tokens: set[str] = set()
        self._request = self.exchange.request
        self.exchange.request = self._noted  # type: ignore[method-assign]

    async def _noted(self, request: Request) -> Answer:
        self.tokens.update(parse_qs(request.query).get("signature", []))
        self.tokens.update(request.headers[name] for name in _HEADERS if name in request.headers)
        answer = await self._request(request)
        self.tokens.update(_LISTEN_KEY.findall(answer.body.decode()))
        return answer


async def _live_through_everything(desk: _SecretDesk, at: _At) -> None:
    """Trade, be refused, wait in vain, lose the stream, fail, be stopped."""
    await desk.enter()
    desk.inject(kind="error", on=at.place, answer=at.refusal)
    desk.signal(symbol=ETH)
    await desk.sleep(6.0)
    desk.inject(kind="timeout_after", on=at.place, seconds=20)
    desk.signal(symbol=ETH)
    await desk.sleep(15.0)
    desk.inject(kind="cut_streams")
    desk.inject(kind="malformed_answer", on=at.positions)
    await desk.sleep(70.0)
    desk.kernel.parts.tasks.spawn("fails on purpose", _fail(desk.kernel.parts.venue))
    await desk.sleep(1.0)
    desk.kernel.client.trip(source=TripSource.BUTTON, reason="story", scope=Scope.NODE)
    stop = desk.kernel.parts.stop
    await desk.until(lambda: stop.snapshot().state is EmergencyState.FLAT, timeout_s=60)


async def _fail(venue: object) -> None:
    """An error that nobody caught, with everything that the venue's desk holds in its text."""
    raise RuntimeError(vars(venue))


def _ours() -> Iterator[object]:
    for found in gc.get_objects():
        module = type(found).__module__  # Of a few types in C this is no text.
        if isinstance(module, str) and module.startswith("engine."):
            yield found


def _shown(found: object) -> str:
    # A class without a `repr` of its own shows what object shows: its name and where it lies.
    if type(found).__repr__ is object.__repr__:
        return ""
    try:
        return f"{found!r}\n{found}"
    except Exception:
        return ""  # Half made, or left by another test: it shows nothing.


def _holders(search: SecretSearch) -> list[str]:
    shown = {id(found): (type(found).__qualname__, _shown(found)) for found in _ours()}
    assert len(shown) > 500, "there is nothing to look at"
    return sorted(
        f"{name}: {', '.join(names)}"
        for name, text in shown.values()
        if text and (names := search.found_in(text.encode()))
    )


@pytest.mark.allow_log(".*")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("venue", list(_VENUES))
def test_no_object_and_no_log_record_shows_a_key_a_signature_or_a_listen_key(
    venue: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    search = SecretSearch({"key": KEY, "secret": SECRET})

    async def play(clock: SimClock) -> list[str]:
        desk = _SecretDesk(clock=clock, folder=tmp_path, venue=venue)
        desk.open_exchange()
        try:
            await desk.open()
            await desk.go_live()
            await _live_through_everything(desk, _VENUES[venue])
            search.add_tokens("token", desk.tokens)
            return _holders(search)
        finally:
            await desk.close()
            await desk.close_exchange()

    assert run_simulated(play, start_ns=START_NS) == []
    assert search.tokens > 30, "hardly anything was signed"
    assert _VENUES[venue].code in caplog.text
    assert "task fails on purpose failed" in caplog.text
    assert "ExchangeParts(" in caplog.text
    assert search.found_in(caplog.text.encode()) == set()


def test_the_look_at_objects_finds_one_that_shows_its_secret() -> None:
    class Sinner:
        def __repr__(self) -> str:
            return f"Sinner({SECRET})"

    Sinner.__module__ = "engine.venues.sinner"
    search = SecretSearch({"secret": SECRET})
    sinner = Sinner()
    assert search.found_in(_shown(sinner).encode()) == {"secret"}
    assert sinner in list(_ours())
