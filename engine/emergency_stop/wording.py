"""What the operator reads during a stop: the stages, and a row for each symbol, in console.md's
words.

Pure: progress in, snapshot out. Prices and quantities are printed plainly, times of day are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from engine.emergency_stop.failures import Failure, FailureKind
from engine.emergency_stop.flattening import Flattening
from engine.emergency_stop.symbol_closer import SymbolCloser
from engine.model.emergency import PositionProgress, StageProgress, StageState
from engine.model.values import PositionSide, plain
from engine.model.venue import Leg

ACT_NOW_AFTER = 8
_NS = 1_000_000_000


def position_row(
    closer: SymbolCloser, *, is_paused: bool, now_ns: int, monotonic_ns: int
) -> PositionProgress:
    """One symbol: `left` is what the venue last said, None before its first answer."""
    at_trip = closer.quantity_at_trip or Decimal(0)
    return PositionProgress(
        symbol=closer.symbol,
        side=closer.leg.value.upper() if closer.leg else PositionSide.of(at_trip).value,
        quantity_at_trip=abs(at_trip),
        left=None if closer.left is None else abs(closer.left),
        state_words=state_words(closer, is_paused=is_paused, now_ns=now_ns),
        attempts=closer.attempts,
        last_answer=closer.last_answer or closer.orders.last_answer,
        protected=_protected(closer, monotonic_ns=monotonic_ns),
        is_flat=closer.flat_at_ns is not None,
        next_try_ns=closer.next_try_ns,
    )


def state_words(closer: SymbolCloser, *, is_paused: bool, now_ns: int) -> str:
    """The one word of a row; the first that fits."""
    if closer.flat_at_ns is not None:
        return f"FLAT {_time_of_day(closer.flat_at_ns)}"
    if closer.residual is not None:
        return f"RESIDUAL {plain(abs(closer.residual))} (< min {plain(closer.quantity_min)})"
    if is_paused and closer.left != 0:
        return "PAUSED"
    if closer.failure is not None and closer.left != 0:
        return _failure_words(closer, closer.failure, now_ns=now_ns)
    at_trip = abs(closer.quantity_at_trip or Decimal(0))
    if closer.attempts and closer.left and abs(closer.left) < at_trip:
        return f"PARTIAL {plain(at_trip - abs(closer.left))}/{plain(at_trip)}"
    if closer.step is None and not closer.orders.is_cancelled:
        left = closer.orders.ordinary_open
        return f"CANCELLING ({left} left)" if left else "CANCELLING"
    return "WAITING" if closer.step is None else "CLOSING"


def _failure_words(closer: SymbolCloser, failure: Failure, *, now_ns: int) -> str:
    if failure.kind is FailureKind.MARKET_HALTED:
        return "MARKET HALTED"
    if closer.failures >= ACT_NOW_AFTER:
        return "ACT NOW"
    if failure.kind is FailureKind.UNKNOWN:
        return "UNKNOWN (no answer)"
    if closer.next_try_ns is None:
        return "CLOSING"
    wait_s = max(0.0, (closer.next_try_ns - now_ns) / _NS)
    return f"RETRY {closer.failures} in {wait_s:.1f} s"


def _protected(closer: SymbolCloser, *, monotonic_ns: int) -> str:
    orders = closer.orders
    if closer.left == 0 or orders.protective is None:
        return ""
    for stop in orders.protective:
        is_ours = closer.leg in {None, Leg.of(stop.side, reduce_only=True)}
        if is_ours and stop.trigger_price is not None:
            return f"STOP {plain(stop.trigger_price)} resting"
    if orders.unprotected_since_ns is None:
        return ""
    return f"UNPROTECTED {(monotonic_ns - orders.unprotected_since_ns) / _NS:.0f} s"


def stages(flattening: Flattening | None, *, block_s: float) -> tuple[StageProgress, ...]:
    """BLOCK, CANCEL, CLOSE, VERIFY; nothing while there is no stop."""
    if flattening is None:
        return ()
    closers = flattening.closers
    to_cancel = sum(each.ordinary_open for each in flattening.orders.values())
    cancelled = flattening.orders_cancelled()
    to_close = [each for each in closers if each.quantity_at_trip]
    is_cancelled = flattening.cancelled_after_s is not None
    is_closed = flattening.closed_after_s is not None
    return (
        StageProgress(name="BLOCK", state=StageState.DONE, done=1, total=1, duration_s=block_s),
        StageProgress(
            name="CANCEL",
            state=StageState.DONE if is_cancelled else StageState.RUNNING,
            done=cancelled,
            total=cancelled + to_cancel,
            duration_s=flattening.cancelled_after_s,
        ),
        StageProgress(
            name="CLOSE",
            state=StageState.DONE if is_closed else _running(any(c.step for c in closers)),
            done=sum(1 for each in to_close if each.is_zero),
            total=len(to_close),
            duration_s=flattening.closed_after_s,
        ),
        StageProgress(
            name="VERIFY",
            state=_verify_state(flattening),
            done=flattening.reads_empty,
            total=2,
            duration_s=flattening.verified_after_s,
        ),
    )


def _running(is_running: bool) -> StageState:
    return StageState.RUNNING if is_running else StageState.WAITING


def _verify_state(flattening: Flattening) -> StageState:
    if flattening.proof is not None and flattening.proof.is_flat:
        return StageState.DONE
    if flattening.last_read_failure is not None:
        return StageState.FAILED
    return _running(flattening.closed_after_s is not None)


def _time_of_day(ts_ns: int) -> str:
    moment = datetime.fromtimestamp(ts_ns // _NS, tz=UTC)
    return f"{moment:%H:%M:%S}.{ts_ns % _NS // 100_000_000}"


__all__ = ["ACT_NOW_AFTER", "position_row", "stages", "state_words"]
