"""Signatures: the documentation's example."""

from __future__ import annotations

from engine.model.api_key import ApiKey
from engine.venues.binance.signing import encoded, signed

# The first example of the documentation's page on signed endpoints.
_KEY = ApiKey(
    key="dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83",
    secret="2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
)
_ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "quantity": "1",
    "price": "9000",
    "timeInForce": "GTC",
    "recvWindow": "5000",
    "timestamp": "1591702613943",
}


def test_the_signature_is_the_documented_one() -> None:
    query, _, signature = signed(_ORDER, key=_KEY).rpartition("&signature=")
    assert query == encoded(_ORDER)
    assert signature == "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def test_a_symbol_in_any_script_is_encoded_before_it_is_signed() -> None:
    assert signed({"symbol": "币安人生USDT"}, key=_KEY).startswith("symbol=%E5%B8%81%E5%AE%89%E4")
