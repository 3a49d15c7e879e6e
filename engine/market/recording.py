"""Reading recorded markets: CSV files, and raw streams as a recorder wrote them.

CSV: a header naming `ts_ns,symbol,price,quantity,side`, a trade a line. Raw stream: lines
`<local receive time, ns> <frame as received>`, frames in Binance's combined-stream envelope; trades
and best quotes are used, depth, the bare depth snapshot and other kinds are skipped. Either may be
gzipped; what a file is, is read from its first bytes, not from its name.
A broken line is counted and named by its number, and never ends the replay; nor does a file that
was cut off. A missing file is a ConfigurationError. Reads block for a moment; lines come one at a
time.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from engine.model.errors import ConfigurationError
from engine.model.ids import Symbol
from engine.model.values import Side, price, quantity

_log = logging.getLogger(__name__)
_GZIP_MAGIC = b"\x1f\x8b"
_CSV_COLUMNS = ("ts_ns", "symbol", "price", "quantity", "side")
BROKEN_LINES_NAMED_MAX = 20


class Trade(msgspec.Struct, frozen=True):
    """A public trade of the recording."""

    ts_ns: int
    symbol: Symbol
    price: Decimal
    quantity: Decimal
    side: Side


class Quote(msgspec.Struct, frozen=True):
    """A change of the best bid or ask."""

    ts_ns: int
    symbol: Symbol
    bid: Decimal
    ask: Decimal


class _TradeFrame(msgspec.Struct, tag_field="e", tag="trade"):
    s: str
    p: Decimal
    q: Decimal
    m: bool
    # Only MARKET is a trade of the order book; the insurance fund's and ADL's are not.
    X: str = "MARKET"


class _QuoteFrame(msgspec.Struct, tag_field="e", tag="bookTicker"):
    # Left as text: most quotes repeat the last prices and are not worth parsing.
    s: str
    b: str
    a: str


class _DepthFrame(msgspec.Struct, tag_field="e", tag="depthUpdate"):
    pass


class _Envelope(msgspec.Struct):
    data: _TradeFrame | _QuoteFrame | _DepthFrame | None = None


class _AnyData(msgspec.Struct):
    e: str


class _AnyEnvelope(msgspec.Struct):
    data: _AnyData


_KINDS = frozenset({"trade", "bookTicker", "depthUpdate"})


class RecordingCounts(msgspec.Struct):
    """What a recording held; `broken_lines` names the first ones by number, counted from 1."""

    lines: int = 0
    trades: int = 0
    quotes: int = 0
    skipped: int = 0
    broken: int = 0
    broken_lines: list[int] = []


class Recording:
    """Iterates over the trades and changed quotes of one file; `counts` fills up on the way."""

    def __init__(self, *, path: Path) -> None:
        self._path = path
        self.counts = RecordingCounts()
        self._best: dict[str, tuple[str, str]] = {}
        self._decode = msgspec.json.Decoder(_Envelope).decode

    def __iter__(self) -> Iterator[Trade | Quote]:
        counts = self.counts
        parse: Callable[[bytes], Trade | Quote | None] | None = None
        for line in self._lines():
            counts.lines += 1
            try:
                if parse is None:
                    columns = _csv_header(line)
                    parse = self._raw if columns is None else _csv_parser(columns)
                    if columns is not None:
                        continue
                entry = parse(line)
            except (ValueError, TypeError, IndexError, msgspec.DecodeError) as error:
                self._broken(str(error))
                continue
            if entry is None:
                counts.skipped += 1
                continue
            if isinstance(entry, Trade):
                counts.trades += 1
            else:
                counts.quotes += 1
            yield entry

    def _lines(self) -> Iterator[bytes]:
        with _open(self._path) as file:
            lines = iter(file)
            while True:
                try:
                    line = next(lines)
                except StopIteration:
                    return
                except (EOFError, OSError, zlib.error) as error:
                    self.counts.lines += 1
                    self._broken(f"the file ends in the middle: {error}")
                    return
                if line.strip():
                    yield line
                else:
                    self.counts.lines += 1

    def _broken(self, why: str) -> None:
        counts = self.counts
        counts.broken += 1
        if counts.broken <= BROKEN_LINES_NAMED_MAX:
            counts.broken_lines.append(counts.lines)
            _log.warning("%s line %d cannot be read: %s", self._path.name, counts.lines, why)

    def _raw(self, line: bytes) -> Trade | Quote | None:
        ts_text, _, frame = line.partition(b" ")
        ts_ns = int(ts_text)
        try:
            data = self._decode(frame).data
        except msgspec.ValidationError:
            if _is_other_kind(frame):
                return None
            raise
        if type(data) is _QuoteFrame:
            best = (data.b, data.a)
            if self._best.get(data.s) == best:
                return None
            quote = Quote(ts_ns, Symbol(data.s), price(data.b), price(data.a))
            self._best[data.s] = best
            return quote
        if type(data) is _TradeFrame and data.X == "MARKET":
            if not (data.p > 0 and data.q > 0):
                raise ValueError(f"a trade of {data.q} at {data.p}")
            side = Side.SELL if data.m else Side.BUY
            return Trade(ts_ns, Symbol(data.s), data.p, data.q, side)
        return None


def _is_other_kind(frame: bytes) -> bool:
    """Whether a frame is sound and of a kind that is not used here."""
    try:
        return msgspec.json.decode(frame, type=_AnyEnvelope).data.e not in _KINDS
    except msgspec.DecodeError:
        return False


def _csv_header(line: bytes) -> list[str] | None:
    names = [name.strip() for name in line.decode("utf-8-sig", "replace").split(",")]
    return names if set(_CSV_COLUMNS) <= set(names) else None


def _csv_parser(columns: list[str]) -> Callable[[bytes], Trade]:
    where = [columns.index(name) for name in _CSV_COLUMNS]

    def parse(line: bytes) -> Trade:
        fields = line.decode().split(",")
        ts_ns, symbol, price_text, quantity_text, side = (fields[i].strip() for i in where)
        if not symbol:
            raise ValueError("symbol is empty")
        return Trade(
            int(ts_ns),
            Symbol(symbol),
            price(price_text),
            quantity(quantity_text),
            Side(side.upper()),
        )

    return parse


def _open(path: Path) -> BinaryIO:
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == _GZIP_MAGIC
        return cast(BinaryIO, gzip.open(path, "rb")) if is_gzip else path.open("rb")
    except OSError as error:
        raise ConfigurationError("market.source", f"cannot read {path}: {error}") from error


def first_ts_ns(path: Path) -> int:
    """Time of the first line that can be read, where a replay's clock begins; ConfigurationError if
    none.
    """
    recording = Recording(path=path)
    columns: list[str] | None = None
    for number, line in enumerate(recording._lines()):
        if number == 0 and (columns := _csv_header(line)) is not None:
            continue
        try:
            return _csv_parser(columns)(line).ts_ns if columns else int(line.partition(b" ")[0])
        except (ValueError, TypeError, IndexError):
            continue
    raise ConfigurationError(
        "market.source", f"{path} is neither a CSV with {','.join(_CSV_COLUMNS)} nor a raw stream"
    )


__all__ = [
    "BROKEN_LINES_NAMED_MAX",
    "Quote",
    "Recording",
    "RecordingCounts",
    "Trade",
    "first_ts_ns",
]
