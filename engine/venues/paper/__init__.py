"""The paper venue: an exchange of our own with its own books in its own file.

Rule: it behaves as a venue would, so that what is proved against it means something: it commits
before it answers, refuses by its own rules, and never asks our books.
"""

from engine.venues.paper.faults import Fault, PaperFaults
from engine.venues.paper.rules import MAINTENANCE_RATIO
from engine.venues.paper.storage import PAPER_MIGRATIONS
from engine.venues.paper.venue import PaperVenue

__all__ = ["MAINTENANCE_RATIO", "PAPER_MIGRATIONS", "Fault", "PaperFaults", "PaperVenue"]
