"""Why a simulated venue says no, in no venue's words: a dialect gives each reason its code."""

from __future__ import annotations

from enum import StrEnum, auto


class Reason(StrEnum):
    """Every reason for which the core refuses."""

    UNKNOWN_SYMBOL = auto()
    UNKNOWN_ORDER = auto()
    UNKNOWN_ORDER_ON_CANCEL = auto()
    DUPLICATE_ID = auto()
    PRICE_OFF_TICK = auto()
    PRICE_TOO_LOW = auto()
    PRICE_TOO_HIGH = auto()
    PRICE_ABOVE_BAND = auto()
    PRICE_BELOW_BAND = auto()
    QUANTITY_OFF_STEP = auto()
    QUANTITY_TOO_LOW = auto()
    QUANTITY_TOO_HIGH = auto()
    NOTIONAL_TOO_LOW = auto()
    TOO_MANY_ORDERS = auto()
    TOO_MANY_CONDITIONALS = auto()
    MARGIN_INSUFFICIENT = auto()
    POSITION_TOO_LARGE = auto()
    NOTHING_TO_REDUCE = auto()
    WRONG_LEG = auto()
    FOK_KILLED = auto()
    WOULD_TAKE = auto()
    NO_LIQUIDITY = auto()
    WOULD_TRIGGER = auto()
    NOTHING_TO_AMEND = auto()
    NOT_AMENDABLE = auto()
    AMENDED_TOO_OFTEN = auto()
    LEVERAGE_INVALID = auto()
    LEVERAGE_WITH_POSITION = auto()
    MARGIN_TYPE_SAME = auto()
    MARGIN_TYPE_WITH_ORDERS = auto()
    MARGIN_TYPE_WITH_POSITION = auto()
    MODE_SAME = auto()
    MODE_WITH_ORDERS = auto()
    MODE_WITH_POSITION = auto()
    CLOSE_POSITION_EXISTS = auto()
    CALLBACK_INVALID = auto()


class Refusal(Exception):
    """The venue says no; nothing has changed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


__all__ = ["Reason", "Refusal"]
