"""Signs requests to Binance: hex HMAC-SHA256 of query and body, joined without a character between.

The signature comes last. Parameters keep the order they are given in; values are percent-encoded as
UTF-8, for symbols may hold any script. The key and its secret are `engine.model.api_key`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus, urlencode

from engine.model.api_key import ApiKey


def encoded(parameters: Mapping[str, str]) -> str:
    """Parameters as they stand in a query or a body."""
    return urlencode(parameters, quote_via=quote_plus)


def signed(parameters: Mapping[str, str], *, key: ApiKey) -> str:
    """Parameters with their signature at the end; they must hold `timestamp` already."""
    payload = encoded(parameters)
    return f"{payload}&signature={key.sign(payload)}"


__all__ = ["encoded", "signed"]
