"""Where Bybit is: the environment's own addresses, unless the configuration names others."""

from __future__ import annotations

import pytest

from engine.model.config import VenueSection
from engine.venues.bybit.addresses import bybit_addresses


@pytest.mark.parametrize("environment", ["testnet", "live"])
def test_an_environment_has_addresses_of_its_own(environment: str) -> None:
    found = bybit_addresses(VenueSection(name="bybit", environment=environment))
    assert ("testnet" in found.rest_url) == (environment == "testnet")
    assert ("testnet" in found.stream_url) == (environment == "testnet")
    assert found.rest_url.startswith("https://api")
    assert found.stream_url.startswith("wss://stream")


def test_a_named_address_takes_the_place_of_the_environments() -> None:
    section = VenueSection(name="bybit", environment="live", rest_url="http://127.0.0.1:1")
    found = bybit_addresses(section)
    assert found.rest_url == "http://127.0.0.1:1"
    assert found.stream_url == "wss://stream.bybit.com"
