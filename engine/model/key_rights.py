"""What an exchange says that an API key may do, as far as it matters here."""

from __future__ import annotations

import msgspec


class KeyRights(msgspec.Struct, frozen=True, kw_only=True):
    """Trading needs `can_trade`; `can_withdraw` is a right that nobody here needs."""

    can_trade: bool
    can_withdraw: bool


__all__ = ["KeyRights"]
