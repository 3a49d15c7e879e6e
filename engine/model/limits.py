"""Every queue and budget of the engine with its size and what happens when it is full.

One table, so that nobody has to search for a bound, and so that a test can prove that none is
missing. Sizes are items unless the name says otherwise; times end in their unit.
"""

from __future__ import annotations

from decimal import Decimal

# --- event bus: full → BusSaturated at once for emit(), after PUBLISH_WAIT_S for publish(). Market
# ticks are conflated per symbol and are the only thing ever dropped.
BUS_CAPACITY = 10_000
# From here on a tick replaces the one of its symbol that waits, instead of waiting behind it.
BUS_PRESSURE_UTILISATION = 0.50
BUS_WARNING_UTILISATION = 0.80
BUS_CRITICAL_UTILISATION = 0.95
BUS_CLEAR_UTILISATION = 0.70
BUS_WARNING_INTERVAL_S = 30.0
BUS_PUBLISH_WAIT_S = 1.0
BUS_DRAIN_BUDGET_MS = 2.0
BUS_HANDLER_BUDGET_MS = 50.0
BUS_SATURATED_GATE_S = 10.0

# --- database writer: unbounded by count on purpose, because a refused write would lose money
# state; bounded by the gate instead, which shuts when a group is older than WRITER_LAG_GATE_S.
WRITER_GROUP_ROWS_MAX = 500
WRITER_GROUP_WAIT_MS = 5.0
WRITER_LAG_GATE_S = 2.0

# --- journal: on disk, pruned when acknowledged; at the cap the lowest class goes first, never
# money.
JOURNAL_BYTES_MAX = 100_000_000
JOURNAL_MEMORY_EVENTS = 1_000
# Durable events that the disk refused, in memory: beyond it notes and telemetry are lost and
# counted, records never.
JOURNAL_HELD_MAX = 10_000
# What waits for Redis is given up from the cap down to this fraction of it, and only what has
# waited for so long. Fewer events than a handful are given up once a minute, because each time an
# event is written that says so.
JOURNAL_SHED_TO = 0.95
JOURNAL_SHED_AFTER_S = 10.0
JOURNAL_SHED_HANDFUL = 50
JOURNAL_SHED_HANDFUL_EVERY_S = 60.0
REPLAY_BATCH_MAX = 200

# --- signals: when full the lowest confidence loses its place to a better newcomer.
SIGNAL_QUEUE_MAX = 100

# --- Redis link.
REDIS_PING_INTERVAL_S = 0.5
REDIS_TIMEOUT_S = 1.5
REDIS_ANSWER_AGE_GATE_S = 2.5
REDIS_BACKOFF_FIRST_S = 0.05
REDIS_BACKOFF_MAX_S = 1.0
REDIS_STREAM_EVENTS_MAX = 1_000_000

# --- policy: an age beyond this is marked STALE; the profile's own maximum shuts the gate.
POLICY_STALE_AFTER_S = 30.0

# --- history of the link, as the console shows it: the oldest is dropped, all are counted.
REDIS_OUTAGES_SHOWN_MAX = 50
REDIS_STEPS_SHOWN_MAX = 20

# --- the desk's trips and clearings: settled ones are kept in Redis for 30 days.
EMERGENCY_READ_INTERVAL_S = 1.0
EMERGENCY_READ_AGE_GATE_S = 2.5
EMERGENCY_TABLES_INTERVAL_S = 3.0
EMERGENCY_KEPT_S = 30 * 86_400.0
# --- policy shared by the desk: how long a confirmation by Redis counts as fresh, after how long
# without one what is served is called stale, how often Redis is asked, and how long a person's
# change waits for the desk's word before it is made here alone.
POLICY_CACHE_S = 5.0
POLICY_ASK_EVERY_S = 2.0
POLICY_DESK_WAIT_S = 0.5
POLICY_SHARED_BYTES_MAX = 1_000_000
# --- commands from the bus: read in batches; the dead-letter stream drops the oldest; of more stops
# than are remembered the oldest are looked up on the disk, and of more than are being written down
# the rest waits for its turn, in force.
COMMAND_BATCH_MAX = 100
COMMAND_DEAD_LETTERS_MAX = 10_000
COMMAND_STOPS_REMEMBERED = 10_000
COMMAND_STOPS_WRITING_MAX = 200

# --- emergency stop.
STOP_CANCEL_WAIT_S = 2.0
STOP_VERIFY_GAP_S = 1.0
STOP_INCOMPLETE_AFTER_S = 30.0
STOP_RETRY_S = (0.2, 0.5, 1.0, 2.0)
# Its reads cost of the venue's limits what its cancels need: so many at once, then one each so many
# seconds. Orders, account-wide, are by far the dearest.
STOP_ORDER_READS_BURST = 6
STOP_ORDER_READ_EVERY_S = 5.0
STOP_POSITION_READS_BURST = 30
STOP_POSITION_READ_EVERY_S = 0.5
STOP_WATCH_FAST_S = 5.0
STOP_WATCH_FAST_FOR_S = 60.0
STOP_WATCH_SLOW_S = 60.0

# --- health of the loop.
LOOP_LAG_GATE_MS = 250.0

# --- books: a venue rounds what an execution realised, we do not; in account currency.
LEDGER_TOLERANCE = Decimal("0.01")
# Of the wallets of other assets, in each one's own unit.
WALLET_TOLERANCE = Decimal("0.000001")

# --- console: alarm strip and log views drop the oldest and count.
CONSOLE_ALARMS_MAX = 500

assert BUS_CLEAR_UTILISATION < BUS_WARNING_UTILISATION < BUS_CRITICAL_UTILISATION <= 1.0
assert REPLAY_BATCH_MAX <= 200

__all__ = [name for name in dir() if name.isupper()]
