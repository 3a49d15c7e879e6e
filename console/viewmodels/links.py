"""Links: one row per link with its word, its age or detail, and a tone only when it is not well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.viewmodels.appearance import ChipState, Tone
from console.viewmodels.formatting import age, duration
from console.viewmodels.freshness import Engine
from engine.model.snapshots import LinkSnapshot, LinkState

__all__ = ["LinkRow", "LinksViewModel"]

_WORDS: Final[Mapping[LinkState, tuple[str, Tone]]] = {
    LinkState.DISABLED: ("OFF BY POLICY", Tone.QUIET),
    LinkState.CONNECTING: ("RECONNECTING", Tone.HIGH),
    LinkState.UP: ("UP", Tone.NEUTRAL),
    LinkState.DOWN: ("DOWN", Tone.CRITICAL),
    LinkState.REPLAYING: ("REPLAYING", Tone.HIGH),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """One link. A calm row is plain text, an abnormal one a chip."""

    name: str
    title: str
    chip: ChipState
    detail: str
    cause: str


class LinksViewModel:
    """Makes the rows of the links panel."""

    def present(self, engine: Engine) -> tuple[LinkRow, ...]:
        """The rows, the engine's own answer first."""
        own = LinkRow(
            name="engine",
            title="Engine",
            chip=ChipState(text="SILENT", tone=Tone.CRITICAL)
            if engine.is_silent
            else ChipState(text="UP"),
            detail=age(engine.silent_s),
            cause="",
        )
        return (own, *(self._row(link) for link in engine.snapshot.links))

    @staticmethod
    def _row(link: LinkSnapshot) -> LinkRow:
        word, tone = _WORDS[link.state]
        if link.state is LinkState.DOWN and link.age_s is not None:
            word = f"DOWN {duration(link.age_s)}"
        return LinkRow(
            name=link.name,
            title=link.title,
            chip=ChipState(text=word, tone=tone),
            detail=link.detail or age(link.age_s),
            cause=link.cause,
        )
