"""What Bybit says that our API key may do (`query-api`). Its answer names the key itself: it is
decoded here and never kept.
"""

from __future__ import annotations

import msgspec

from engine.model.key_rights import KeyRights
from engine.venues.bybit import requests
from engine.venues.bybit.decoding import decode_result
from engine.venues.bybit.rest import BybitRest

_TRADES = frozenset({"ContractTrade", "Derivatives"})


class _Key(msgspec.Struct, frozen=True):
    permissions: dict[str, list[str]]
    read_only: int = msgspec.field(name="readOnly")


def decode_key_rights(body: bytes) -> KeyRights:
    """Undecodable when it cannot be read. A right to withdraw is taken for one under whatever
    heading it stands.
    """
    key = decode_result(body, _Key)
    named = {name.lower() for names in key.permissions.values() for name in names}
    return KeyRights(
        can_trade=not key.read_only and any(key.permissions.get(name) for name in _TRADES),
        can_withdraw=not key.read_only and any("withdraw" in name for name in named),
    )


async def read_key_rights(rest: BybitRest) -> KeyRights:
    """Ask for them; raises what a read raises."""
    return await rest.call(requests.key_rights(), decode_key_rights)


__all__ = ["decode_key_rights", "read_key_rights"]
