"""Bybit's refusals: each of the core's reasons with its retCode and text, and answers to faults.

HTTP is 200 for business errors; the code is in the body.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.exchange import Answer

_REASONS: Mapping[Reason, tuple[int, str]] = {
    Reason.UNKNOWN_SYMBOL: (10001, "params error: symbol invalid"),
    Reason.UNKNOWN_ORDER: (110001, "order not exists or too late to replace"),
    Reason.UNKNOWN_ORDER_ON_CANCEL: (110001, "order not exists or too late to cancel"),
    Reason.DUPLICATE_ID: (110072, "OrderLinkedID is duplicate"),
    Reason.PRICE_OFF_TICK: (10001, "params error: price invalid"),
    Reason.PRICE_TOO_LOW: (110003, "Order price is out of permissible range"),
    Reason.PRICE_TOO_HIGH: (110003, "Order price is out of permissible range"),
    Reason.PRICE_ABOVE_BAND: (
        110003,
        "The order price is higher than the maximum buying price.",
    ),
    Reason.PRICE_BELOW_BAND: (
        110003,
        "The order price is lower than the minimum selling price.",
    ),
    Reason.QUANTITY_OFF_STEP: (10001, "params error: Qty invalid"),
    Reason.QUANTITY_TOO_LOW: (10001, "The number of contracts is below the minimum limit allowed"),
    Reason.QUANTITY_TOO_HIGH: (10001, "The number of contracts exceeds maximum limit allowed"),
    Reason.NOTIONAL_TOO_LOW: (110094, "Order does not meet minimum order value {}USDT"),
    Reason.TOO_MANY_ORDERS: (110020, "Not allowed to have more than 500 active orders"),
    Reason.TOO_MANY_CONDITIONALS: (110009, "The number of stop orders exceeds the limit"),
    Reason.MARGIN_INSUFFICIENT: (110007, "ab not enough for new order"),
    Reason.POSITION_TOO_LARGE: (110090, "Order placement failed as your position may exceed"),
    Reason.NOTHING_TO_REDUCE: (
        110017,
        "current position is zero, cannot fix reduce-only order qty",
    ),
    Reason.WRONG_LEG: (10001, "position idx not match position mode"),
    # These three end an order that was acknowledged; they are no answers.
    Reason.FOK_KILLED: (110079, "not an answer"),
    Reason.WOULD_TAKE: (110079, "not an answer"),
    Reason.NO_LIQUIDITY: (110079, "not an answer"),
    Reason.WOULD_TRIGGER: (110092, "expect Rising, but trigger_price is already reached"),
    Reason.NOTHING_TO_AMEND: (
        10001,
        "The order remains unchanged as the parameters entered match the existing ones.",
    ),
    Reason.NOT_AMENDABLE: (110001, "order not exists or too late to replace"),
    Reason.AMENDED_TOO_OFTEN: (10001, "params error: too many amendments"),
    Reason.LEVERAGE_INVALID: (110013, "cannot set leverage due to risk limit"),
    Reason.LEVERAGE_WITH_POSITION: (110013, "cannot set leverage due to risk limit"),
    Reason.MARGIN_TYPE_SAME: (110026, "Cross/isolated margin mode is not modified"),
    Reason.MARGIN_TYPE_WITH_ORDERS: (110028, "There are open orders"),
    Reason.MARGIN_TYPE_WITH_POSITION: (110024, "There are positions"),
    Reason.MODE_SAME: (110025, "Position mode is not modified"),
    Reason.MODE_WITH_ORDERS: (110028, "You have existing open orders, so position mode stays"),
    Reason.MODE_WITH_POSITION: (110024, "You have an existing position, so position mode stays"),
    Reason.CLOSE_POSITION_EXISTS: (10001, "params error: there is a full stop already"),
    Reason.CALLBACK_INVALID: (10001, "params error: trailing stop invalid"),
}
assert set(_REASONS) == set(Reason), "every reason of the core has a code"


class ApiError(Exception):
    """An answer whose retCode is not zero."""

    def __init__(self, code: int, message: str, *, status: int = 200) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status


def of_refusal(refusal: Refusal) -> ApiError:
    code, text = _REASONS[refusal.reason]
    return ApiError(code, text.format(refusal.detail))


def params_error(what: str) -> ApiError:
    return ApiError(10001, f"params error: {what}")


def envelope(code: int, message: str, result: object, extra: object, time_ms: int) -> bytes:
    return msgspec.json.encode(
        {
            "retCode": code,
            "retMsg": message,
            "result": result,
            "retExtInfo": extra,
            "time": time_ms,
        }
    )


def _coded(status: int, code: int, message: str) -> Answer:
    return Answer(
        status=status,
        body=envelope(code, message, {}, {}, 0),
        headers={"Content-Type": "application/json"},
    )


def _page(status: int, title: str) -> Answer:
    body = f"<html><head><title>{title}</title></head><body></body></html>".encode()
    return Answer(status=status, body=body, headers={"Content-Type": "text/html"})


ERROR_ANSWERS: Mapping[str, Answer] = {
    "timeout_10000": _coded(200, 10000, "Server Timeout"),
    "duplicate_10014": _coded(200, 10014, "Invalid duplicate request"),
    "server_10016": _coded(200, 10016, "Server error."),
    "restarting_10019": _coded(
        200, 10019, "ws trade service is restarting, do not accept new request."
    ),
    "overloaded_429": _coded(200, 429, "The trading service is experiencing a high server load."),
    "processing_110079": _coded(
        200, 110079, "The order is processing and can not be operated, please try again later"
    ),
    "unknown_500000": _coded(200, 500000, "Unknown error"),
    "rejected_10001": _coded(200, 10001, "params error: refused on request"),
    "stale_10002": _coded(200, 10002, "invalid request, please check your server timestamp"),
    "key_10003": _coded(200, 10003, "API key is invalid."),
    "rate_10006": _coded(200, 10006, "Too many visits!"),
    "gateway_502": _page(502, "502 Bad Gateway"),
    "gateway_504": _page(504, "504 Gateway Time-out"),
    "unavailable_503": _page(503, "503 Service Unavailable"),
}

__all__ = ["ERROR_ANSWERS", "ApiError", "envelope", "of_refusal", "params_error"]
