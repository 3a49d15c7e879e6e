"""Words and limits around the two charts: what the lines mean, and what a reader is told.

The limits are drawn in the text colour and take the alarm colour only once crossed.
"""

from dataclasses import dataclass

from console.viewmodels.appearance import Tone
from console.viewmodels.formatting import MINUS, age, grouped, percent
from console.viewmodels.freshness import Engine, Freshness
from engine.model.limits import BUS_CRITICAL_UTILISATION, BUS_WARNING_UTILISATION

__all__ = ["ChartState", "ChartsViewModel", "LimitLine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLine:
    """A limit: where (per cent), how urgent, dashed for soft, its words, and whether it is
    crossed now.
    """

    at: float
    tone: Tone
    is_soft: bool
    label: str
    is_crossed: bool = False
    is_label_below: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartState:
    """Everything around the curve."""

    note: str
    limits: tuple[LimitLine, ...]
    band: tuple[float, float]
    low: float
    high: float
    no_data: bool
    description: str


class ChartsViewModel:
    """Makes the frames of the drawdown and queue charts."""

    def drawdown(self, engine: Engine) -> ChartState:
        """Drawdown is drawn downwards from zero, to a little below the hard limit or the
        worst value.
        """
        risk = engine.snapshot.risk
        soft, hard = -float(risk.drawdown_soft) * 100, -float(risk.drawdown_hard) * 100
        value = None if risk.drawdown is None else -float(risk.drawdown) * 100
        soft_words = percent(risk.drawdown_soft, places=1)
        hard_words = percent(risk.drawdown_hard, places=1)
        low = min(hard * 1.14, (value or 0.0) * 1.08)
        limits = (
            LimitLine(
                at=soft,
                tone=Tone.HIGH,
                is_soft=True,
                label=f"soft limit {MINUS}{soft_words}: no new positions",
                is_crossed=value is not None and value <= soft,
            ),
            LimitLine(
                at=hard,
                tone=Tone.CRITICAL,
                is_soft=False,
                label=f"hard limit {MINUS}{hard_words}: emergency stop",
                is_crossed=value is not None and value <= hard,
            ),
        )
        now = "unknown" if risk.drawdown is None else percent(risk.drawdown)
        currency = engine.snapshot.currency
        equity = grouped(f"{risk.equity:.2f}")
        return ChartState(
            # A peak of zero is that of books which wait for the venue's wallet.
            note=f"equity {equity} {currency} · peak {grouped(f'{risk.peak:.0f}')}"
            if risk.peak
            else "equity not known yet",
            limits=limits,
            band=(0.0, soft / 2),
            low=low,
            high=-low * 0.04,
            no_data=risk.drawdown is None or engine.freshness is Freshness.NO_DATA,
            description=(
                f"Drawdown {now}, soft limit {percent(risk.drawdown_soft)}, "
                f"hard limit {percent(risk.drawdown_hard)}"
            ),
        )

    def queue(self, engine: Engine) -> ChartState:
        """Queue fill with its warning and critical lines."""
        bus = engine.snapshot.bus
        warning, critical = BUS_WARNING_UTILISATION * 100, BUS_CRITICAL_UTILISATION * 100
        fill = bus.utilisation * 100
        oldest = age(bus.oldest_age_s) if bus.oldest_age_s >= 0.05 else "< 0.1 s"
        return ChartState(
            note=f"oldest {oldest} · dropped {grouped(str(bus.dropped))}",
            limits=(
                LimitLine(
                    at=warning,
                    tone=Tone.HIGH,
                    is_soft=True,
                    label=f"{warning:.0f} % warning",
                    is_label_below=True,
                    is_crossed=fill >= warning,
                ),
                LimitLine(
                    at=critical,
                    tone=Tone.CRITICAL,
                    is_soft=False,
                    label=f"{critical:.0f} % entries held",
                    is_crossed=fill >= critical,
                ),
            ),
            band=(0.0, 50.0),
            low=0.0,
            high=122.0,
            no_data=engine.silent_s >= 10,
            description=f"Event queue {fill:.0f} per cent full, {bus.dropped} ticks dropped",
        )
