"""The truth about trading, in SQLite: intents, orders, fills, positions, trades, policy, trips,
audit.

Its one rule: a change and the events that tell of it are one transaction.
"""

from engine.trade_state.history import TradeHistory
from engine.trade_state.importing import read_state
from engine.trade_state.loading import OpenState
from engine.trade_state.loss_note import LossNote
from engine.trade_state.taking_back import TAKE_BACK, TakeBackFrom, TakenChanges
from engine.trade_state.trade_store import BookedFill, TradeStore

__all__ = [
    "TAKE_BACK",
    "BookedFill",
    "LossNote",
    "OpenState",
    "TakeBackFrom",
    "TakenChanges",
    "TradeHistory",
    "TradeStore",
    "read_state",
]
