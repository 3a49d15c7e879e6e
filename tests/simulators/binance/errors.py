"""Binance's refusals: each of the core's reasons with its code and text, and the answers to faults.

The texts are the venue's, because its 503 answers differ by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tests.simulators.core.refusals import Reason, Refusal
from tests.simulators.exchange import Answer

_REASONS: Mapping[Reason, tuple[int, str]] = {
    Reason.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
    Reason.UNKNOWN_ORDER: (-2013, "Order does not exist."),
    Reason.UNKNOWN_ORDER_ON_CANCEL: (-2011, "Unknown order sent."),
    Reason.DUPLICATE_ID: (-4116, "ClientOrderId is duplicated."),
    Reason.PRICE_OFF_TICK: (-4014, "Price not increased by tick size."),
    Reason.PRICE_TOO_LOW: (-4013, "Price less than min price."),
    Reason.PRICE_TOO_HIGH: (-4002, "Price greater than max price."),
    Reason.PRICE_ABOVE_BAND: (-4016, "Limit price can't be higher than {}."),
    Reason.PRICE_BELOW_BAND: (-4024, "Limit price can't be lower than {}."),
    Reason.QUANTITY_OFF_STEP: (-4023, "Quantity not increased by step size."),
    Reason.QUANTITY_TOO_LOW: (-4004, "Quantity less than min quantity."),
    Reason.QUANTITY_TOO_HIGH: (-4005, "Quantity greater than max quantity."),
    Reason.NOTIONAL_TOO_LOW: (
        -4164,
        "Order's notional must be no smaller than {} (unless you choose reduce only).",
    ),
    Reason.TOO_MANY_ORDERS: (-2025, "Reach max open order limit."),
    Reason.TOO_MANY_CONDITIONALS: (-4045, "Reach max stop order limit."),
    Reason.MARGIN_INSUFFICIENT: (-2019, "Margin is insufficient."),
    Reason.POSITION_TOO_LARGE: (
        -2027,
        "Exceeded the maximum allowable position at current leverage.",
    ),
    Reason.NOTHING_TO_REDUCE: (-2022, "ReduceOnly Order is rejected."),
    Reason.WRONG_LEG: (-4061, "Order's position side does not match user's setting."),
    Reason.FOK_KILLED: (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected. "
        "The order will not be recorded in the order history.",
    ),
    Reason.WOULD_TAKE: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. "
        "The order will not be recorded in the order history.",
    ),
    Reason.NO_LIQUIDITY: (-2020, "Unable to fill."),
    Reason.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Reason.NOTHING_TO_AMEND: (-5027, "No need to modify the order."),
    Reason.NOT_AMENDABLE: (-2013, "Order does not exist."),
    Reason.AMENDED_TOO_OFTEN: (-5026, "Exceed maximum modify order limit."),
    Reason.LEVERAGE_INVALID: (-4028, "Leverage is not valid."),
    Reason.LEVERAGE_WITH_POSITION: (
        -4161,
        "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
    ),
    Reason.MARGIN_TYPE_SAME: (-4046, "No need to change margin type."),
    Reason.MARGIN_TYPE_WITH_ORDERS: (
        -4047,
        "Margin type cannot be changed if there exists open orders.",
    ),
    Reason.MARGIN_TYPE_WITH_POSITION: (
        -4048,
        "Margin type cannot be changed if there exists position.",
    ),
    Reason.MODE_SAME: (-4059, "No need to change position side."),
    Reason.MODE_WITH_ORDERS: (
        -4067,
        "Position side cannot be changed if there exists open orders.",
    ),
    Reason.MODE_WITH_POSITION: (-4068, "Position side cannot be changed if there exists position."),
    Reason.CLOSE_POSITION_EXISTS: (
        -4130,
        "An open stop or take profit order with GTE and closePosition in the direction is "
        "existing.",
    ),
    Reason.CALLBACK_INVALID: (-2007, "Invalid callBack rate"),
}
assert set(_REASONS) == set(Reason), "every reason of the core has a code"


class ApiError(Exception):
    """An answer of the form {code, msg}."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}

    def document(self) -> dict[str, object]:
        return {"code": self.code, "msg": self.message}


def of_refusal(refusal: Refusal) -> ApiError:
    code, text = _REASONS[refusal.reason]
    return ApiError(code, text.format(refusal.detail))


def missing(name: str) -> ApiError:
    return ApiError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def unwanted(name: str) -> ApiError:
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


def _coded(status: int, code: int, message: str) -> Answer:
    body = msgspec.json.encode({"code": code, "msg": message})
    return Answer(status=status, body=body, headers={"Content-Type": "application/json"})


# What a 5xx or its like can look like. Status and text decide what the client may believe.
ERROR_ANSWERS: Mapping[str, Answer] = {
    "unknown_503": _coded(
        503, -1000, "Unknown error, please check your request or try again later."
    ),
    "unavailable_503": _coded(503, -1000, "Service Unavailable."),
    "internal_503": _coded(
        503, -1001, "Internal error; unable to process your request. Please try again."
    ),
    "throttled_503": _coded(
        503,
        -1008,
        "Request throttled by system-level protection. "
        "Reduce-only/close-position orders are exempt. Please try again.",
    ),
    "key_401": _coded(401, -2015, "Invalid API-key, IP, or permissions for action."),
    "timeout_408": _coded(
        408,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; "
        "execution status unknown.",
    ),
    "timeout_503": _coded(
        503,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; "
        "execution status unknown.",
    ),
    "unexpected_503": _coded(
        503,
        -1006,
        "An unexpected response was received from the message bus. Execution status unknown.",
    ),
    "unknown_500": _coded(500, -1000, "An unknown error occurred while processing the request."),
    "gateway_502": Answer(
        status=502,
        body=b"<html><head><title>502 Bad Gateway</title></head><body></body></html>",
        headers={"Content-Type": "text/html"},
    ),
    "gateway_504": Answer(
        status=504,
        body=b"<html><head><title>504 Gateway Time-out</title></head><body></body></html>",
        headers={"Content-Type": "text/html"},
    ),
    "forbidden_403": Answer(
        status=403,
        body=b"<html><head><title>403 Forbidden</title></head><body></body></html>",
        headers={"Content-Type": "text/html"},
    ),
    "rejected_400": _coded(400, -2010, "NEW_ORDER_REJECTED"),
    "open_orders_400": _coded(
        400, -4118, "ReduceOnly Order Failed. Please check your existing position and open orders"
    ),
    "percent_price_400": _coded(
        400,
        -4131,
        "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    ),
    "matching_window_400": _coded(
        400, -5028, "Timestamp for this request is outside of the ME recvWindow."
    ),
}

__all__ = ["ERROR_ANSWERS", "ApiError", "missing", "of_refusal", "unwanted"]
