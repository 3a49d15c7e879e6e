"""Snapshots: the state of the engine now, as the console and `seawall status` show it.

Frozen and cheap to make; the console pulls one at its own pace. Ages are seconds, times UTC
nanoseconds, drawdown and utilisation positive fractions, money `Decimal` in account currency.
What is not built is absent.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.emergency import Condition, EmergencySnapshot
from engine.model.ids import Symbol
from engine.model.reasons import Reason
from engine.model.values import ZERO
from engine.model.venue import WatchedAccount


class EngineState(StrEnum):
    """contract.md, Words for states."""

    OFF = "off"
    STARTING = "starting"
    STANDBY = "standby"
    READY = "ready"
    RUNNING = "running"
    HALTED = "halted"
    REDUCE_ONLY = "reduce_only"
    STOPPING = "stopping"
    LATCHED = "latched"


class LinkState(StrEnum):
    """State of a link to another party."""

    DISABLED = "disabled"
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
    REPLAYING = "replaying"


class LinkSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One link; `age_s` is how old the last sign of life is, `detail` e.g. `lag 0.4 s`.

    Beyond `slow_after_s` a link that is up counts as slow. `was_up`: it has been up since the
    start. `down_s` is for how long it has been down, where the link measures that itself, and
    `tries` how often it was called since.
    """

    name: str
    title: str
    state: LinkState
    cause: str = ""
    age_s: float | None = None
    detail: str = ""
    slow_after_s: float | None = None
    was_up: bool = True
    down_s: float | None = None
    tries: int = 0


class DeadManSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's own dead-man's switch: it cancels resting orders and closes nothing.

    `why_not`: there is none to be had. `armed` are the symbols it is wound for, confirmed
    `renewed_age_s` ago at the latest; `held_off` those in which an entry rests that it does not
    cover, for it could take a stop along; `failed` says what could not be wound.
    """

    why_not: str = ""
    armed: tuple[Symbol, ...] = ()
    held_off: tuple[Symbol, ...] = ()
    failed: str = ""
    renewed_age_s: float | None = None


class PositionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A position. `quantity` unsigned; `limit_used` is notional over the policy's maximum, a
    fraction.

    `protected` is the trigger price of the resting stop, or None while unprotected.
    """

    venue: str
    symbol: Symbol
    side: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal | None
    unrealised: Decimal | None
    limit_used: Decimal | None = None
    protected: Decimal | None = None
    mark_age_s: float | None = None
    held_s: float = 0.0
    # Seconds until it is closed for its age, where the profile has a maximum.
    force_close_in_s: float | None = None
    # A close of it is under way.
    is_closing: bool = False


class OrderSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An order. `price` is its limit or trigger price, None at market; `average_price` is of what
    has filled. `external`: opened elsewhere and adopted. `may_be_live`: it may rest or fill at the
    venue now. `stop_loss` and `take_profit` are fractions of the entry price.
    """

    client_order_id: str
    symbol: Symbol
    side: str
    kind: str
    purpose: str
    quantity: Decimal
    filled: Decimal
    price: Decimal | None
    state: str
    age_s: float
    average_price: Decimal | None = None
    reduce_only: bool = False
    external: bool = False
    is_final: bool = False
    may_be_live: bool = False
    leverage: Decimal = Decimal(1)
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    strategy: str = ""
    reason: str = ""
    created_ns: int = 0
    updated_ns: int = 0


class BusTypeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the bus did with one event type since the start.

    published = delivered + waiting + conflated + dropped. `delayed` ones waited for longer than one
    turn of the loop. Handler times are of all handlers of an event together, in microseconds,
    sampled in a flood.
    """

    type: str
    published: int
    dropped: int
    conflated: int
    delayed: int
    errors: int
    handler_us_mean: float
    handler_us_max: float


class BusHandlerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A handler that has raised, or overrun its budget, since the start.

    `last_fault` says what it did last, on which event and trace; `last_fault_age_s` is None for one
    that never did.
    """

    name: str
    errors: int
    slow: int
    ms_max: float
    last_fault: str = ""
    last_fault_age_s: float | None = None


class BusSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Saturation of the event queue; `state` is normal, warning or critical.

    `types` (sorted by name) and `handlers` (those that misbehaved, newest fault first) are renewed
    once a second; all else is of the moment.
    """

    size: int
    capacity: int
    utilisation: float
    state: str
    published: int
    dropped: int
    delayed: int
    conflated: int = 0
    high_water: int = 0
    oldest_age_s: float = 0.0
    errors: int = 0
    types: tuple[BusTypeSnapshot, ...] = ()
    handlers: tuple[BusHandlerSnapshot, ...] = ()


class JournalSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The journal and disk buffer: written = acknowledged + pending + dead-lettered + shed.

    `shed` events were given up at the cap before Redis had them; how many of each type is in
    `shed_types`. All counts are since the database was made.
    """

    written: int
    acknowledged: int
    pending: int
    dead_lettered: int
    shed: int = 0
    shed_types: dict[str, int] = {}
    # Of this process: durable events that the disk refuses and that wait in memory for it, and such
    # as could not be written at all.
    held: int = 0
    lost: int = 0
    bytes: int = 0
    bytes_max: int = 0
    oldest_pending_age_s: float | None = None
    last_replay_duration_s: float | None = None
    last_replay_rate_per_s: float | None = None


class CommandsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Commands from the bus since the start. `desk_key` says where the key is from, or why there
    is none; `waiting` why all but halts and trips wait now; `fault` why nothing can be read;
    `alarming` is the last one of the last minute that somebody should look at.
    """

    desk_key: str
    received: int = 0
    accepted: int = 0
    refused: int = 0
    # Came again and had had their effect.
    repeated: int = 0
    last_error: str = ""
    last_error_ns: int | None = None
    waiting: str = ""
    fault: str = ""
    alarming: str = ""


class RedisSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The Redis link. `mode` is what was chosen and `why` so, `cause` why it is in its state.

    `name_in_use`: another engine holds this node's name. `owner` is who we are in the lease of the
    name, `fence` its fencing number, 0 before the first. `foreign`: what was found in our stream
    within the last minute that this node did not write. `down_s` runs while Redis is away, `tries`
    counts the attempts since. `replay_total` is what the replay under way had to send at its start.
    """

    mode: str
    state: LinkState
    cause: str
    why: str = ""
    replayed: int = 0
    replay_remaining: int = 0
    last_answer_age_s: float | None = None
    name_in_use: bool = False
    fence: int = 0
    foreign: str = ""
    owner: str = ""
    stream: str = ""
    was_up: bool = False
    down_s: float | None = None
    tries: int = 0
    replay_total: int = 0
    commands: CommandsSnapshot | None = None


class OutageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One outage of Redis: from, to (None while it lasts), and its first cause."""

    from_ns: int
    to_ns: int | None
    cause: str


class RecoveryStepSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a recovery, in the order in which they were taken."""

    step: str
    ok: bool
    duration_ms: float


class RecoverySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The last recovery, or the one under way (`finished_ns` None, the figures not known yet)."""

    began_ns: int
    steps: tuple[RecoveryStepSnapshot, ...] = ()
    finished_ns: int | None = None
    downtime_s: float | None = None
    replayed: int = 0
    resumed_in_s: float | None = None


class LinkHistorySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of this run: all counted, the newest kept, newest first; and the last
    recovery."""

    outages: tuple[OutageSnapshot, ...] = ()
    outages_total: int = 0
    recovery: RecoverySnapshot | None = None


class DatabaseSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state database and its newest good backup; `backup_fault` is why the last one failed."""

    generation: int
    healthy: bool
    lag_s: float
    fault: str = ""
    backup_name: str = ""
    backup_ns: int | None = None
    backup_age_s: float | None = None
    backup_fault: str = ""


class RiskSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Risk measures now and their limits. `drawdown` is None while it is not known."""

    equity: Decimal
    balance: Decimal
    unrealised: Decimal
    peak: Decimal
    drawdown: Decimal | None
    drawdown_soft: Decimal
    drawdown_hard: Decimal
    daily_loss: Decimal
    max_daily_loss: Decimal
    loss_streak: int
    max_consecutive_losses: int
    gross_exposure: Decimal
    max_gross_exposure: Decimal
    min_balance: Decimal
    governor: str = "NORMAL"
    initial: Decimal = ZERO
    orders_last_minute: int = 0
    max_orders_per_minute: int = 0
    reject_ratio: float = 0.0
    order_round_trip_ms_p99: float | None = None


class PolicySideSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a conflict: what was wanted on which node, by whom, when and why."""

    node: str
    version: int
    author: str
    ts_ns: int
    reason: str


class PolicyConflictSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Changed on both sides of an outage. `fields` maps each field that differs to its value on
    each side, in the order of `sides`; `base` to the value that both were changed from, where the
    common ancestor is in this node's history.
    """

    sides: tuple[PolicySideSnapshot, ...]
    fields: dict[str, tuple[str, ...]]
    base: dict[str, str] = {}
    base_version: int | None = None


class PolicySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy is in force, since when confirmed, and from where: `state database`, `redis`,
    or `local snapshot` while Redis does not confirm it.

    `stale`: a shared policy that Redis has not confirmed for 30 s. `note` says in words what a
    person should know of its origin.
    """

    version: int
    profile: str
    sha256: str
    age_s: float
    source: str
    allow_new_trades: bool
    author: str = ""
    ts_ns: int = 0
    stale: bool = False
    note: str = ""
    conflict: PolicyConflictSnapshot | None = None


class AlarmSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm; `state` is new, acknowledged, returned or cleared. `first_out` marks a trip's first
    cause.
    """

    id: str
    code: str
    priority: int
    text: str
    action: str
    ts_ns: int
    state: str = "new"
    first_out: bool = False
    # What the alarm is about, where several of a code can be: a trip, a symbol, an order.
    key: str = ""


class SafeguardSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A safeguard with its latest proof and that proof's age."""

    state: str
    why: str = ""
    proof: str = ""
    proof_age_s: float | None = None


class SignalCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of signals by what became of them."""

    received: int = 0
    executed: int = 0
    dropped: int = 0
    expired: int = 0
    blocked: int = 0
    pending: int = 0


class LoopLag(msgspec.Struct, frozen=True, kw_only=True):
    """Lag of the event loop in milliseconds."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class EngineSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole engine at `ts_ns`. `gate` holds every reason that holds entries back now."""

    ts_ns: int
    monotonic_ns: int
    mode: str
    state: EngineState
    state_why: str
    node: str
    account: str
    venue: str
    feed: str
    currency: str
    policy: PolicySnapshot
    emergency: EmergencySnapshot
    risk: RiskSnapshot
    bus: BusSnapshot
    journal: JournalSnapshot
    redis: RedisSnapshot
    links: tuple[LinkSnapshot, ...]
    positions: tuple[PositionSnapshot, ...]
    orders: tuple[OrderSnapshot, ...]
    alarms: tuple[AlarmSnapshot, ...]
    gate: tuple[Reason, ...]
    signals: SignalCounts
    loop_lag: LoopLag
    ticks: int = 0
    fills: int = 0
    intents: int = 0
    # The exchange's environment, `testnet` or `live`; empty on paper.
    environment: str = ""
    # None where nothing real is traded.
    dead_man: DeadManSnapshot | None = None
    # The real account that a dry run looks at; None otherwise.
    watched_account: WatchedAccount | None = None
    market_age_s: float | None = None
    # While ready: what START needs; while latched: what RESET needs.
    start_conditions: tuple[Condition, ...] = ()
    reset_conditions: tuple[Condition, ...] = ()
    # Measures that would trip again at once, each to be re-based by name.
    would_trip_again: tuple[str, ...] = ()
    # Why an operator has switched reduce-only on; "" while none has.
    reduce_only_by_operator: str = ""
    link_history: LinkHistorySnapshot = LinkHistorySnapshot()
    database: DatabaseSnapshot | None = None
    # What the feed quotes.
    symbols: tuple[Symbol, ...] = ()
    # Orders that have ended, the newest first.
    recent_orders: tuple[OrderSnapshot, ...] = ()


__all__ = [
    "AlarmSnapshot",
    "BusHandlerSnapshot",
    "BusSnapshot",
    "BusTypeSnapshot",
    "CommandsSnapshot",
    "DatabaseSnapshot",
    "DeadManSnapshot",
    "EngineSnapshot",
    "EngineState",
    "JournalSnapshot",
    "LinkHistorySnapshot",
    "LinkSnapshot",
    "LinkState",
    "LoopLag",
    "OrderSnapshot",
    "OutageSnapshot",
    "PolicyConflictSnapshot",
    "PolicySideSnapshot",
    "PolicySnapshot",
    "PositionSnapshot",
    "RecoverySnapshot",
    "RecoveryStepSnapshot",
    "RedisSnapshot",
    "RiskSnapshot",
    "SafeguardSnapshot",
    "SignalCounts",
]
