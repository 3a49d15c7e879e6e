"""The question asked when the window is closed with something open (R25)."""

from dataclasses import dataclass

from console.viewmodels.freshness import Engine

__all__ = ["QuitQuestion", "QuitViewModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuitQuestion:
    """Title and text of the sheet; ``offers_stop`` is False when the stop is latched already."""

    title: str
    text: str
    offers_stop: bool


class QuitViewModel:
    """Decides whether closing needs a question."""

    def question(self, engine: Engine | None) -> QuitQuestion | None:
        """The question, or None when nothing is open and closing harms nobody."""
        if engine is None:
            return None
        snapshot = engine.snapshot
        positions, orders = len(snapshot.positions), len(snapshot.orders)
        if not positions and not orders:
            return None
        latched = snapshot.emergency.latched
        text = (
            f"{positions} positions and {orders} orders are open. The engine runs in this window: "
            "when it closes, nobody watches them until Seawall runs again."
        )
        if latched:
            text += " The stop is latched and goes on closing them when Seawall returns."
        return QuitQuestion(
            title="Close the window with positions open?", text=text, offers_stop=not latched
        )
