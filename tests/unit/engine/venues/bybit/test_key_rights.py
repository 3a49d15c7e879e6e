"""What Bybit says of our key: the documented answer, and the simulated venue's."""

from __future__ import annotations

import json

import pytest

from engine.venues.bybit.decoding import Undecodable
from engine.venues.bybit.key_rights import decode_key_rights

_PERMISSIONS = {
    "ContractTrade": ["Order", "Position"],
    "Wallet": ["AccountTransfer", "SubMemberTransferList"],
    "Exchange": ["ExchangeHistory"],
    "Derivatives": ["DerivativesTrade"],
}


def _answer(*, read_only: object = 0, permissions: object = _PERMISSIONS) -> bytes:
    result = {"id": "1", "apiKey": "KEY", "readOnly": read_only, "permissions": permissions}
    return json.dumps({"retCode": 0, "retMsg": "", "result": result}).encode()


def test_a_key_that_trades_and_cannot_withdraw() -> None:
    rights = decode_key_rights(_answer())
    assert (rights.can_trade, rights.can_withdraw) == (True, False)


@pytest.mark.parametrize(
    "permissions", [{"Wallet": ["AccountTransfer", "Withdraw"]}, {"Anything": ["withdrawal"]}]
)
def test_a_right_to_withdraw_is_seen_under_whatever_heading(permissions: object) -> None:
    assert decode_key_rights(_answer(permissions=permissions)).can_withdraw


def test_a_key_that_only_reads_can_do_neither() -> None:
    everything = {**_PERMISSIONS, "Wallet": ["Withdraw"]}
    rights = decode_key_rights(_answer(read_only=1, permissions=everything))
    assert (rights.can_trade, rights.can_withdraw) == (False, False)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"retCode": 10003, "result": {}}',
        _answer(permissions=None),
        _answer(permissions={"Wallet": "Withdraw"}),
        _answer(read_only="no"),
    ],
)
def test_what_cannot_be_read_is_no_right_at_all(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_key_rights(body)
