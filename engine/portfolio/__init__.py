"""What we own and what it is worth: one ledger in `Decimal`, and its comparison with a venue's
books.

Rule: computed from what was committed; nothing here reads a disk, a clock or a venue.
"""

from engine.portfolio.ledger import Ledger
from engine.portfolio.reconciliation import Difference, DifferenceKind, net_of, reconcile
from engine.portfolio.records import AccountView, FillPlan, LedgerTotals, ReplacementPlan

__all__ = [
    "AccountView",
    "Difference",
    "DifferenceKind",
    "FillPlan",
    "Ledger",
    "LedgerTotals",
    "ReplacementPlan",
    "net_of",
    "reconcile",
]
