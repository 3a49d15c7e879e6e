"""Every alarm of the engine: what it means, how urgent it is, and what a person is to do.

The starting table of the console's design, as far as its causes are built. An alarm has a
consequence and an action, or it is a notice in the journal. Priorities 1 to 3, most urgent first
(about 5, 15 and 80 % of what sounds). Delays in seconds; set-points in the unit of the measure.
`docs/alarms.md` is made from this table
(`packaging/docs_pages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class AlarmSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    `on_delay_s`: the cause must last so long before it sounds. `off_delay_s`: it must be gone so
    long before it counts as gone. An analogue alarm begins at `set_point` and ends below
    `clear_point`; between the two nothing changes. After `escalates_after_s` the priority becomes
    1. `trips`: it is the cause of an emergency stop, and may be the first-out.
    """

    code: str
    title: str
    priority: int
    consequence: str
    action: str
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    set_point: float | None = None
    clear_point: float | None = None
    escalates_after_s: float | None = None
    trips: bool = False


def _row(  # One line of the table.
    code: str, priority: int, title: str, consequence: str, action: str
) -> AlarmSpec:
    return AlarmSpec(
        code=code, title=title, priority=priority, consequence=consequence, action=action
    )


def _with(spec: AlarmSpec, **changes: float | bool) -> AlarmSpec:
    return msgspec.structs.replace(spec, **changes)


_STOPPED = "The emergency stop cancels every order and closes every position."
_HELD = "Entries are held."
_TABLE: tuple[AlarmSpec, ...] = (
    _with(
        _row("DRAWDOWN_HARD", 1, "Drawdown hard limit", _STOPPED, "Watch the stop, then review."),
        trips=True,
    ),
    _with(
        _row("DAILY_LOSS", 1, "Daily loss limit", _STOPPED, "Watch the stop, then review."),
        trips=True,
    ),
    _with(
        _row("LOSS_STREAK", 1, "Losing trades in a row", _STOPPED, "Watch the stop, then review."),
        trips=True,
    ),
    _with(
        _row(
            "MIN_BALANCE",
            1,
            "Minimum balance",
            _STOPPED,
            "Watch the stop; lower the limit or add capital before a reset.",
        ),
        trips=True,
    ),
    _with(
        _row("GOVERNOR_HARD_STOP", 1, "Governor stop", _STOPPED, "Watch the stop, then review."),
        trips=True,
    ),
    _with(
        _row(
            "STOP_PRESSED",
            1,
            "Emergency stop pressed",
            _STOPPED,
            "Watch the stop; reset when the reason is settled.",
        ),
        trips=True,
    ),
    _with(
        _row(
            "STOP_BY_DESK",
            1,
            "Emergency stop for the desk, from another node",
            _STOPPED,
            "Watch the stop; ask at the node named; reset here when the reason is settled.",
        ),
        trips=True,
    ),
    _row(
        "STOP_NOT_FLAT",
        1,
        "Stop not flat after 30 s",
        "Positions are still open while the stop is latched.",
        "Close by hand at the venue; see the symbol's last answer.",
    ),
    _row(
        "CLOSING_PAUSED",
        1,
        "Closing is paused while latched",
        "Positions stay open and nobody manages them.",
        "Go on closing, or close by hand at the venue.",
    ),
    _with(
        _row(
            "VENUE_STREAM_DOWN",
            1,
            "Venue's private stream down",
            f"{_HELD} Fills are heard late.",
            "Watch the link; have the venue's own site ready.",
        ),
        on_delay_s=5.0,
        off_delay_s=10.0,
    ),
    _with(
        _row(
            "MARKET_STREAM_DOWN",
            2,
            "Public stream of the market down",
            f"{_HELD} Prices are old, or missing.",
            "Watch the link; it comes back by itself. If not, look at the venue's status page.",
        ),
        on_delay_s=5.0,
        off_delay_s=10.0,
    ),
    _row(
        "POSITION_MISMATCH",
        1,
        "Our books differ from the venue's",
        "What is shown may not be what is held.",
        "Hold entries and compare with the venue's own site.",
    ),
    _row(
        "DRAWDOWN_UNKNOWN",
        1,
        "Drawdown unknown: no price for an open position",
        f"{_HELD} No loss limit can act on this position.",
        "Look at the venue; close the position if there is no price soon.",
    ),
    _row(
        "LATCH_DISAGREES",
        1,
        "Policy, latch file and stop disagree",
        "It counts as tripped.",
        "Treat the desk as stopped; reset when all agree.",
    ),
    _row(
        "LATCH_FILE_DAMAGED",
        1,
        "Latch file damaged or missing",
        "It counts as latched: nothing may be entered.",
        "Check the disk; verify that the venue is flat, then reset.",
    ),
    _row(
        "POLICY_MISMATCH",
        1,
        "Policy stored is not the policy in force",
        f"{_HELD} The limits in force may not be the ones agreed.",
        "Apply the policy again, or stop.",
    ),
    _row(
        "DATABASE_RESTORED",
        1,
        "The state database was damaged, lost or older than it was",
        "What neither Redis nor the venue could give back is missing; trading waits.",
        "Compare policy, holds and positions with what you know, then START.",
    ),
    _row(
        "STREAM_NOT_OURS",
        1,
        "Somebody else wrote to this node's stream, or the journal went back in time",
        "Other consumers read events under this node's name that it did not write.",
        "Find out who else runs under this name; if the state was restored, compare it with the"
        " stream. This node goes on in a new epoch and writes nothing twice.",
    ),
    _row(
        "INVARIANT_BROKEN",
        1,
        "A programmer's error was caught",
        f"{_HELD} Exits go on.",
        "Stop if in doubt; send the crash report.",
    ),
    _with(
        _row(
            "ORDER_UNRESOLVED",
            1,
            "Order without an answer",
            "It may have filled; entries in its symbol are held.",
            "Look for the order at the venue.",
        ),
        on_delay_s=5.0,
    ),
    _row(
        "DRAWDOWN_SOFT",
        2,
        "Drawdown soft limit",
        f"{_HELD} It ends 0.5 % below the limit.",
        "Decide: wait, tighten, or stop.",
    ),
    _row(
        "GOVERNOR_RUNG",
        2,
        "Governor changed its rung",
        "New positions are smaller, or entries are held.",
        "Read why; wait for the cool-down, or re-base when flat.",
    ),
    _with(
        _row(
            "QUEUE_FILL",
            2,
            "Event queue filling",
            "Ticks are conflated; above 95 % entries are held.",
            "Find the slow consumer.",
        ),
        set_point=0.80,
        clear_point=0.70,
    ),
    _with(
        _row(
            "QUEUE_CRITICAL",
            1,
            "Event queue full",
            _HELD,
            "Find the slow consumer; check decisions made since.",
        ),
        set_point=0.95,
        clear_point=0.70,
    ),
    _with(
        _row(
            "EVENTS_DROPPED",
            2,
            "Ticks dropped",
            "Decisions were made on fewer prices.",
            "Find the slow consumer; check decisions made since.",
        ),
        off_delay_s=60.0,
    ),
    _row(
        "ORDER_REJECTS",
        2,
        "Orders rejected",
        "Entries do not reach the market.",
        "Read the top reason; hold entries.",
    ),
    _with(
        _row(
            "MARKET_DATA_STALE",
            2,
            "No fresh prices of a traded symbol",
            "Entries in the symbol are held.",
            "Check the feed.",
        ),
        on_delay_s=2.0,
        off_delay_s=5.0,
    ),
    _with(
        _row(
            "REDIS_DOWN",
            2,
            "Redis down",
            f"{_HELD} Events wait in the journal; the stop works without it.",
            "Check the server and the network.",
        ),
        on_delay_s=3.0,
        off_delay_s=10.0,
        escalates_after_s=60.0,
    ),
    _row(
        "DESK_TRIP_UNCLEARED",
        2,
        "Another node of the desk is stopped",
        f"{_HELD} Positions here are kept.",
        "Reset it at the node named; only if that cannot be done, clear it by name here.",
    ),
    _row(
        "CLEARING_REFUSED",
        2,
        "A reset of another node is not obeyed",
        "The trips it names stay uncleared here.",
        "Give both nodes the same desk key; if nobody made that reset, find out who wrote it.",
    ),
    _row(
        "NODE_NAME_IN_USE",
        2,
        "Node name in use by another engine",
        f"{_HELD} Events wait in the journal; the other engine goes on.",
        "End one of the two, or give one another name in [node].",
    ),
    _row(
        "COMMAND_REFUSED",
        2,
        "A command from the bus was refused",
        "It was not carried out; its sender is not proven, or it was a stop that made no sense.",
        "Find out who sent it; check the desk key and the clock there; stop if in doubt.",
    ),
    _row(
        "COMMANDS_UNREADABLE",
        2,
        "The commands stream cannot be read",
        "Nobody on the bus can stop this node, and after an outage entries are held.",
        "Put the stream or the rights of our user right; stop from here if you must.",
    ),
    _row(
        "DEAD_LETTER",
        2,
        "Redis refused an event for good",
        "Other consumers do not see it.",
        "Read the error; requeue it when it is repaired.",
    ),
    _row(
        "POSITION_UNPROTECTED",
        2,
        "Position without its protective stop",
        "It is being closed, unless the profile allows it.",
        "Watch until it is closed or protected.",
    ),
    _row(
        "TAKE_PROFIT_MISSING",
        3,
        "Position without the take-profit of its entry",
        "Its stop rests; the take-profit is tried again every 30 s.",
        "Take the profit by hand if the price is there.",
    ),
    _row(
        "FORCE_CLOSE_FAILED",
        2,
        "An over-aged position could not be closed",
        "It is held longer than allowed, and tried again.",
        "Close by hand if it goes on.",
    ),
    _with(
        _row(
            "DATABASE_DOWN",
            2,
            "Database behind or not writing",
            f"{_HELD} The stop still works.",
            "Free disk space; check the disk.",
        ),
        off_delay_s=10.0,
    ),
    _row(
        "DATABASE_DAMAGED",
        2,
        "The state database is damaged",
        f"{_HELD} Exits and the stop go on; what is damaged cannot be read.",
        "Restart: it is restored from the newest good backup, and the venue tells the rest.",
    ),
    _row(
        "BACKUP_FAILED",
        3,
        "No backup of the state database could be made",
        "Damage could only be repaired from an older backup, and the journal is not pruned.",
        "Free disk space; look at the folder backups; then `seawall backup`.",
    ),
    _row(
        "POLICY_TOO_OLD",
        2,
        "Policy not confirmed by its authority",
        _HELD,
        "Check the database or Redis.",
    ),
    _row(
        "POLICY_STALE",
        2,
        "Shared policy is stale",
        "What other nodes changed meanwhile is not in force here.",
        "Check Redis and the network; changes are made on each node.",
    ),
    _row(
        "POLICY_CONFLICT",
        2,
        "Policy changed on both sides of an outage",
        "The stricter value of each field holds, and entries only where both allow them.",
        "Compare both on the policy page, then resolve.",
    ),
    _with(
        _row(
            "POLICY_UNSIGNED",
            2,
            "Somebody without the desk key wrote the policy",
            "At most its stricter values were taken; ours was written back.",
            "Find out who writes to Redis; give that node the desk key.",
        ),
        off_delay_s=60.0,
    ),
    _with(
        _row(
            "POLICY_REFUSED",
            2,
            "The shared policy cannot be read or is invalid",
            "Nothing of it was taken; what a stranger wrote was replaced by ours.",
            "Find out who wrote it; do all nodes run the same Seawall?",
        ),
        off_delay_s=60.0,
    ),
    _row(
        "KEY_CAN_WITHDRAW",
        2,
        "The exchange's key may withdraw",
        "Whoever gets hold of it can empty the account; trading does not need that right.",
        "Make a key that may only trade, `seawall keys set` it, and delete this one.",
    ),
    _row(
        "LEDGER_DIFFERS",
        2,
        "Ledger differs from the venue's balance",
        "Equity and drawdown may be off by the difference.",
        "Compare the fees and funding of both.",
    ),
    _row(
        "ILLEGAL_TRANSITION",
        2,
        "An order did what it should not",
        "Its state may not be the venue's.",
        "Look at the order at the venue.",
    ),
    _row(
        "CLOCK_JUMP",
        2,
        "The clock jumped",
        f"{_HELD} Until the books are reconciled.",
        "Check the time service; was the machine asleep?",
    ),
    _row(
        "CLOCK_OFFSET",
        2,
        "The venue's clock is far from ours",
        f"{_HELD} Exits and stops go on, dated by the venue's clock.",
        "Check the time service of this machine.",
    ),
    _with(
        _row(
            "LOOP_FROZEN",
            2,
            "The engine stood still",
            f"{_HELD} Nothing was decided meanwhile.",
            "Send the log: it holds the stack that froze it.",
        ),
        off_delay_s=5.0,
    ),
    _with(
        _row(
            "ORDER_ROUND_TRIP",
            3,
            "Slow order round trip (p99 in ms)",
            "Fills are worse.",
            "Watch; check the network.",
        ),
        on_delay_s=30.0,
        set_point=600.0,
        clear_point=450.0,
    ),
    _with(
        _row(
            "JOURNAL_BEHIND",
            3,
            "Disk short, or journal above 80 % of its size",
            "Acknowledged events are pruned first; the rest waits for Redis.",
            "Free disk space.",
        ),
        on_delay_s=60.0,
        set_point=0.80,
        clear_point=0.70,
    ),
    _with(
        _row(
            "EVENTS_SHED",
            2,
            "Events given up at the journal's cap",
            "Other services on Redis will miss them; telemetry goes first, records of money never.",
            "Bring Redis back, or give the journal more room (journal.max_bytes).",
        ),
        off_delay_s=10.0,
    ),
    _row(
        "EVENTS_LOST",
        2,
        "Events could not be written to the journal",
        "The record has a hole: the disk refused too many for too long, or an event was no event.",
        "Look at the log for which; check the disk. It stays until the next start.",
    ),
    _row(
        "HANDLER_FAILED",
        3,
        "A subscriber failed or is slow",
        "What it shows may be old; whatever else it does may be missing or late.",
        "Look at what it names; send the log.",
    ),
    _row(
        "ALARM_CHATTERING",
        3,
        "An alarm comes and goes",
        "It hides others.",
        "Tune its delay or dead-band.",
    ),
)
ALARMS: Mapping[str, AlarmSpec] = {spec.code: spec for spec in _TABLE}

__all__ = ["ALARMS", "AlarmSpec"]
