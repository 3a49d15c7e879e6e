"""What START LIVE asks: which account at which venue, under which limits."""

from dataclasses import dataclass

from console.viewmodels.formatting import money
from engine.model.snapshots import EngineSnapshot

__all__ = ["StartLiveQuestion", "start_live_question"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLiveQuestion:
    """The sheet's words; `account` is what has to be typed."""

    title: str
    text: str
    account: str


def start_live_question(snapshot: EngineSnapshot) -> StartLiveQuestion | None:
    """None where no real order can be sent: a hold is enough there."""
    if snapshot.mode != "live":
        return None
    venue = snapshot.venue.capitalize()
    where = f"{venue}, {snapshot.environment}" if snapshot.environment else venue
    equity = money(snapshot.risk.equity)
    held = len(snapshot.positions)
    positions = "no position" if not held else "1 position" if held == 1 else f"{held} positions"
    return StartLiveQuestion(
        title=f"START LIVE on {snapshot.account}",
        text=(
            f"Real orders will be sent to {where}: account {snapshot.account}, equity {equity} "
            f"{snapshot.currency}, {positions} open, profile {snapshot.policy.profile} of policy "
            f"v{snapshot.policy.version}. The stop closes everything on this account. "
            "Type the account's name, then hold."
        ),
        account=snapshot.account,
    )
